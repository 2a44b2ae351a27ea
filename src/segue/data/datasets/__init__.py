"""Bundled and synthetic datasets."""
