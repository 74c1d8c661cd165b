"""Spikes: rules, detection, storage of signals and following."""
