"""Wire types of events and recommendations: strict requests and responses. Unknown fields are refused."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

_NO_CONTROL = r"^(?![\s\S]*[\x00-\x1f\x7f])"

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        pattern=_NO_CONTROL,
        description="1 to 512 characters, none of them a control character; compared exactly, never normalized.",
    ),
]
K = Annotated[int, Meta(ge=1, le=1000, description="Largest number of items in the list.")]
Timestamp = Annotated[
    str | float,
    Meta(description="ISO 8601 (UTC if it names no offset) or seconds since 1970. Default: server time."),
]
Context = Annotated[
    dict[Id, Annotated[str, Meta(max_length=4096)] | int | float | bool | None],
    Meta(max_length=64, description="Context features of the event by name, such as device, region or placement."),
]


Durability = Literal["fsync", "memory"]
"""Guarantee of an acknowledged event. ``fsync``: the event is forced to disk before the response. ``memory``: the
operating system has the event; a crash of the server loses none, a crash of the machine may lose the last second."""


MAX_EVENTS = 10_000
"""Events of a batch."""
_MIN_EVENT_BYTES = len('{"item_id":"a"},')


class EventIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Interaction of a user or session with an item. At least one of user_id and session_id is required."""

    item_id: Id
    user_id: Id | None = None
    session_id: Id | None = None
    event_id: Id | None = None
    """Id that makes a resend harmless: one (source, event_id) is stored once. Default: generated."""
    source: Id = "api"
    timestamp: Timestamp | None = None
    event: Id = "view"
    """Type of the event."""
    value: float | None = None
    context: Context = {}
    recommendation_id: Id | None = None
    """Id of the list in which the user met the item. The event is attributed to that list. Stored in the context."""


class EventBatch(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Batch of events; all of them are stored, or none."""

    events: Annotated[list[EventIn], Meta(min_length=1, max_length=MAX_EVENTS)]
    durability: Durability | None = None
    """Guarantee of the response. Default: the server's setting."""


class EventsResponse(Struct, omit_defaults=True):
    """Result of storing events."""

    accepted: int
    """Newly stored events."""
    duplicates: int
    """Events that were stored before."""
    durability: Durability
    """Guarantee of this response."""
    event_ids: list[str]
    """Id of each event of the request, in its order."""
    erased: int = 0
    """Events that were not stored, because their user was erased after their time; absent for none."""


class RecommendRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Request for a list after the history of a user, a session, or a given history. Without one: for a new user."""

    user_id: Id | None = None
    session_id: Id | None = None
    history: Annotated[list[Id], Meta(max_length=10_000, description="Item ids, oldest first.")] | None = None
    event: EventIn | None = None
    """Event that is stored first and is part of the history. Its user_id or session_id defaults to the request's."""
    k: K = 10
    exclude_seen: bool | None = None
    """Leave out items of the history. Default: as the placement of a pipeline states; for a single model as in
    its evaluation, and never the last item of the history."""
    exclude: Annotated[list[Id], Meta(max_length=10_000)] = []
    """Items that must not be in the list."""
    allow: Annotated[list[Id], Meta(max_length=100_000)] | None = None
    """Items that may be in the list. Default: all items."""
    placement: Id | None = None
    """Placement of the list, such as "home" or "basket". Reports are split by it, and a pipeline applies its rules."""
    filter: Annotated[str, Meta(max_length=10_000)] = ""
    """Filter expression of a pipeline, such as ``price < 20 and not (brand == "A")``."""
    explain: bool = False
    """Return an explanation for each item; pipelines only."""
    durability: Durability | None = None
    """Guarantee for ``event`` before the response. Default: the server's setting."""


class SimilarRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Request for items that are similar to an item."""

    item_id: Id
    k: K = 10
    exclude: Annotated[list[Id], Meta(max_length=10_000)] = []
    """Items that must not be in the list, beside the item itself."""
    allow: Annotated[list[Id], Meta(max_length=100_000)] | None = None
    """Items that may be in the list. Default: all items."""
    placement: Id | None = None
    """Placement whose rules a pipeline applies. Default: the default placement."""
    filter: Annotated[str, Meta(max_length=10_000)] = ""
    """Filter expression of a pipeline."""


class ItemExplanation(Struct, omit_defaults=True, gc=False):
    """Explanation of a recommended item, in English and Chinese."""

    en: str
    zh: str
    because: list[str] = []
    """Items of the history with the largest influence."""


class NextRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Request for a generated sequence: each next item is chosen with those before it in the history."""

    user_id: Id | None = None
    session_id: Id | None = None
    history: Annotated[list[Id], Meta(max_length=10_000, description="Item ids, oldest first.")] | None = None
    steps: Annotated[int, Meta(ge=1, le=100, description="Length of the sequence.")] = 10
    strategy: Literal["top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"] = "greedy"
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Seed of the sampling strategies; equal seeds give equal sequences."""
    temperature: Annotated[float, Meta(gt=0, le=1000)] | None = None
    """Divisor of the log-probabilities before sampling: 1 samples as the model's calibrated probabilities state, less
    prefers the best items. Default: the strategy's own, 1 for ``sample``."""
    exclude_seen: bool | None = None
    """Leave out items of the history. Default: as the placement of a pipeline states; for a single model as in
    its evaluation, and never the last item of the history."""
    exclude: Annotated[list[Id], Meta(max_length=10_000)] = []
    """Items that must not be in the sequence."""
    allow: Annotated[list[Id], Meta(max_length=100_000)] | None = None
    """Items that may be in the sequence. Default: all items."""
    placement: Id | None = None
    """Placement whose rules a pipeline applies. Default: the default placement."""
    filter: Annotated[str, Meta(max_length=10_000)] = ""
    """Filter expression of a pipeline."""


class Recommendation(Struct, omit_defaults=True, gc=False):
    """Recommended item of a list."""

    id: str
    score: float
    title: str | None = None
    source: str | None = None
    """Candidate source that ranked the item highest, or the step of the pipeline's fallback chain. In an interleaved
    list: the version that chose the item."""
    propensity: float = 1.0
    """Probability of the item at this position, given those above it; below 1 for a pipeline that explores, and for a
    sampled sequence."""
    reason: ItemExplanation | None = None
    """Explanation, if the request has ``explain``."""


class RecommendResponse(Struct, omit_defaults=True, gc=False):
    """List of recommendations, best first; shorter than k only if fewer items are allowed."""

    recommendation_id: str
    model_version: str
    items: list[Recommendation]
    unknown_items: list[str]
    """Ids of the request that are not in the model's catalog; they were ignored."""
    took_ms: float
    variant: str = "live"
    """Variant of the list: live, canary, interleaved, or previous (the assigned version failed)."""
    propensity: float = 1.0
    """Probability of this variant for the user, for off-policy estimates."""
    durability: Durability | None = None
    """Guarantee for the event of the request."""
    fallback: Literal["cached", "popular"] | None = None
    """Fallback after the scoring timeout: the cached last list of the user, or popular items."""
    notes: list[str] = []
    """Sentences about a placement without rules, because the model is no pipeline; with ``explain`` also about pins
    that are not shown, and about a list without items."""


class Health(Struct):
    """Liveness or readiness of the server, with the result of each check."""

    status: str
    checks: dict[str, bool] = {}


class ProblemBody(Struct, omit_defaults=True):
    """Error in the form of RFC 9457; ``detail`` is a sentence for people."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


def decode_request(request_type: Any, body: bytes) -> Any:
    """Decode a request body.

    An integer may be written as 10.0: JSON does not distinguish the two, and some languages write only this form.

    Args:
        request_type: the type to decode.
        body: JSON.

    Raises:
        msgspec.ValidationError: a field or value is wrong.
        msgspec.DecodeError: the body is not JSON.
    """
    try:
        return _DECODERS[request_type].decode(body)
    except msgspec.ValidationError as error:
        rewritten = _with_integers(body) if "`int`, got `float`" in str(error) else None
        if rewritten is None:
            raise
    return _DECODERS[request_type].decode(rewritten)


def _with_integers(body: bytes) -> bytes | None:
    """Return the body with integer fields such as 10.0 written as 10; None if it has no such field."""
    fields = msgspec.json.decode(body)
    floats = [name for name in _INTEGER_FIELDS if isinstance(fields, dict) and isinstance(fields.get(name), float)]
    integers = {name: int(fields[name]) for name in floats if fields[name].is_integer()}
    return msgspec.json.encode({**fields, **integers}) if integers else None


def decode_events(body: bytes) -> EventBatch:
    """Decode one event, or a batch ``{"events": [...]}``. Raises the errors of ``decode_request``."""
    events = _BATCH_PROBE.decode(body).events
    if events is msgspec.UNSET:
        return EventBatch([decode_request(EventIn, body)])
    if len(events) > MAX_EVENTS * _MIN_EVENT_BYTES:
        _check_number(events)
    batch: EventBatch = decode_request(EventBatch, body)
    return batch


def _check_number(events: msgspec.Raw) -> None:
    """Raise msgspec.ValidationError for too many events, before each one is decoded."""
    try:
        number = len(_RAW_EVENTS.decode(events))
    except msgspec.ValidationError:
        return  # no list: its decoder names the place
    if number > MAX_EVENTS:
        raise msgspec.ValidationError(f"Expected `array` of length <= {MAX_EVENTS} - at `$.events`")


class _BatchProbe(Struct):
    """Probe for the field ``events``, which distinguishes a batch from a single event."""

    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_INTEGER_FIELDS = ("k", "steps", "seed")
_BATCH_PROBE = msgspec.json.Decoder(_BatchProbe)
_RAW_EVENTS = msgspec.json.Decoder(list[msgspec.Raw])
_DECODERS = {
    request_type: msgspec.json.Decoder(request_type)
    for request_type in (EventIn, EventBatch, RecommendRequest, SimilarRequest, NextRequest)
}

HistoryKey = tuple[str, str]
"""Key of a stored history: ("user_id", id) or ("session_id", id). A user and a session with one id are different."""
