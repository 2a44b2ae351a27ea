"""Public Python classes: fit, recommend, save."""
