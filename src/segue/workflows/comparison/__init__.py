"""Rows of leaderboards."""
