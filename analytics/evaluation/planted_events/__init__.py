"""Planted events of known size in a made-up market, and the power to find them."""
