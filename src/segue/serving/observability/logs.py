"""Log lines of the server, plain or as JSON. Their fields are a closed list that contains no ids of users."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

LOG_FIELDS = frozenset({"operation", "status", "took_ms", "version", "variant", "generation", "failure"})
"""Fields that a log line may have besides its message."""


def log_event(logger: logging.Logger, level: int, message: str, **fields: Any) -> None:
    """Log a message with fields.

    Args:
        logger: the logger.
        level: its level, such as ``logging.INFO``.
        message: sentence without any text of a request.
        fields: values by name; only names of ``LOG_FIELDS``.
    """
    assert fields.keys() <= LOG_FIELDS, f"{fields.keys() - LOG_FIELDS} may not be logged."
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Formatter with one JSON object per record: time (UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        fields: dict[str, Any] = record.__dict__.get("fields", {})
        timestamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": timestamp, "level": record.levelname.lower(), "logger": record.name}
        return json.dumps({**head, "message": record.getMessage(), **fields})


class PlainFormatter(logging.Formatter):
    """Formatter with the message, followed by the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        fields: dict[str, Any] = record.__dict__.get("fields", {})
        return " ".join([record.getMessage(), *(f"{name}={value}" for name, value in fields.items())])


def configure_logging(*, as_json: bool, requests: bool = False, stream: TextIO | None = None) -> logging.Logger:
    """Send the server's log to a stream and return its logger.

    A stream that cannot be written to loses lines, but no request fails.

    Args:
        as_json: write JSON objects instead of plain text.
        requests: write a line per request.
        stream: the stream; None: standard error.
    """
    logger = logging.getLogger("segue.serving")
    for old in list(logger.handlers):
        logger.removeHandler(old)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logging.getLogger("segue.serving.requests").setLevel(logging.INFO if requests else logging.WARNING)
    logging.raiseExceptions = False  # a full disk under the log must not print a traceback for every line
    return logger
