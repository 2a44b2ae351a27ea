"""Durable event store: SQLite tables, group commit, commit listeners."""
