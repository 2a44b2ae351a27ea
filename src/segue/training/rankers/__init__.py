"""Training of click rankers: examples, settings, loop."""
