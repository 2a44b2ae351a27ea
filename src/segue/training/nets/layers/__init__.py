"""Torch layers that the networks share."""
