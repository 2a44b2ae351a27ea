"""What is in a log and what is odd about it: to be read before a day is spent on models."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

VISIT_S = 1800
"""A pause that people in the trade take for the end of a visit."""


@dataclass(frozen=True)
class Profile:
    """A log in numbers, and in sentences where a number would be overlooked."""

    events: int
    users: int
    items: int
    sessions: int | None
    first: str | None
    last: str | None
    """The span in UTC; None where the log has no times."""
    events_per_user: dict[str, int]
    """Quantiles: min, median, p90, max."""
    one_event_users: float
    """Share of people with a single event."""
    top_percent_share: float
    """Share of events that go to the most popular 1 % of items."""
    one_event_items: float
    """Share of items with a single event."""
    repeats: float
    """Share of events whose item the person had before."""
    exact_duplicates: int
    """Events that repeat another's person, item and time."""
    same_time_neighbors: float
    """Share of a person's neighboring events that carry one time, so that their order is the file's."""
    last_pair_tied: float
    """Share of people whose last two events carry one time: there, "the last event" is arbitrary."""
    new_items_late: float
    """Share of the last tenth's events on items that the first nine tenths never saw."""
    new_items_by_tenth: tuple[float, ...]
    """Of each tenth of the events in time, the share on items never seen in the tenths before; () without times."""
    pauses_s: dict[str, float]
    """Quantiles of the seconds between a person's neighboring events: median, p90, p99; {} without any."""
    visits: int | None
    """Sessions there would be if half an hour's pause began a new one; None without times."""
    rejected: dict[str, int]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """(what, value) for people."""
        per = self.events_per_user
        rows = [
            ("events", f"{self.events:,}"),
            ("people", f"{self.users:,}"),
            ("items", f"{self.items:,}"),
            ("sessions", "no session column" if self.sessions is None else f"{self.sessions:,}"),
            ("from", self.first or "no times"),
            ("to", self.last or "no times"),
            (
                "events a person",
                f"{per['min']:,} .. {per['median']:,} (median) .. {per['p90']:,} (p90) .. {per['max']:,}",
            ),
            ("people with one event", f"{self.one_event_users:.1%}"),
            ("events on the top 1 % of items", f"{self.top_percent_share:.1%}"),
            ("items with one event", f"{self.one_event_items:.1%}"),
            ("events on items had before", f"{self.repeats:.1%}"),
            ("exact duplicates", f"{self.exact_duplicates:,}"),
            ("neighbors at one time", f"{self.same_time_neighbors:.1%}"),
            ("people whose last two are tied", f"{self.last_pair_tied:.1%}"),
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
    """Looks at a log once; seconds for millions of events."""
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
        "first": None if rows.times is None else _day(int(rows.times.min())),
        "last": None if rows.times is None else _day(int(rows.times.max())),
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
    return Profile(**numbers, warnings=tuple(_oddities(numbers, log)))


def _repeats(rows: Sequences, size: int) -> float:
    row, where = rows.positions()
    distinct = len(np.unique(row * size + rows.items[where]))
    return 1.0 - distinct / max(1, len(where))


def _ties(rows: Sequences) -> tuple[float, float]:
    """(share of neighboring pairs at one time, share of people whose last pair is)."""
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


def _oddities(n: dict[str, Any], log: "EventLog") -> list[str]:
    found = []
    if not log.has_times:
        found.append("The log has an order but no times: a time split and recency are not possible.")
    elif n["last"] < "1990":
        found.append(f"All times lie before 1990, up to {n['last']}: is their unit right, or are they only an order?")
    if n["last_pair_tied"] > 0.1:
        share = f"{n['last_pair_tied']:.0%}"
        found.append(f"{share} of people have their last two events at one time: leave-last-out is arbitrary there.")
    if n["exact_duplicates"] > 0.01 * n["events"]:
        found.append(f"{n['exact_duplicates']:,} events repeat another's person, item and time.")
    if n["one_event_users"] > 0.3:
        found.append(f"{n['one_event_users']:.0%} of people have one event only: nothing shows what they do next.")
    if n["repeats"] > 0.2:
        found.append(f"{n['repeats']:.0%} of events return to an item had before: do not exclude seen items blindly.")
    if n["new_items_late"] > 0.1:
        found.append(f"{n['new_items_late']:.0%} of the last tenth's events are on items new by then.")
    if n["top_percent_share"] > 0.5:
        found.append(f"1 % of the items take {n['top_percent_share']:.0%} of the events.")
    if n["events_per_user"]["max"] > max(1000, 0.01 * n["events"]):
        found.append(f"One person has {n['events_per_user']['max']:,} events: a reseller, a robot or a shared id?")
    return found + _odd_columns(log)


def _odd_columns(log: "EventLog") -> list[str]:
    """What other columns say about events that are perhaps none."""
    found = []
    if "event" in log.frame.columns and log.frame["event"].n_unique() > 1:
        kinds = log.frame["event"].value_counts(sort=True)
        name, count = kinds.row(0)
        found.append(
            f"There are {kinds.height:,} kinds of event, and {count / len(log):.0%} are '{name}': "
            "choose those that mean interest with a condition."
        )
    for name in log.frame.columns:
        if name.lower() in ("quantity", "qty", "units", "amount") and log.frame[name].dtype.is_numeric():
            negative = int((log.frame[name] < 0).sum())
            if negative:
                found.append(
                    f"In {negative:,} events '{name}' is negative, as for returns: leave them out with {name} > 0."
                )
    return found


def format_duration(seconds: float) -> str:
    """For people: the largest unit of which there is at least one."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _day(time_us: int) -> str:
    return str(np.datetime64(time_us, "us").astype("datetime64[s]")) + "Z"
