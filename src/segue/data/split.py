"""Cuts in time: what a model may learn from, what chooses its settings, what judges it. Each with its picture.

Events of one person are in time order, ties in file order (a basket shares one time); a case knows everything before
its target in that order.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from segue.data.cases import Cases, Split
from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.events import EventLog


def split(log: "EventLog", protocol: str = "time", **options: Any) -> Split:
    """Cuts a log by a protocol's name: time, leave-last-out, sessions, or fixed (with ``test=`` a second log)."""
    name = protocol.replace("_", "-").lower()
    if name not in PROTOCOLS:
        raise ValueError(f"There is no protocol '{protocol}'. Known protocols: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name](log, **options)


def time_split(
    log: "EventLog", *, test: float = 0.1, validation: float = 0.1, same_time: Literal["keep", "hide"] = "keep"
) -> Split:
    """Everything before a moment trains, every later event of a person with a history is a case.

    ::

        time       0  1  2  3 | 4 | 5  6      the cuts lie at quantiles of the events
        ann              a  a | a |           refit = train and validation events
        bob        b  b  b    | b | b  b
        train      b  b  ab a |   |
        validation            | ab|
        test                  |   | b  b      the second b is asked with the first in its history

    The catalogue is what was seen before the test cut. ``same_time`` "hide" takes events that carry the very time of
    the target (the rest of its basket) out of its history.
    """
    _check_share("test", test)
    _check_share("validation", validation)
    if not log.has_times:
        raise ValueError("This log has an order but no times, so it cannot be cut at a moment: use leave-last-out.")
    everything, names = _sequences(log, "user")
    assert everything.times is not None
    cut = int(np.quantile(everything.times, 1 - test, method="higher"))
    catalog, sequences = _restrict(everything, names, everything.times < cut)
    times_N = everything.times
    before = everything.times[everything.times < cut]
    if len(before) == 0:
        raise ValueError(
            "All events carry one and the same time, so there is nothing before a cut: use leave-last-out."
        )
    first = int(np.quantile(before, 1 - validation, method="higher"))
    train = sequences.prefixes(_count(sequences, times_N < first))
    refit = sequences.prefixes(_count(sequences, times_N < cut))
    sentence = (
        f"time split: trained before {_moment(cut)} (validation from {_moment(first)}), judged on every later event of "
        f"people with a history; seen items excluded: no; events of the target's own time: {same_time}"
    )
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=train,
        validation=_cases(refit, (times_N >= first) & (times_N < cut), train, same_time),
        refit=refit,
        test=_cases(sequences, times_N >= cut, refit, same_time),
        exclude_seen=False,
        picture=_bar(len(before[before < first]), len(before[before >= first]), len(times_N) - len(before)),
        fingerprint=_fingerprint(everything, sentence),
    )


def leave_last_out(log: "EventLog") -> Split:
    """Each person's last event judges, the one before chooses settings; people with fewer than three only train.

    ::

        ann     a  a  a  v  T        train a, validation v, test T (asked with v in the history, never trained on it)
        bob     b  b                 train only

    The published protocol: the catalogue is the whole log's, seen items are excluded. It leaks the future (one
    person's training events lie after another's test event): print a time split beside it.
    """
    sequences, names = _sequences(log, "user")
    judged = sequences.lengths >= 3
    if not judged.any():
        raise ValueError("Nobody in this log has three events, which leave-last-out needs: use another protocol.")
    asked = sequences.take(judged)
    groups = np.flatnonzero(judged)
    sentence = "leave-last-out: last event judges, the one before validates, whole log is the catalogue; seen excluded"

    def last(place: int) -> Cases:
        times = None if asked.times is None else asked.times[asked.stops - place]
        targets = asked.items[asked.stops - place]
        return Cases(asked.prefixes(np.full(len(asked), -place)), targets, groups, times, {})

    return Split(
        protocol=sentence,
        catalog=Catalog(names),
        train=sequences.prefixes(sequences.lengths - 2 * judged),
        validation=last(2),
        refit=sequences.prefixes(sequences.lengths - judged),
        test=last(1),
        exclude_seen=True,
        picture=_bar(sequences.num_events - 2 * len(asked), len(asked), len(asked)),
        fingerprint=_fingerprint(sequences, sentence),
    )


def session_split(log: "EventLog", *, test: float = 0.1, validation: float = 0.1) -> Split:
    """The last sessions to start judge, at every position from their second event.

    ::

        sessions by start   s1 s2 s3 s4 s5 s6 s7 | s8 | s9
                            train                | v  | test: events 2, 3, ... each asked with those before it

    The catalogue is what was seen before the test sessions; other items are taken out of them. Seen items stay in
    the race, as sessions come back to them.
    """
    _check_share("test", test)
    _check_share("validation", validation)
    everything, names = _sequences(log, "session")
    everything = _by_start(everything)
    cut = len(everything) - max(1, round(len(everything) * test))
    first = cut - max(1, round(cut * validation))
    if first < 1:
        raise ValueError(f"This log has {len(everything)} sessions, too few to cut: at least three are needed.")
    seen = np.zeros(len(everything.items), dtype=bool)
    seen[everything.take(slice(0, cut)).positions()[1]] = True
    catalog, sequences = _restrict(everything, names, seen)
    sentence = (
        f"session split: the last {test:.0%} of sessions to start judge, at every position from the second; "
        "items unknown to training taken out; seen items excluded: no"
    )
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=sequences.take(slice(0, first)),
        validation=_positions(sequences.take(slice(first, cut)), first),
        refit=sequences.take(slice(0, cut)),
        test=_positions(sequences.take(slice(cut, None)), cut),
        exclude_seen=False,
        picture=_bar(first, cut - first, len(sequences) - cut),
        fingerprint=_fingerprint(sequences, sentence),
    )


def fixed_split(
    log: "EventLog", *, test: "EventLog", validation: float = 0.1, unknown: Literal["drop", "miss"] = "drop"
) -> Split:
    """A test set that somebody else fixed. A log of sessions is asked at every position from the second; a prefixes
    file (marked by its reader) only for the last event of each row, its label.

    ``unknown`` "drop" takes items that training never saw out of the test; "miss" keeps such targets as misses, as
    some published numbers do. The last ``validation`` of training's sessions to start choose settings.
    """
    _check_share("validation", validation)
    sequences, names = _sequences(log, "session")
    catalog = Catalog(names)
    sequences = _by_start(sequences)
    first = len(sequences) - max(1, round(len(sequences) * validation))
    if first < 1:
        raise ValueError(f"This log has {len(sequences)} sessions, too few to keep some for validation.")
    asked, _ = test.sequences(catalog, by="session")
    if test.labelled:
        cases = _labels(asked, unknown)
    else:
        cases = _positions(asked, 0) if unknown == "drop" else _every_position(asked)
    where = "the label of every row" if test.labelled else "every position from the second"
    sentence = f"fixed test set: {where}; unknown targets: {unknown}; seen items excluded: no"
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=sequences.take(slice(0, first)),
        validation=_positions(sequences.take(slice(first, None)), first),
        refit=sequences,
        test=cases,
        exclude_seen=False,
        picture=_bar(first, len(sequences) - first, len(asked)),
        fingerprint=_fingerprint(sequences, sentence + _fingerprint(asked, "")),
    )


PROTOCOLS: dict[str, Callable[..., Split]] = {
    "time": time_split,
    "leave-last-out": leave_last_out,
    "sessions": session_split,
    "fixed": fixed_split,
}
"""The one table of protocols."""


def _sequences(log: "EventLog", by: str) -> tuple[Sequences, tuple[str, ...]]:
    catalog = log.catalog()
    return log.sequences(catalog, by=by)[0], catalog.ids


def _by_start(sequences: Sequences) -> Sequences:
    """Sessions in the order of their first event; file order where the log has no times."""
    if sequences.times is None:
        return sequences
    return sequences.take(np.argsort(sequences.times[sequences.starts], kind="stable"))


def _restrict(sequences: Sequences, names: tuple[str, ...], kept_N: np.ndarray) -> tuple[Catalog, Sequences]:
    """The catalogue of the kept events alone, and all events indexed by it; items outside become PAD."""
    present_V = np.zeros(len(names) + 1, dtype=bool)
    present_V[sequences.items[kept_N]] = True
    present_V[PAD] = False
    index_V = np.where(present_V, np.cumsum(present_V), PAD).astype(np.int32)
    catalog = Catalog(names[i - 1] for i in np.flatnonzero(present_V))
    return catalog, replace(sequences, items=index_V[sequences.items])


def _count(sequences: Sequences, mask_N: np.ndarray) -> np.ndarray:
    """How many events of each row are in the mask (which keeps the oldest of a row)."""
    row, where = sequences.positions()
    return np.bincount(row[mask_N[where]], minlength=len(sequences))


def _cases(sequences: Sequences, asked_N: np.ndarray, known: Sequences, same_time: str) -> Cases:
    """Every asked event with a history; items that do not occur in ``known`` cannot be asked for."""
    row, where = sequences.positions()
    ask = asked_N[where]
    row, where = row[ask], where[ask]
    stops = where
    assert sequences.times is not None
    if same_time == "hide":
        earlier_N = np.concatenate([[True], sequences.times[1:] != sequences.times[:-1]])
        earlier_N[sequences.starts[sequences.lengths > 0]] = True
        stops = np.maximum.accumulate(np.where(earlier_N, np.arange(len(earlier_N)), 0))[where]
    size = int(sequences.items.max(initial=0)) + 1
    trained_V = np.zeros(size, dtype=bool)
    trained_V[known.items[known.positions()[1]]] = True
    trained_V[PAD] = False
    first = stops == sequences.starts[row]
    unknown = ~trained_V[sequences.items[where]]
    keep = ~first & ~unknown
    histories = Sequences(sequences.items, sequences.times, sequences.starts[row][keep], stops[keep])
    dropped = {"no history": int(first.sum()), "item not in training": int((unknown & ~first).sum())}
    return Cases(
        histories,
        sequences.items[where[keep]],
        row[keep],
        sequences.times[where[keep]],
        {reason: count for reason, count in dropped.items() if count},
    )


def _positions(sequences: Sequences, first_group: int) -> Cases:
    """Every position from the second of every row, items outside the catalogue taken out first."""
    known = sequences.known()
    lost = sequences.num_events - known.num_events
    cases = _every_position(known)
    dropped = {"item not in training": lost} if lost else {}
    return replace(cases, groups=cases.groups + first_group, dropped=dropped)


def _every_position(sequences: Sequences) -> Cases:
    """Every position from the second of every row; a target outside the catalogue is counted as missed."""
    row, where = sequences.positions()
    later = where > sequences.starts[row]
    row, where = row[later], where[later]
    known = sequences.items[where] != PAD
    missed = int((~known).sum())
    row, where = row[known], where[known]
    histories = Sequences(sequences.items, sequences.times, sequences.starts[row], where)
    times = None if sequences.times is None else sequences.times[where]
    return Cases(histories, sequences.items[where], row, times, {}, missed)


def _labels(sequences: Sequences, unknown: str) -> Cases:
    """The last event of every row is asked."""
    rows = np.flatnonzero(sequences.lengths > 1)
    asked = sequences.take(rows)
    known = asked.items[asked.stops - 1] != PAD
    lost = int((~known).sum())
    asked, rows = asked.take(known), rows[known]
    dropped = {"item not in training": lost} if lost and unknown == "drop" else {}
    missed = lost if unknown == "miss" else 0
    return Cases(asked.prefixes(np.full(len(asked), -1)), asked.items[asked.stops - 1], rows, None, dropped, missed)


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be a share between 0 and 1, got {value}.")


def _moment(time_us: int) -> str:
    return str(np.datetime64(time_us, "us").astype("datetime64[s]")) + "Z"


def _bar(train: int, validation: int, test: int) -> str:
    """The three parts' sizes drawn to scale, at least one character each."""
    total = max(1, train + validation + test)
    widths = [max(1, round(60 * part / total)) for part in (train, validation, test)]
    bar = "=" * widths[0] + "|" + "v" * widths[1] + "|" + "T" * widths[2]
    return f"{bar}\ntrain {train:,} | validation {validation:,} | test {test:,}"


def _fingerprint(sequences: Sequences, sentence: str) -> str:
    digest = hashlib.sha256(sentence.encode())
    flat = sequences.flat()
    for array in (flat.items, flat.starts, flat.stops, flat.times):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
