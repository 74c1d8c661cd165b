"""Commands for whoever runs the recorder: its state, its proofs, its database."""
