"""Batches of training sequences."""
