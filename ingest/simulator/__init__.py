"""Simulator: an Upstox-compatible V3 feed on loopback that plays a recorded or generated market.

`server` speaks the vendor's protocol, `exchange` generates a market, `recorded` plays a recording; `source` is the
interface between a market and the server.
"""
