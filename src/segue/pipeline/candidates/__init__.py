"""Candidate generation: sources, their scores, the merged candidate set."""
