"""HTTP server of fitted models: events in, recommendations out. Never imports torch or polars."""
