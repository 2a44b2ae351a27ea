"""Online experiments: attribution of outcomes, report, statistics."""
