"""Probabilities of the next item: temperatures, and scorers of calibrated log-probabilities."""
