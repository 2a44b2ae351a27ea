"""Pipelines of candidate sources, blend, ranker and placements."""
