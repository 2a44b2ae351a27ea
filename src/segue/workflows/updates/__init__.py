"""Parts of the update of a saved model or pipeline with new events."""
