"""Sequence generation: the next several items, by beam search or sampling."""
