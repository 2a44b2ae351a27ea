"""Settings: decoding of plain values and TOML, ranges, names, filter expressions."""
