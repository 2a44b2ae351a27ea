"""Recorded lists with the propensity of each item and the conditions of the request: encoding and reading.

A list has propensities where a pipeline drew at least one of its items. With them and the conditions, another pipeline
can be evaluated from the log.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from segue.serving.schemas.requests import RecommendRequest, RecommendResponse

OWN_VARIANTS = ("live", "canary")
"""Variants whose list is one version's own."""
MAX_CONDITION_IDS = 1000
"""Largest number of ids among the conditions; a request with more is recorded as too long to be made again."""


class Conditions(Struct, omit_defaults=True):
    """Conditions of a request, from which its list can be made again with the history of its user."""

    k: int = 10
    exclude_seen: bool | None = None
    filter: str = ""
    exclude: list[str] = []
    allow: list[str] | None = None
    history: list[str] | None = None
    """History that the request carried; None: the stored one of its user or session."""
    is_complete: bool = True
    """False: the request named more than ``MAX_CONDITION_IDS`` items, which are not kept."""


class ShownItem(Struct, array_like=True):
    """Item of a recorded list."""

    id: str
    source: str | None = None
    propensity: float | None = None
    """Probability of the item at its position, given those above it; None: unknown, as in a list without draws."""


class ShownList(Struct):
    """Recorded list with its outcomes."""

    list_id: str
    time_us: int
    """Time of the request, UTC microseconds."""
    version: str
    variant: str
    variant_propensity: float
    placement: str | None
    user: str | None
    """Keyed digest of the user or session."""
    experiment: str | None
    items: list[ShownItem]
    conditions: Conditions | None
    """None for a list without propensities."""
    clicks: dict[int, int]
    """Time of the click by position, from 1."""
    purchases: dict[int, float]
    """Value of the purchase by position, from 1; 0 without a value."""

    @property
    def has_propensities(self) -> bool:
        """Return whether the probability of every item is known."""
        return bool(self.items) and all(item.propensity is not None for item in self.items)


def has_draws(response: RecommendResponse) -> bool:
    """Return whether a response is a pipeline's own list with at least one drawn item.

    The items of fallback and interleaved lists have no propensities: another rule has mixed them.
    """
    if not any(item.propensity < 1.0 for item in response.items):
        return False
    return response.fallback is None and response.variant in OWN_VARIANTS


def encode_items(response: RecommendResponse) -> str:
    """Return the items of a response as JSON: id, source and, in a list with draws, propensity."""
    if has_draws(response):
        rows: list[list[Any]] = [[item.id, item.source, item.propensity] for item in response.items]
    else:
        rows = [[item.id, item.source] if item.source else [item.id] for item in response.items]
    return msgspec.json.encode(rows).decode()


def encode_conditions(request: RecommendRequest, response: RecommendResponse) -> str | None:
    """Return the conditions of a request as JSON; None for a list without draws.

    Args:
        request: the request.
        response: its list.
    """
    if not has_draws(response):
        return None
    conditions = Conditions(request.k, request.exclude_seen, request.filter, request.exclude, request.allow)
    if request.user_id is None and request.session_id is None:
        event = [] if request.event is None else [request.event.item_id]
        conditions.history = [*(request.history or []), *event]
    num_ids = sum(len(ids or []) for ids in (conditions.exclude, conditions.allow, conditions.history))
    if num_ids > MAX_CONDITION_IDS:
        conditions = Conditions(request.k, is_complete=False)
    return msgspec.json.encode(conditions).decode()


_LISTS = """SELECT id, list, time_us, version, variant, propensity, placement, user, experiment, items, conditions
    FROM impressions WHERE id > ? AND time_us >= ? ORDER BY id LIMIT ?"""
_LISTS_OF_FORMAT_1 = """SELECT id, list, time_us, version, variant, propensity, placement, user, experiment, items, NULL
    FROM impressions WHERE id > ? AND time_us >= ? ORDER BY id LIMIT ?"""


def read_shown_lists(path: Path, since_us: int = 0, chunk: int = 5_000) -> Iterator[list[ShownList]]:
    """Yield the recorded lists since a time, oldest first, in chunks. A server may be writing to the file.

    Args:
        path: the attribution file.
        since_us: only lists from this time on, UTC microseconds.
        chunk: lists read at a time.

    Raises:
        ValueError: there is no attribution file at ``path``, or it is damaged.
    """
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(2_000)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(impressions)")}
        query = _LISTS if "conditions" in columns else _LISTS_OF_FORMAT_1
        last: Any = 0
        while rows := connection.execute(query, (last, since_us, chunk)).fetchall():
            lists = {row[1]: _shown_list(row) for row in rows}
            outcomes = connection.execute(
                "SELECT list, outcome, position, time_us, value FROM outcomes WHERE list IN "
                "(SELECT list FROM impressions WHERE id BETWEEN ? AND ?)",
                (rows[0][0], rows[-1][0]),
            )
            for list_id, outcome, position, time_us, value in outcomes:
                shown = lists.get(list_id)
                if shown is not None and outcome == "click":
                    shown.clicks[position] = time_us
                elif shown is not None:
                    shown.purchases[position] = value or 0.0
            yield list(lists.values())
            last = rows[-1][0]
        connection.close()
    except (apsw.Error, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ValueError(f"{path} cannot be read as recorded lists: {error}.") from None


def _shown_list(row: Any) -> ShownList:
    list_id, time_us, version, variant, propensity, placement, user, experiment, items, conditions = row[1:]
    return ShownList(
        list_id=list_id,
        time_us=time_us,
        version=version,
        variant=variant,
        variant_propensity=propensity,
        placement=placement,
        user=user,
        experiment=experiment,
        items=msgspec.json.decode(items, type=list[ShownItem]),
        conditions=None if conditions is None else msgspec.json.decode(conditions, type=Conditions),
        clicks={},
        purchases={},
    )
