"""Workflows: train, compare, update and evaluate models and pipelines."""
