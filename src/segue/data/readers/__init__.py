"""Readers of event logs and item tables: file formats, columns, ids, timestamps, rejected rows."""
