"""The market: Indian time, the trading calendar, the state of a segment. Pure; must not know the vendor's API."""
