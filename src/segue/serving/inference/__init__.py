"""Scoring of requests: micro-batching, retrieval, recurrent states, fallback lists."""
