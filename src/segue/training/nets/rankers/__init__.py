"""Torch networks of the click rankers."""
