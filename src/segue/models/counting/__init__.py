"""Models from counts: popularity, Markov chain, co-visitation."""
