"""Item and user features: column types, encoding, tokens."""
