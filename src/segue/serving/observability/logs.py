"""Log lines as JSON, one object a line. What a line may hold is a closed list, and ids of people are not on it."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

LOG_FIELDS = frozenset({"operation", "status", "took_ms", "version", "variant", "generation", "failure"})
"""Everything a line may say besides its sentence."""


def log_event(logger: logging.Logger, level: int, sentence: str, **fields: Any) -> None:
    """Logs a sentence with fields of the closed list; the sentence is ours and holds nothing that was sent."""
    assert fields.keys() <= LOG_FIELDS, f"{fields.keys() - LOG_FIELDS} may not be logged."
    if logger.isEnabledFor(level):
        logger.log(level, sentence, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, Any] = record.__dict__.get("fields", {})
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": moment, "level": record.levelname.lower(), "logger": record.name}
        return json.dumps({**head, "message": record.getMessage(), **fields})


class PlainFormatter(logging.Formatter):
    """The sentence, and the fields behind it as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, Any] = record.__dict__.get("fields", {})
        return " ".join([record.getMessage(), *(f"{name}={value}" for name, value in fields.items())])


def configure_logging(*, as_json: bool, requests: bool = False, stream: TextIO | None = None) -> logging.Logger:
    """Sends the server's log to a stream (standard error), and each request too where that is asked; its logger.

    A stream that cannot be written to loses lines, never requests.
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
