"""Time units in microseconds."""

DAY_US = 86_400_000_000
