"""Rows -> the questions an evaluation asks of them, and an account of those it cannot ask.

Shape letters: N cases or flat events, V catalog size with PAD.
"""

from dataclasses import replace

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences

UNKNOWN = "item not in training"
NO_HISTORY = "no history"


def later_events(
    sequences: Sequences, moment: int, known_V: np.ndarray, *, hide_same_time: bool = False
) -> EvaluationCases:
    """Each event at or after the moment that has an earlier event of the same row, asked with all of them.

    ``hide_same_time`` leaves events that carry the target's very time out of its history. Targets outside ``known_V``
    (bool [V]) are dropped; items outside it stay in histories, where every scorer skips or knows them.
    """
    assert sequences.times is not None
    row_N, where_N = sequences.positions()
    late_N = sequences.times[where_N] >= moment
    row_N, where_N = row_N[late_N], where_N[late_N]
    stops_N = _tie_starts(sequences)[where_N] if hide_same_time else where_N
    first_N = stops_N == sequences.starts[row_N]
    unknown_N = ~known_V[sequences.items[where_N]] & ~first_N
    keep_N = ~first_N & ~unknown_N
    row_N, where_N = row_N[keep_N], where_N[keep_N]
    histories = sequences.within(sequences.starts[row_N], stops_N[keep_N])
    dropped = _counts({NO_HISTORY: int(first_N.sum()), UNKNOWN: int(unknown_N.sum())})
    return EvaluationCases(histories, sequences.items[where_N], row_N, sequences.times[where_N], dropped)


def _tie_starts(sequences: Sequences) -> np.ndarray:
    """For each flat position the first position of the same row with the same time, int64 [N]."""
    assert sequences.times is not None
    new_N = np.ones(len(sequences.items), dtype=bool)
    new_N[1:] = sequences.times[1:] != sequences.times[:-1]
    new_N[sequences.starts[sequences.lengths > 0]] = True
    return np.maximum.accumulate(np.where(new_N, np.arange(len(new_N)), 0))


def known_positions(sequences: Sequences, known_V: np.ndarray) -> EvaluationCases:
    """Events outside ``known_V`` are taken out of each row, and every position from the second of what is left asks
    (GRU4Rec's evaluation)."""
    masked = np.where(known_V[sequences.items], sequences.items, PAD).astype(np.int32)
    rows = replace(sequences, items=masked).drop_unknown()
    return replace(all_positions(rows), dropped=_counts({UNKNOWN: sequences.num_events - rows.num_events}))


def all_positions(sequences: Sequences) -> EvaluationCases:
    """Every position from the second of every row asks; a target outside the catalog is a miss."""
    row_N, where_N = sequences.positions()
    later_N = where_N > sequences.starts[row_N]
    row_N, where_N = row_N[later_N], where_N[later_N]
    known_N = sequences.items[where_N] != PAD
    row_N, where_N = row_N[known_N], where_N[known_N]
    histories = sequences.within(sequences.starts[row_N], where_N)
    times_N = None if sequences.times is None else sequences.times[where_N]
    return EvaluationCases(histories, sequences.items[where_N], row_N, times_N, {}, int((~known_N).sum()))


def labeled_targets(sequences: Sequences, *, miss: bool) -> EvaluationCases:
    """The last event of every row is asked; one outside the catalog is a miss, or dropped.

    Rows that are prefixes of one session, longest first as the published files have them, form one group.
    """
    filled = sequences.lengths > 1
    rows, groups = sequences.take(filled), prefix_groups(sequences)[filled]
    targets = rows.items[rows.stops - 1]
    known = targets != PAD
    lost = int((~known).sum())
    asked = rows.take(known)
    times = None if rows.times is None else rows.times[asked.stops - 1]
    histories = asked.prefixes(np.full(len(asked), -1))
    dropped = {} if miss else _counts({UNKNOWN: lost})
    dropped |= _counts({NO_HISTORY: int((~filled).sum())})
    return EvaluationCases(histories, targets[known], groups[known], times, dropped, lost if miss else 0)


def prefix_groups(sequences: Sequences) -> np.ndarray:
    """A number that rows share where each is the row before it without its last event, int64 [B]."""
    count = len(sequences)
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    shorter = sequences.lengths[1:] == sequences.lengths[:-1] - 1
    later = sequences.take(np.flatnonzero(shorter) + 1)
    row_N, where_N = later.positions()
    shift = (sequences.starts[1:] - sequences.starts[:-1])[shorter]
    differs = np.bincount(row_N[later.items[where_N] != later.items[where_N - shift[row_N]]], minlength=len(later)) > 0
    goes_on = np.zeros(count, dtype=bool)
    goes_on[np.flatnonzero(shorter)[~differs] + 1] = True
    return np.cumsum(~goes_on) - 1


def _counts(reasons: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in reasons.items() if count}
