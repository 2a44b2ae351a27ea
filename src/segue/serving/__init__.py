"""The serving floor: HTTP, live state, durable events. Never imports torch or polars."""
