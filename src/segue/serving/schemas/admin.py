"""What the server tells those who run it: wire types of administration, of people's data and of measurements."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from segue.serving.schemas.requests import Id

Share = Annotated[float, Meta(ge=0, le=1)]


class PromoteRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Puts a version of the registry to work: for everybody, or for a share of the people, or in the shadow."""

    version: Id
    canary: Share = 0.0
    """Of the people: they are answered by this version."""
    interleave: Share = 0.0
    """Of the people: their lists are drawn from both versions by turns."""
    shadow: bool = False
    """It is asked too, and nobody sees its answers."""


class EmptyRequest(Struct, forbid_unknown_fields=True):
    """A request that says nothing: {}."""


class ModelsResponse(Struct):
    """Which version has which role, and what the last change came to."""

    roles: dict[str, str]
    shares: dict[str, float]
    message: str = ""


class StoredEvent(Struct, omit_defaults=True):
    """An event as it is kept; ``time_us`` UTC microseconds."""

    event_id: str
    source: str
    item_id: str
    time_us: int
    event: str
    session_id: str | None = None
    value: float | None = None
    context: dict[str, Any] = {}


class UserEventsResponse(Struct):
    """Everything that is kept of a person, oldest first."""

    user_id: str
    events: list[StoredEvent]


class ErasureReceipt(Struct):
    """What an erasure took away. It does not name the person: ``person`` is the keyed digest on the server's list."""

    user_digest: str
    time_us: int
    events: int
    sessions: int
    attribution_rows: int
    """Lists shown to the person, clicks and purchases that counted for them."""
    compacted: bool
    """Whether no byte is left in the files; otherwise when the server stops at the latest."""
    affected_versions: list[str]
    """Until they are trained anew with --erased."""
    proof: str
    """SHA-256 of person, time and counts."""


class ItemOut(Struct, omit_defaults=True):
    """An item that the live model can recommend."""

    id: str
    title: str | None = None


class ItemsResponse(Struct, omit_defaults=True):
    """A page of the catalog, sorted by id; ``after`` names where the next one begins."""

    items: list[ItemOut]
    total: int
    after: str | None = None


class RateEstimate(Struct):
    """A value with its 95 % interval; nothing where there is nothing to estimate it from."""

    value: float | None
    low: float | None = None
    high: float | None = None


class ReportCell(Struct):
    """Lists of one place, variant and version, and what came of them."""

    placement: str
    variant: str
    version: str
    lists: int
    users: int
    clicked: int
    """Lists of which at least one item was clicked."""
    purchases: int
    value: float
    ctr: RateEstimate
    """Clicked lists a list; people, not lists, are taken as independent."""
    purchase_rate: RateEstimate


class ExperimentReport(Struct):
    """One split of people between two versions."""

    name: str
    users: dict[str, int]
    expected: dict[str, float]
    sample_ratio_p: float
    sample_ratio_ok: bool
    """False where the split is not what it should be: then nothing below is worth anything."""
    ctr_difference: RateEstimate
    """Of the canary above the live version."""
    purchase_difference: RateEstimate
    preferred: dict[str, int]
    """People by the team whose items they clicked more, in interleaved lists: live, canary, tie."""
    preference: RateEstimate
    """The canary's share of the people who had a preference."""
    preference_p: float


class ReportResponse(Struct):
    """Lists, clicks and purchases of the last days."""

    days: float
    cells: list[ReportCell]
    experiments: list[ExperimentReport]
    dropped: int = 0
    """Lists and events that were not measured because too many waited."""
