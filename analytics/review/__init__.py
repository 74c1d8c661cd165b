"""What became of signals, and what a person says of them: labels, the report."""
