"""Measurements of the real commands, beside a reference in the same run."""
