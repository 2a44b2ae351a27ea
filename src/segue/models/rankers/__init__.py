"""Click rankers: probability of a click for a user and a candidate item."""
