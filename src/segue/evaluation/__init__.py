"""The evaluation wing: ranks, metrics, intervals. Knows scorers, not how they were trained."""
