"""Wire types of administration: models, stored user data, erasure, catalog pages, reports."""

from typing import Annotated, Any, Literal

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
    notes: list[str] = []
    """Sentences about the deployed versions, such as event types that do not enter histories."""


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


MAX_CELLS = 64
"""Largest number of cells of an item."""
MAX_TEXT, MAX_PARTS = 4096, 256
"""Largest number of characters of a text, and of parts of a list."""
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Cell = Text | float | bool | Annotated[list[Text | float | bool], Meta(max_length=MAX_PARTS)] | None
"""Value of a column of the items table."""


class ItemCells(Struct):
    """Cells of an item: a value for any column of the items table, as text, number, true or false, or list of texts.

    PUT replaces the row. PATCH merges cells into it, and null removes a value.
    """

    title: Text | None = None
    available: bool | float | None = None
    """False or 0: no list of any version holds the item."""


class ItemVersion(Struct, omit_defaults=True):
    """State of an item in one deployed version."""

    role: str
    version: str
    recommendable: bool
    reason: str = ""
    """Sentence about the obstacle; absent without one."""
    placements: list[str] = []
    """Placements whose rules allow the item."""


class ItemOut(Struct, omit_defaults=True):
    """Item of the live version's catalog. All fields but id and title are for keys with the role admin."""

    id: str
    title: str | None = None
    columns: dict[str, Any] = {}
    """Present value of each other column."""
    revision: int = 0
    """Number of the last change; absent for an item that was never changed."""
    deleted: bool = False
    recommendable: bool | None = None
    """Whether the live version can recommend the item; absent for an item that was never changed."""
    reason: str = ""
    """Sentence about the obstacle; absent without one."""
    versions: list[ItemVersion] = []
    """State in each deployed version; absent for an item that was never changed."""
    unused: list[str] = []
    """Cells of the request that no deployed version has a column for; they are stored."""


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


class PlacementSettings(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Settings of a placement, as in the TOML file of a pipeline; absent parts have their defaults."""

    rules: dict[str, Any] | None = None
    rerank: dict[str, Any] | None = None
    explore: dict[str, Any] | None = None
    name: Id | None = None
    """Name of the placement; that of the path."""


class PlacementOut(Struct, omit_defaults=True):
    """Placement of the live version."""

    name: str
    revision: int
    """Number of the last change; 0 for rules that were never changed."""
    source: Literal["model", "live", "none"]
    """Origin of the settings: the model, a change on this server, or none for a placement that is gone."""
    settings: dict[str, Any]
    """Rules, diversification and exploration."""
    notes: list[str] = []
    """Sentences about suspicious rules, such as a filter that no item passes."""


class PlacementsResponse(Struct):
    """Placements of the live version."""

    placements: list[PlacementOut]


class RollbackPlacementRequest(Struct, forbid_unknown_fields=True):
    """Placement whose rules before the last change are restored."""

    name: Id
