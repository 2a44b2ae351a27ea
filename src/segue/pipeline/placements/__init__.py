"""Placements: rules, quotas, diversification, exploration, fallback and the final list."""
