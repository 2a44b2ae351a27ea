"""Models that score items: classic and neural models, rankers, retrieval and generation."""
