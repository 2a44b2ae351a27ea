"""Matrix factorization models and the spectral item embedding."""
