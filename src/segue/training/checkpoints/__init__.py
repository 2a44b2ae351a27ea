"""Checkpoints of a training and their file format."""
