"""How a log is cut, one file a protocol; ``data/splits/split.py`` has their table."""
