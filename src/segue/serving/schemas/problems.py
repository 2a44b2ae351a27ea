"""Refusals of the server: one sentence for people and one status code for programs (RFC 9457)."""

import re
from http import HTTPStatus

import msgspec

from segue.serving.schemas.requests import ProblemBody


class Problem(ValueError):  # noqa: N818 - the word of RFC 9457
    """Refusal of a request. ``detail`` is a full sentence that names the cause, the value and the remedy."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """Make a refusal.

        Args:
            status: HTTP status.
            detail: full sentence for the body.
            headers: additional response headers.
        """
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}

    def body(self) -> ProblemBody:
        """Return the body of the ``application/problem+json`` response."""
        return ProblemBody(title=HTTPStatus(self.status).phrase, status=self.status, detail=self.detail)


def unavailable(detail: str) -> Problem:
    """Return a 503 refusal with Retry-After: the request is valid and may be sent again."""
    return Problem(503, detail, {"Retry-After": "1"})


DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions of decoding a request body."""

_MESSAGE = re.compile(r"^(?P<cause>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


def invalid_body(error: Exception) -> Problem:
    """Return the refusal of a body that cannot be decoded: 400 for invalid JSON, 422 for wrong fields or values."""
    if isinstance(error, RecursionError):
        return Problem(400, "The body is nested too deeply to be a request.")
    if isinstance(error, UnicodeDecodeError):
        return Problem(400, "The body is not JSON: it holds bytes that are not UTF-8.")
    if not isinstance(error, msgspec.ValidationError):
        return Problem(400, f"The body is not JSON: {_soften(str(error).removeprefix('JSON is malformed: '))}.")
    match = _MESSAGE.match(str(error))
    assert match is not None
    subject = (match["path"] or "$").removeprefix("$").lstrip(".") or "The body"
    subject = "A value of the body" if subject == "[...]" else subject  # of an object with any names
    return Problem(422, f"{subject} is not valid: {_soften(match['cause'])}.")


def _soften(text: str) -> str:
    """Return a msgspec message as the second half of a sentence."""
    if "matching regex" in text:
        return "it must not hold control characters"
    return text[:1].lower() + text[1:].rstrip(".").replace("`", "'")
