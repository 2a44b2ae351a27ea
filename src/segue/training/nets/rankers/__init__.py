"""Torch click rankers."""
