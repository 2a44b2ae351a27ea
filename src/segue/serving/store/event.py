"""Stored events: validation of a sent event, its time, its digest and its checksum."""

import hashlib
import uuid
import zlib
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn

FUTURE_US = 5 * 60 * 1_000_000
"""Largest time of an event after the server's clock, in microseconds: clocks differ by minutes, units by factors of
1000."""
RECOMMENDATION = "recommendation_id"
"""Key in an event's context that holds the id of the recommended list."""


class Event(Struct, frozen=True, array_like=True):
    """One stored event; ``time_us`` UTC microseconds, ``context`` a JSON object as text.

    ``body`` is a digest of the fields that the client sent, without the fields that the server filled in. A resent
    event has the same digest, another event under the same id a different one.
    """

    source: str
    event_id: str
    user_id: str | None
    session_id: str | None
    item_id: str
    time_us: int
    event: str
    value: float | None
    context: str
    body: bytes

    def checksum(self, seq: int) -> int:
        """Return the CRC-32 of the row with its sequence number. SQLite alone does not detect a flipped bit."""
        return zlib.crc32(_ENCODE((seq, self)))


_ENCODE = msgspec.json.Encoder(order="sorted").encode


def validate_event(sent: EventIn, now_us: int, stamp_us: int | None = None) -> Event:
    """Validate a sent event and return the event to store.

    Args:
        sent: the event of a request.
        now_us: server time, UTC microseconds.
        stamp_us: time of an event without a timestamp, UTC microseconds; None: ``now_us``.

    Raises:
        Problem: 422 for an event without user_id and session_id, and for a timestamp that is malformed, before 1970 or
            more than ``FUTURE_US`` after ``now_us``.
    """
    if sent.user_id is None and sent.session_id is None:
        raise Problem(422, "The event has neither a user nor a session: give user_id, session_id or both.")
    time_us = None if sent.timestamp is None else event_time_us(sent, now_us)
    context = sent.context
    if sent.recommendation_id is not None:
        context = {**context, RECOMMENDATION: sent.recommendation_id}
    digested = (sent.user_id, sent.session_id, sent.item_id, time_us, sent.event, sent.value, context)
    return Event(
        source=sent.source,
        event_id=uuid.uuid4().hex if sent.event_id is None else sent.event_id,
        user_id=sent.user_id,
        session_id=sent.session_id,
        item_id=sent.item_id,
        time_us=(now_us if stamp_us is None else stamp_us) if time_us is None else time_us,
        event=sent.event,
        value=sent.value,
        context=_ENCODE(context).decode(),
        body=_body(digested),
    )


def _body(digested: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(_ENCODE(digested), digest_size=16).digest()


def has_server_time(event: Event) -> bool:
    """Return whether an event was sent without a timestamp, so that its time is the server's."""
    context = msgspec.json.decode(event.context)
    return event.body == _body(
        (event.user_id, event.session_id, event.item_id, None, event.event, event.value, context)
    )


def event_time_us(sent: EventIn, now_us: int) -> int:
    """Return the time of a sent event in UTC microseconds: ``now_us`` for an event without a timestamp.

    Args:
        sent: the event of a request.
        now_us: server time, UTC microseconds.

    Raises:
        Problem: 422 for a timestamp that is malformed, before 1970 or more than ``FUTURE_US`` after ``now_us``.
    """
    return now_us if sent.timestamp is None else _to_us(sent.timestamp, now_us)


def _to_us(timestamp: str | float, now_us: int) -> int:
    if isinstance(timestamp, str):
        try:
            time = datetime.fromisoformat(timestamp)
        except ValueError:
            raise Problem(
                422, f"timestamp '{timestamp[:40]}' is not ISO 8601: write it like 2026-01-31T12:00:00Z."
            ) from None
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        time_us = (time - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
    else:
        time_us = round(min(max(timestamp, -1.0), _MAX_S) * 1e6)  # the largest floats have no microseconds
    if time_us < 0:
        raise Problem(422, f"timestamp {timestamp!r} lies before 1970.")
    if time_us > now_us + FUTURE_US:
        cure = "numbers are seconds since 1970, not milliseconds"
        if isinstance(timestamp, str):
            cure = "a time without a zone is UTC; write the offset of another, such as +08:00"
        raise Problem(422, f"timestamp {timestamp!r} lies in the future: {cure}.")
    return time_us


_MAX_S = 1e12
_MICROSECOND = timedelta(microseconds=1)
