"""Recommender classes of the Python API: fit, recommend, save."""
