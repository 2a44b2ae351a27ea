"""Wire types of administration: models, stored user data, erasure, catalog pages, reports."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from segue.serving.schemas.requests import Id

Share = Annotated[float, Meta(ge=0, le=1)]
"""Share of the users, 0 to 1."""


class PromoteRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Deployment of a version of the registry: live for all users, for a share of them, or as shadow."""

    version: Id
    canary: Share = 0.0
    """Share of the users who get this version's lists."""
    interleave: Share = 0.0
    """Share of the users whose lists are interleaved from the live version and this one."""
    shadow: bool = False
    """Score live requests with this version too, without sending its lists to any user."""


class EmptyRequest(Struct, forbid_unknown_fields=True):
    """Request without fields: {}."""


class ModelsResponse(Struct):
    """Deployed versions."""

    roles: dict[str, str]
    """Version by role: live, canary, shadow, previous."""
    shares: dict[str, float]
    """Share of the users by variant: live, canary, interleaved."""
    message: str = ""
    """Result of the requested change."""


class StoredEvent(Struct, omit_defaults=True):
    """Stored event. ``time_us``: UTC microseconds."""

    event_id: str
    source: str
    item_id: str
    time_us: int
    event: str
    session_id: str | None = None
    value: float | None = None
    context: dict[str, Any] = {}


class UserEventsResponse(Struct):
    """Every stored event of a user, oldest first."""

    user_id: str
    events: list[StoredEvent]


class ErasureReceipt(Struct):
    """Receipt of an erasure. It does not contain the user's id."""

    user_digest: str
    """Keyed digest of the user on the server's erasure list."""
    time_us: int
    """Time of the erasure, UTC microseconds."""
    events: int
    """Erased events."""
    sessions: int
    """Erased sessions of the user."""
    attribution_rows: int
    """Erased lists of the user, and clicks and purchases attributed to them."""
    compacted: bool
    """True if no erased byte is left in the files; otherwise none is left after the server has stopped."""
    affected_versions: list[str]
    """Deployed versions that may be trained on the user's events, until they are trained again with --erased."""
    proof: str
    """SHA-256 of the digest, the time and the numbers above."""


class ItemOut(Struct, omit_defaults=True):
    """Item of the live version's catalog."""

    id: str
    title: str | None = None


class ItemsResponse(Struct, omit_defaults=True):
    """Page of the catalog, sorted by id."""

    items: list[ItemOut]
    total: int
    """Number of items in the catalog."""
    after: str | None = None
    """Value of ``after`` for the next page; absent on the last page."""


class RateEstimate(Struct):
    """Rate with its 95 % confidence interval; null without data."""

    value: float | None
    low: float | None = None
    high: float | None = None


class ReportCell(Struct):
    """Lists of one placement, variant and version, with their clicks and purchases."""

    placement: str
    variant: str
    version: str
    lists: int
    users: int
    clicked: int
    """Lists with at least one clicked item."""
    purchases: int
    value: float
    """Sum of the values of the purchases."""
    ctr: RateEstimate
    """Clicked lists per list. The interval takes users, not lists, as independent."""
    purchase_rate: RateEstimate
    """Purchases per list."""


class ExperimentReport(Struct):
    """Experiment that splits the users between two versions."""

    name: str
    users: dict[str, int]
    """Users by variant."""
    expected: dict[str, float]
    """Declared share of the users by variant."""
    sample_ratio_p: float
    """p-value of the test of ``users`` against ``expected``."""
    sample_ratio_ok: bool
    """False if the split differs from the declared one: then the estimates below are not valid."""
    ctr_difference: RateEstimate
    """Click-through rate of the canary minus that of the live version."""
    purchase_difference: RateEstimate
    """Purchase rate of the canary minus that of the live version."""
    preferred: dict[str, int]
    """Users by the version whose items they clicked more often in interleaved lists: live, canary, tie."""
    preference: RateEstimate
    """Share of the canary among the users with a preference."""
    preference_p: float
    """p-value of the sign test of ``preferred``."""


class ReportResponse(Struct):
    """Lists, clicks and purchases of the last days."""

    days: float
    cells: list[ReportCell]
    experiments: list[ExperimentReport]
    dropped: int = 0
    """Lists and events that were not recorded, because the queue was full or the disk refused them."""
