"""Spikes: rules, detection, storage of signals, following, evaluation."""
