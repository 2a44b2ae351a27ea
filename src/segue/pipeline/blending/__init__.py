"""Blending of source scores: features, weights, boosted trees, the second-stage ranker."""
