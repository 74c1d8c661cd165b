"""The market: Indian time, the trading calendar, segment states. Pure; must not know the vendor's API."""
