"""Operating-system services: atomic files, memory usage, threads."""
