"""Decoding of plain values and TOML into checked settings."""
