"""Demand forecasts per item: trend, exponential smoothing, autoregression."""
