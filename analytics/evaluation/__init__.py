"""How good spike detection is: labelled events, history, planted events, baselines, intervals."""
