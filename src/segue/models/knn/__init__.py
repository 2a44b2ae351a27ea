"""Nearest-neighbor models over items, users and sessions."""
