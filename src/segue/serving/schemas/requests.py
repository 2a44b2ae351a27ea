"""What goes over the wire: strict typed requests and answers. Everything else is refused before it is looked at."""

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
K = Annotated[int, Meta(ge=1, le=1000, description="How many items to answer with.")]
Timestamp = Annotated[
    str | float,
    Meta(description="ISO 8601 (UTC where it names no offset) or seconds since 1970; server time where it is absent."),
]
Context = Annotated[
    dict[Id, Annotated[str, Meta(max_length=4096)] | int | float | bool | None],
    Meta(max_length=64, description="Anything else worth keeping, by name: device, region, placement."),
]


Durability = Literal["fsync", "memory"]
"""What an acknowledgement is worth. ``fsync``: the events were on disk, and forced there, before it was sent.
``memory``: the operating system had them: a crash of the server loses nothing, one of the machine perhaps the last
second."""


class EventIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Somebody did something with an item. At least one of user_id and session_id must be there."""

    item_id: Id
    user_id: Id | None = None
    session_id: Id | None = None
    event_id: Id | None = None
    """Makes a resend harmless: one (source, event_id) is stored once, for ever. Generated where it is absent."""
    source: Id = "api"
    timestamp: Timestamp | None = None
    event: Id = "view"
    value: float | None = None
    context: Context = {}
    recommendation_id: Id | None = None
    """Of the list in which the item was met: the event counts for that list. Kept in the context."""


class EventBatch(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Many events; all of them are stored, or none."""

    events: Annotated[list[EventIn], Meta(min_length=1, max_length=10_000)]
    durability: Durability | None = None
    """How much the acknowledgement must be worth; where it is absent, as the server was told."""


class EventsResponse(Struct):
    """What became of the events. ``durability`` names what the acknowledgement is worth."""

    accepted: int
    duplicates: int
    durability: Durability
    event_ids: list[str]
    """One for each event of the request, in its order."""


class RecommendRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Whose next items are asked: a user, a session, or a raw history; nobody at all is a newcomer."""

    user_id: Id | None = None
    session_id: Id | None = None
    history: Annotated[list[Id], Meta(max_length=10_000, description="Item ids, oldest first.")] | None = None
    event: EventIn | None = None
    """Stored first, and seen in this very answer; takes user_id or session_id from the request where it has none."""
    k: K = 10
    exclude_seen: bool | None = None
    """Leave out the items of the history; where it is absent, as the model was evaluated."""
    exclude: Annotated[list[Id], Meta(max_length=10_000)] = []
    allow: Annotated[list[Id], Meta(max_length=100_000)] | None = None
    """Only these items may be answered."""
    placement: Id | None = None
    """Where the list is shown, as "home" or "basket": reports tell places apart, a pipeline takes the place's rules."""
    filter: Annotated[str, Meta(max_length=10_000)] = ""
    """Of a pipeline: only items that it lets through, as ``price < 20 and not (brand == "A")``."""
    explain: bool = False
    """Of a pipeline: say why each item is in the list."""
    durability: Durability | None = None
    """What must have become of the event before the answer; where it is absent, as the server was told."""


class SimilarRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which items go with this one."""

    item_id: Id
    k: K = 10


class Explanation(Struct, omit_defaults=True, gc=False):
    """Why an item is in a list."""

    en: str
    zh: str
    because: list[str] = []
    """The items of the history that mattered most."""


class NextRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the next items may be, one after the other, each chosen with those before it in the history."""

    user_id: Id | None = None
    session_id: Id | None = None
    history: Annotated[list[Id], Meta(max_length=10_000, description="Item ids, oldest first.")] | None = None
    steps: Annotated[int, Meta(ge=1, le=100, description="How many items.")] = 10
    strategy: Literal["top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"] = "greedy"
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Of what is drawn: equal seeds give equal lists."""
    exclude_seen: bool | None = None
    """Leave out the items of the history; where it is absent, as the model was evaluated."""


class Recommendation(Struct, omit_defaults=True, gc=False):
    """One item of a list, best first."""

    id: str
    score: float
    title: str | None = None
    source: str | None = None
    """Which source had the item highest, or which step of a pipeline's fallback gave it; where the list was drawn from
    two versions, the one that chose it."""
    propensity: float = 1.0
    """Of a pipeline that explores: the probability with which the item came to this place."""
    reason: Explanation | None = None
    """Where the request asked for it."""


class RecommendResponse(Struct, omit_defaults=True, gc=False):
    """A list of at most k items: fewer only where fewer are allowed."""

    recommendation_id: str
    model_version: str
    items: list[Recommendation]
    unknown_items: list[str]
    """Ids of the request that the model's catalog does not know; they were left aside."""
    took_ms: float
    variant: str = "live"
    """Who answered: live, canary, interleaved, or spare where the first one failed."""
    propensity: float = 1.0
    """The chance with which this person gets this variant, for whoever learns from the answers later."""
    durability: Durability | None = None
    """What became of the event that came along."""
    fallback: Literal["last", "popular"] | None = None
    """Set where scoring took too long: the list is the last one of this person, or what is popular."""


class Health(Struct):
    """Whether the server lives; for readiness also why not, where it is not ready."""

    status: str
    checks: dict[str, bool] = {}


class ProblemBody(Struct, omit_defaults=True):
    """An error as RFC 9457 describes it; ``detail`` is a sentence for people."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


def decode_request(kind: Any, body: bytes) -> Any:
    """The request in ``body``. msgspec.ValidationError for a wrong shape, msgspec.DecodeError for what is no JSON.

    A count may be written 10.0: to JSON that is the number 10, and some languages know no other way.
    """
    try:
        return _DECODERS[kind].decode(body)
    except msgspec.ValidationError as error:
        mended = _whole(body) if "`int`, got `float`" in str(error) else None
        if mended is None:
            raise
    return _DECODERS[kind].decode(mended)


def _whole(body: bytes) -> bytes | None:
    """The body with its counts as whole numbers; None where none of them was written as 10.0."""
    told = msgspec.json.decode(body)
    counts = [name for name in _COUNTS if isinstance(told, dict) and isinstance(told.get(name), float)]
    whole = {name: int(told[name]) for name in counts if told[name].is_integer()}
    return msgspec.json.encode({**told, **whole}) if whole else None


def decode_events(body: bytes) -> EventBatch:
    """The events of a request that holds one event, or {"events": [...]}; errors as ``decode``."""
    if _SHAPE.decode(body).events is msgspec.UNSET:
        return EventBatch([decode_request(EventIn, body)])
    batch: EventBatch = decode_request(EventBatch, body)
    return batch


class _Shape(Struct):
    """Tells a batch from a single event without reading further."""

    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_COUNTS = ("k", "steps", "seed")
_SHAPE = msgspec.json.Decoder(_Shape)
_DECODERS = {
    kind: msgspec.json.Decoder(kind) for kind in (EventIn, EventBatch, RecommendRequest, SimilarRequest, NextRequest)
}

HistoryKey = tuple[str, str]
"""("user_id" or "session_id", the id): a user and a session of one name are two."""
