"""Settings of the neural models."""
