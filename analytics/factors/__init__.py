"""Indicators, factors, option chains: frame in, frame out. Pure, no database."""
