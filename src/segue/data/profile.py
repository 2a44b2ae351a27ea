"""Profile of a log: counts, distributions, and warnings to read before models are trained."""

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.purchase_events import is_cancellation
from segue.data.read_report import shorten_list
from segue.data.readers.id_spelling import respelled_within
from segue.data.robots import find_robots
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

VISIT_S = 1800
"""Seconds without an event that end a session, the common choice in web analytics."""


@dataclass(frozen=True)
class Profile:
    """Counts and shares of a log, and warnings about unusual ones."""

    events: int
    users: int
    items: int
    sessions: int | None
    first: str | None
    """Time of the first event, UTC; None for a log without times."""
    last: str | None
    """Time of the last event, UTC; None for a log without times."""
    events_per_user: dict[str, int]
    """Quantiles: min, median, p90, max."""
    one_event_users: float
    """Share of users with a single event."""
    top_percent_share: float
    """Share of events on the most popular 1 % of items."""
    one_event_items: float
    """Share of items with a single event."""
    repeats: float
    """Share of events on an item of the user's history."""
    exact_duplicates: int
    """Number of events with user, item and time of another."""
    same_time_neighbors: float
    """Share of a user's neighboring events with equal times, whose order is the file's."""
    last_pair_tied: float
    """Share of users whose last two events have equal times: their last event is arbitrary."""
    new_items_late: float
    """Share of the last tenth's events on items without an event before."""
    new_items_by_tenth: tuple[float, ...]
    """Share of each tenth of the events, by time, on items without an event in earlier tenths; () without times."""
    pauses_s: dict[str, float]
    """Quantiles of the seconds between a user's neighboring events: median, p90, p99; {} without any."""
    visits: int | None
    """Number of sessions if a pause of VISIT_S seconds ends one; None without times."""
    rejected: dict[str, int]
    """Number of rejected rows by reason."""
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Return (label, value) pairs for display."""
        quantiles = self.events_per_user
        rows = [
            ("events", f"{self.events:,}"),
            ("users", f"{self.users:,}"),
            ("items", f"{self.items:,}"),
            ("sessions", "no session column" if self.sessions is None else f"{self.sessions:,}"),
            ("from", self.first or "no times"),
            ("to", self.last or "no times"),
            (
                "events per user",
                f"{quantiles['min']:,} .. {quantiles['median']:,} (median) .. {quantiles['p90']:,} (p90) .. "
                f"{quantiles['max']:,}",
            ),
            ("users with one event", f"{self.one_event_users:.1%}"),
            ("events on the top 1 % of items", f"{self.top_percent_share:.1%}"),
            ("items with one event", f"{self.one_event_items:.1%}"),
            ("events on items of the history", f"{self.repeats:.1%}"),
            ("exact duplicates", f"{self.exact_duplicates:,}"),
            ("neighbors with equal times", f"{self.same_time_neighbors:.1%}"),
            ("users whose last two are tied", f"{self.last_pair_tied:.1%}"),
            ("late events on new items", f"{self.new_items_late:.1%}"),
        ]
        if self.visits is not None:
            rows.append(("sessions by pauses of 30 min", f"{self.visits:,}"))
        if self.pauses_s:
            rows.append(
                ("pause between events", " .. ".join(f"{format_duration(s)} ({q})" for q, s in self.pauses_s.items()))
            )
        return rows


def profile_log(log: "EventLog") -> Profile:
    """Profile a log in one pass: seconds for millions of events."""
    catalog = log.catalog()
    rows, users = log.sequences(catalog)
    lengths = rows.lengths
    counts_V = np.sort(np.bincount(rows.items, minlength=catalog.size)[1:])[::-1]
    top = max(1, len(counts_V) // 100)
    tied_pairs, tied_last = _ties(rows)
    quantiles = np.quantile(lengths, [0, 0.5, 0.9, 1], method="nearest").astype(int).tolist()
    numbers: dict[str, Any] = {
        "events": len(log),
        "users": len(users),
        "items": len(catalog),
        "sessions": log.frame["session_id"].n_unique() if "session_id" in log.frame.columns else None,
        "first": None if rows.times is None else _format_time(int(rows.times.min())),
        "last": None if rows.times is None else _format_time(int(rows.times.max())),
        "events_per_user": dict(zip(("min", "median", "p90", "max"), quantiles, strict=True)),
        "one_event_users": float((lengths == 1).mean()),
        "top_percent_share": float(counts_V[:top].sum() / len(log)),
        "one_event_items": float((counts_V == 1).mean()),
        "repeats": _repeats(rows, catalog.size),
        "exact_duplicates": len(log) - log.frame.select("user_id", "item_id", "timestamp").n_unique(),
        "same_time_neighbors": tied_pairs,
        "last_pair_tied": tied_last,
        "new_items_late": _new_late(rows, catalog.size),
        "new_items_by_tenth": _new_by_tenth(rows, catalog.size),
        **_pauses(rows),
        "rejected": log.report.rejected,
    }
    return Profile(**numbers, warnings=tuple(_warnings(numbers, log)))


def _repeats(rows: Sequences, size: int) -> float:
    row, position = rows.positions()
    distinct = len(np.unique(row * size + rows.items[position]))
    return 1.0 - distinct / max(1, len(position))


def _ties(rows: Sequences) -> tuple[float, float]:
    """Return the share of neighboring pairs with equal times, and the share of users whose last pair has."""
    if rows.times is None:
        return 0.0, 0.0
    inner = np.ones(len(rows.times), dtype=bool)
    inner[rows.starts] = False
    same = np.zeros(len(rows.times), dtype=bool)
    same[1:] = rows.times[1:] == rows.times[:-1]
    long = rows.lengths > 1
    last = same[rows.stops[long] - 1]
    return float(same[inner].mean()) if inner.any() else 0.0, float(last.mean()) if long.any() else 0.0


def _new_late(rows: Sequences, size: int) -> float:
    if rows.times is None or len(rows.times) < 10:
        return 0.0
    cut = np.quantile(rows.times, 0.9)
    early_V = np.zeros(size, dtype=bool)
    early_V[rows.items[rows.times <= cut]] = True
    late = rows.items[rows.times > cut]
    return float((~early_V[late]).mean()) if len(late) else 0.0


def _new_by_tenth(rows: Sequences, size: int) -> tuple[float, ...]:
    if rows.times is None or len(rows.times) < 10:
        return ()
    items = rows.items[np.argsort(rows.times, kind="stable")]
    tenth = np.arange(len(items)) * 10 // len(items)
    first_V = np.full(size, 10)
    np.minimum.at(first_V, items, tenth)
    return tuple(float((first_V[items[tenth == t]] == t).mean()) for t in range(10))


def _pauses(rows: Sequences) -> dict[str, Any]:
    if rows.times is None:
        return {"pauses_s": {}, "visits": None}
    inner = np.ones(max(0, len(rows.times) - 1), dtype=bool)
    inner[rows.starts[1:] - 1] = False
    pauses_s = np.diff(rows.times)[inner] / 1e6
    levels = {"median": 0.5, "p90": 0.9, "p99": 0.99} if len(pauses_s) else {}
    quantiles = {name: float(np.quantile(pauses_s, level)) for name, level in levels.items()}
    return {"pauses_s": quantiles, "visits": len(rows) + int((pauses_s > VISIT_S).sum())}


def _warnings(n: dict[str, Any], log: "EventLog") -> list[str]:
    warnings = []
    if not log.has_times:
        warnings.append("The log has an order but no times: a time split and recency are not possible.")
    elif n["last"] < "1990":
        warnings.append(
            f"All times lie before 1990, up to {n['last']}: check their unit, or whether they are only an order."
        )
    future = int((log.frame["timestamp"] > time.time_ns() // 1000).sum()) if log.has_times else 0
    if future:
        warnings.append(
            f"{future:,} events lie in the future, up to {n['last']}: a server sets them aside, and a split by time "
            "tests them. Check their unit and zone, or leave them out with a condition."
        )
    if n["last_pair_tied"] > 0.1:
        share = f"{n['last_pair_tied']:.0%}"
        warnings.append(f"{share} of users have two last events with equal times: leave-last-out is arbitrary there.")
    if n["exact_duplicates"] > 0.01 * n["events"]:
        warnings.append(f"{n['exact_duplicates']:,} events repeat the user, item and time of another.")
    if n["one_event_users"] > 0.3:
        warnings.append(f"{n['one_event_users']:.0%} of users have one event only, and so no event to predict.")
    if n["repeats"] > 0.2:
        warnings.append(
            f"{n['repeats']:.0%} of events are on an item of the history: do not exclude seen items blindly."
        )
    if n["new_items_late"] > 0.1:
        warnings.append(f"{n['new_items_late']:.0%} of the last tenth's events are on items that are new by then.")
    if n["top_percent_share"] > 0.5:
        warnings.append(f"1 % of the items take {n['top_percent_share']:.0%} of the events.")
    return [*log.report.warnings, *warnings, *find_robots(log), *_respelled_items(log), *_column_warnings(log)]


def _respelled_items(log: "EventLog") -> list[str]:
    pairs = respelled_within(log.frame["item_id"])
    if not pairs:
        return []
    first, second = pairs[0]
    return [f"{len(pairs):,} items differ from another by the spelling of their id only, as {first!r} and {second!r}."]


def _column_warnings(log: "EventLog") -> list[str]:
    """Return warnings about events that other columns mark as no interactions."""
    warnings = []
    if "event" in log.frame.columns and log.frame["event"].n_unique() > 1:
        counts = log.frame["event"].value_counts(sort=True)
        name, count = counts.row(0)
        warnings.append(
            f"There are {counts.height:,} types of event, and {count / len(log):.0%} are '{name}': "
            "select those that mean interest with a condition."
        )
        cancelled = [
            f"{kind} {number:,}" for kind, number in counts.rows() if kind is not None and is_cancellation(kind)
        ]
        if cancelled:
            warnings.append(f"Events are cancellations ({shorten_list(cancelled)}): leave them out with a condition.")
    for name in log.frame.columns:
        if name.lower() in ("quantity", "qty", "units", "amount") and log.frame[name].dtype.is_numeric():
            negative = int((log.frame[name] < 0).sum())
            if negative:
                warnings.append(
                    f"In {negative:,} events '{name}' is negative, as for returns: leave them out with {name} > 0."
                )
    return warnings


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit of which it holds at least one: ``1.5 h``."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _format_time(time_us: int) -> str:
    return str(np.datetime64(time_us, "us").astype("datetime64[s]")) + "Z"
