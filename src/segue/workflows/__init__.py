"""Workflows that combine data, models, training and evaluation: train, compare, update, evaluate."""
