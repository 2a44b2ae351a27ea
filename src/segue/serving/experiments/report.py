"""From what was shown and what came of it to rates with intervals: the report."""

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
SELECT s.placement, s.variant, s.experiment, s.person, s.version, s.list,
    coalesce(sum(o.kind = 'click'), 0), coalesce(sum(o.kind = 'purchase'), 0),
    coalesce(sum(CASE WHEN o.kind = 'purchase' THEN coalesce(o.value, 0) END), 0.0)
FROM shown s LEFT JOIN outcomes o ON o.list = s.list AND o.position > 0
WHERE s.time_us >= ? GROUP BY s.id
"""
_SOURCES = """
SELECT s.placement, s.experiment, s.person, o.source, sum(o.kind = 'click')
FROM outcomes o JOIN shown s ON s.list = o.list
WHERE s.time_us >= ? AND s.variant = 'interleaved' GROUP BY s.placement, s.experiment, s.person, o.source
"""


class _Sums:
    """Of a group of lists, by person: lists, clicked lists, purchases; a list without a person is one of its own."""

    def __init__(self) -> None:
        self.by_person: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
        self.value = 0.0

    def add(self, person: str, clicked: bool, purchases: int, value: float) -> None:
        self.by_person[person] += (1, clicked, purchases)
        self.value += value

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(lists_P, clicked_P, purchases_P)."""
        rows = np.array(list(self.by_person.values())).reshape(-1, 3)
        return rows[:, 0], rows[:, 1], rows[:, 2]


def build_report(path: Path, days: float = 7.0, *, now_us: int | None = None) -> ReportResponse:
    """The report over the lists of the last days. ValueError where nothing was measured at that place."""
    now = time.time_ns() // 1000 if now_us is None else now_us
    since = now - round(days * 86_400e6)
    try:
        reading = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        reading.set_busy_timeout(2_000)
        lists: list[Any] = reading.execute(_LISTS, (since,)).fetchall()
        clicks: list[Any] = reading.execute(_SOURCES, (since,)).fetchall()
        reading.close()
    except apsw.Error as error:
        raise ValueError(f"{path} cannot be read as measurements: {error}.") from None
    cells: dict[tuple[str, str, str], _Sums] = defaultdict(_Sums)
    splits: dict[str, dict[str, _Sums]] = defaultdict(lambda: defaultdict(_Sums))
    for placement, variant, experiment, person, version, name, clicked, purchases, value in lists:
        who = person or name
        told = (who, clicked > 0, purchases, value)
        cells[placement or "", variant, version].add(*told)
        if experiment is not None and variant != "spare":
            splits[experiment][variant].add(*told)
    chosen: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for _, experiment, person, source, count in clicks:
        if experiment is not None and source is not None:
            chosen[experiment][person][source] += count
    return ReportResponse(
        days=days,
        cells=[_cell(key, sums) for key, sums in sorted(cells.items())],
        experiments=[_experiment(name, groups, chosen[name]) for name, groups in sorted(splits.items())],
    )


def _cell(key: tuple[str, str, str], sums: _Sums) -> ReportCell:
    lists_P, clicked_P, purchases_P = sums.columns()
    return ReportCell(
        *key,
        lists=int(lists_P.sum()),
        users=len(lists_P),
        clicked=int(clicked_P.sum()),
        purchases=int(purchases_P.sum()),
        value=sums.value,
        ctr=_rate(statistics.ratio_estimate(clicked_P, lists_P)),
        purchase_rate=_rate(statistics.ratio_estimate(purchases_P, lists_P)),
    )


def _experiment(name: str, groups: dict[str, _Sums], chosen: dict[str, dict[str, int]]) -> ExperimentReport:
    """``chosen``: person -> version -> clicks, of interleaved lists."""
    live, canary, share, interleave = name.split("/")
    expected = {"canary": float(share), "interleaved": float(interleave)}
    expected["live"] = round(1 - sum(expected.values()), 12)
    people = {variant: len(groups[variant].by_person) if variant in groups else 0 for variant in expected}
    p_value = statistics.sample_ratio_p_value(list(people.values()), list(expected.values()))
    columns = {variant: groups[variant].columns() for variant in ("live", "canary") if variant in groups}
    apart = [statistics.Interval(None), statistics.Interval(None)]
    if len(columns) == 2:
        (lists, *first), (others, *second) = columns["live"], columns["canary"]
        apart = [statistics.ratio_difference((one, lists), (two, others)) for one, two in zip(first, second, strict=True)]
    outcome = statistics.preference_test(*(_clicks(chosen.values(), version) for version in (live, canary)))
    return ExperimentReport(
        name=name,
        users=people,
        expected=expected,
        sample_ratio_p=p_value,
        sample_ratio_ok=p_value >= statistics.SAMPLE_RATIO_ALPHA,
        ctr_difference=_rate(apart[0]),
        purchase_difference=_rate(apart[1]),
        preferred={"live": outcome.first, "canary": outcome.second, "tie": outcome.ties},
        preference=_rate(outcome.share),
        preference_p=outcome.p_value,
    )


def _clicks(people: Iterable[dict[str, int]], version: str) -> np.ndarray:
    return np.array([one.get(version, 0) for one in people])


def _rate(interval: statistics.Interval) -> RateEstimate:
    return RateEstimate(*(None if x is None else round(x, 6) for x in astuple(interval)))
