"""Probabilities of the next item: their fit on validation cases."""
