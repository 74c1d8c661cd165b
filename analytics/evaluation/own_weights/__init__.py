"""Weights of the rules, fitted to a user's own history."""
