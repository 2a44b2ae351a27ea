"""An event as it is stored: who did what with which item and when; checked, complete, comparable."""

import hashlib
import uuid
import zlib
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn

FUTURE_US = 5 * 60 * 1_000_000
"""How far ahead of the server's clock an event may lie: clocks differ by minutes, units by factors of a thousand."""
RECOMMENDATION = "recommendation_id"
"""The name under which an event's context keeps the list it belongs to."""


class Event(Struct, frozen=True, array_like=True):
    """One stored event; ``time_us`` UTC microseconds, ``context`` a JSON object as text.

    ``body`` is a digest of what the client sent, without what the server filled in: it tells a resend (equal) from
    another event under the same id (different).
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
        """CRC-32 of the row with its place in the log: the database itself would not notice a flipped bit."""
        return zlib.crc32(_ENCODE((seq, self)))


_ENCODE = msgspec.json.Encoder(order="sorted").encode


def validate_event(sent: EventIn, now_us: int) -> Event:
    """The event to store for what a client sent. Problem (422) for nobody's event and for an impossible time."""
    if sent.user_id is None and sent.session_id is None:
        raise Problem(422, "The event belongs to nobody: give user_id, session_id or both.")
    time_us = None if sent.timestamp is None else event_time_us(sent, now_us)
    about = sent.context
    if sent.recommendation_id is not None:
        about = {**about, RECOMMENDATION: sent.recommendation_id}
    told = (sent.user_id, sent.session_id, sent.item_id, time_us, sent.event, sent.value, about)
    return Event(
        source=sent.source,
        event_id=uuid.uuid4().hex if sent.event_id is None else sent.event_id,
        user_id=sent.user_id,
        session_id=sent.session_id,
        item_id=sent.item_id,
        time_us=now_us if time_us is None else time_us,
        event=sent.event,
        value=sent.value,
        context=_ENCODE(about).decode(),
        body=hashlib.blake2b(_ENCODE(told), digest_size=16).digest(),
    )


def event_time_us(sent: EventIn, now_us: int) -> int:
    """When a client's event happened, UTC microseconds: now where it does not say. Problem (422) for an impossible
    time."""
    return now_us if sent.timestamp is None else _micros(sent.timestamp, now_us)


def _micros(timestamp: str | float, now_us: int) -> int:
    """UTC microseconds of a timestamp, refused where it lies before 1970 or clearly in the future."""
    if isinstance(timestamp, str):
        try:
            moment = datetime.fromisoformat(timestamp)
        except ValueError:
            raise Problem(
                422, f"timestamp '{timestamp[:40]}' is not ISO 8601: write it like 2026-01-31T12:00:00Z."
            ) from None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
    else:
        micros = round(min(max(timestamp, -1.0), _LAST_S) * 1e6)  # the largest floats have no microseconds
    if micros < 0:
        raise Problem(422, f"timestamp {timestamp!r} lies before 1970.")
    if micros > now_us + FUTURE_US:
        raise Problem(
            422, f"timestamp {timestamp!r} lies in the future: numbers are seconds since 1970, not milliseconds."
        )
    return micros


_LAST_S = 1e12
_MICROSECOND = timedelta(microseconds=1)
