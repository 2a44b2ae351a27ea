"""The training wing: batches, negatives, losses, the loop. The only floor that needs torch."""
