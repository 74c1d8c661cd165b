"""Benchmarks of the real commands, each next to a reference from the same run."""
