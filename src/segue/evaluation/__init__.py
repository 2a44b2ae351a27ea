"""Evaluation: ranks, metrics, intervals, calibration, multi-step, off-policy."""
