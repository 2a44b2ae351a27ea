"""Readers of event logs, item tables and user tables: formats, column roles, ids, timestamps, rejected rows."""
