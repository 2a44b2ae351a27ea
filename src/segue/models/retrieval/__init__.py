"""Top-k retrieval over a large catalog: exact search with bounds, int8 scan, product quantization."""
