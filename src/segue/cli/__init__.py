"""Command line: each command parses its options, calls a workflow or an estimator, and prints the result."""
