"""Model versions: registry, golden requests, reload, variants, shadow traffic."""
