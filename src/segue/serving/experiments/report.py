"""Report: click and purchase rates of the recorded lists with confidence intervals, and the experiments."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from segue.serving.experiments import statistics
from segue.serving.schemas.admin import ExperimentReport, RateEstimate, ReportCell, ReportResponse

_LISTS = """
SELECT i.placement, i.variant, i.experiment, i.user, i.version, i.list,
    coalesce(sum(o.outcome = 'click'), 0), coalesce(sum(o.outcome = 'purchase'), 0),
    coalesce(sum(CASE WHEN o.outcome = 'purchase' THEN coalesce(o.value, 0) END), 0.0)
FROM impressions i LEFT JOIN outcomes o ON o.list = i.list AND o.position > 0
WHERE i.time_us >= ? GROUP BY i.id
"""
_SOURCES = """
SELECT i.placement, i.experiment, i.user, o.source, sum(o.outcome = 'click')
FROM outcomes o JOIN impressions i ON i.list = o.list
WHERE i.time_us >= ? AND i.variant = 'interleaved' GROUP BY i.placement, i.experiment, i.user, o.source
"""


class _UserSums:
    """Lists, clicked lists and purchases of a group of lists, by user. A list without a user counts as one user."""

    def __init__(self) -> None:
        self.by_user: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
        self.value = 0.0

    def add(self, user: str, clicked: bool, purchases: int, value: float) -> None:
        """Add a list.

        Args:
            user: digest of the user, or the list's id for a list without a user.
            clicked: True if an item of the list was clicked.
            purchases: purchases attributed to the list.
            value: sum of their values.
        """
        self.by_user[user] += (1, clicked, purchases)
        self.value += value

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (lists_U, clicked_U, purchases_U)."""
        rows = np.array(list(self.by_user.values())).reshape(-1, 3)
        return rows[:, 0], rows[:, 1], rows[:, 2]


def build_report(path: Path, days: float = 7.0, *, now_us: int | None = None) -> ReportResponse:
    """Return the report over the lists of the last days.

    Args:
        path: the attribution file.
        days: length of the interval.
        now_us: its end, UTC microseconds; None: the current time.

    Raises:
        ValueError: there is no attribution file at ``path``.
    """
    now = time.time_ns() // 1000 if now_us is None else now_us
    since = now - round(days * 86_400e6)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(2_000)
        lists: list[Any] = connection.execute(_LISTS, (since,)).fetchall()
        clicks: list[Any] = connection.execute(_SOURCES, (since,)).fetchall()
        connection.close()
    except (apsw.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as recorded lists: {error}.") from None
    cells: dict[tuple[str, str, str], _UserSums] = defaultdict(_UserSums)
    splits: dict[str, dict[str, _UserSums]] = defaultdict(lambda: defaultdict(_UserSums))
    for placement, variant, experiment, user, version, list_id, clicked, purchases, value in lists:
        row = (user or list_id, clicked > 0, purchases, value)
        cells[placement or "", variant, version].add(*row)
        if experiment is not None and variant != "previous":
            splits[experiment][variant].add(*row)
    clicks_by_version: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for _, experiment, user, source, count in clicks:
        if experiment is not None and source is not None:
            clicks_by_version[experiment][user][source] += count
    return ReportResponse(
        days=days,
        cells=[_cell(key, sums) for key, sums in sorted(cells.items())],
        experiments=[_experiment(name, groups, clicks_by_version[name]) for name, groups in sorted(splits.items())],
    )


def _cell(key: tuple[str, str, str], sums: _UserSums) -> ReportCell:
    lists_U, clicked_U, purchases_U = sums.columns()
    return ReportCell(
        *key,
        lists=int(lists_U.sum()),
        users=len(lists_U),
        clicked=int(clicked_U.sum()),
        purchases=int(purchases_U.sum()),
        value=sums.value,
        ctr=_rate(statistics.ratio_estimate(clicked_U, lists_U)),
        purchase_rate=_rate(statistics.ratio_estimate(purchases_U, lists_U)),
    )


def _experiment(name: str, groups: dict[str, _UserSums], clicks: dict[str, dict[str, int]]) -> ExperimentReport:
    """Return the report of an experiment. ``clicks``: user -> version -> clicks in interleaved lists."""
    live, canary, share, interleave = name.split("/")
    expected = {"canary": float(share), "interleaved": float(interleave)}
    expected["live"] = round(1 - sum(expected.values()), 12)
    users = {variant: len(groups[variant].by_user) if variant in groups else 0 for variant in expected}
    p_value = statistics.sample_ratio_p_value(list(users.values()), list(expected.values()))
    columns = {variant: groups[variant].columns() for variant in ("live", "canary") if variant in groups}
    differences = [statistics.Interval(None), statistics.Interval(None)]
    if len(columns) == 2:
        (live_lists, *live_hits), (canary_lists, *canary_hits) = columns["live"], columns["canary"]
        differences = [
            statistics.ratio_difference((a, live_lists), (b, canary_lists))
            for a, b in zip(live_hits, canary_hits, strict=True)
        ]
    test = statistics.preference_test(*(_clicks(clicks.values(), version) for version in (live, canary)))
    return ExperimentReport(
        name=name,
        users=users,
        expected=expected,
        sample_ratio_p=p_value,
        sample_ratio_ok=p_value >= statistics.SAMPLE_RATIO_ALPHA,
        ctr_difference=_rate(differences[0]),
        purchase_difference=_rate(differences[1]),
        preferred={"live": test.first, "canary": test.second, "tie": test.ties},
        preference=_rate(test.share),
        preference_p=test.p_value,
    )


def _clicks(users: Iterable[dict[str, int]], version: str) -> np.ndarray:
    return np.array([clicks.get(version, 0) for clicks in users])


def _rate(interval: statistics.Interval) -> RateEstimate:
    return RateEstimate(*(None if x is None else round(x, 6) for x in astuple(interval)))
