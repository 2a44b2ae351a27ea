"""Every refusal of the server: one sentence for people, one status for machines (RFC 9457 once it is sent)."""

import re
from http import HTTPStatus

import msgspec

from segue.serving.schemas.requests import ProblemBody


class Problem(ValueError):  # noqa: N818 - the word of RFC 9457
    """Why a request is not answered. ``detail`` is a full sentence: what, which value, what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}

    def body(self) -> ProblemBody:
        """What is sent as ``application/problem+json``."""
        return ProblemBody(title=HTTPStatus(self.status).phrase, status=self.status, detail=self.detail)


def unavailable(detail: str) -> Problem:
    """503: nothing is wrong with the request, and trying again is worth while."""
    return Problem(503, detail, {"Retry-After": "1"})


DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a body can raise."""

_MESSAGE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


def invalid_body(error: Exception) -> Problem:
    """What a body that could not be decoded is answered with: 400 for what is no JSON, 422 for a wrong shape."""
    if isinstance(error, RecursionError):
        return Problem(400, "The body is nested too deeply to be a request.")
    if isinstance(error, UnicodeDecodeError):
        return Problem(400, "The body is not JSON: it holds bytes that are not UTF-8.")
    if not isinstance(error, msgspec.ValidationError):
        return Problem(400, f"The body is not JSON: {_soften(str(error).removeprefix('JSON is malformed: '))}.")
    found = _MESSAGE.match(str(error))
    assert found is not None
    where = (found["path"] or "$").removeprefix("$").lstrip(".") or "The body"
    return Problem(422, f"{where} is not valid: {_soften(found['what'])}.")


def _soften(text: str) -> str:
    """A library's message as the second half of a sentence."""
    if "matching regex" in text:
        return "it must not hold control characters"
    return text[:1].lower() + text[1:].rstrip(".").replace("`", "'")
