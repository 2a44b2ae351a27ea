"""Torch sequence encoders, one per neural model."""
