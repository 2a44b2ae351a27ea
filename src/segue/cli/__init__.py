"""The commands: the straight road from log to server."""
