"""Recorded lists of a server: export, and evaluation of another pipeline on them."""
