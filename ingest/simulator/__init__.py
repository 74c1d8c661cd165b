"""Simulator: an Upstox-compatible V3 feed on loopback that plays a recorded or a made-up market.

`server` speaks HTTP and WebSocket, `player` owns the market's clock, `connection` one client's
subscriptions. `source` says what a market is; `recorded` and `market` are the two there are.
"""
