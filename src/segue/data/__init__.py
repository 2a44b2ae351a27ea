"""Data layer: event logs, catalogs, sequences, splits and their readers."""
