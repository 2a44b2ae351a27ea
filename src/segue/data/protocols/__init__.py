"""How a log is cut, one file a protocol; ``data/split.py`` has their table."""
