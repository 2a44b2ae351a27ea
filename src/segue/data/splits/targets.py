"""Evaluation cases (history, target) from sequences. Targets that cannot be evaluated are counted by reason.

Shape letters: B rows, N cases or flat events, V catalog size with PAD.
"""

from dataclasses import replace

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences

UNKNOWN = "item not in training"
NO_HISTORY = "no history"


def later_events(
    sequences: Sequences, cutoff_us: int, known_V: np.ndarray, *, hide_same_time: bool = False
) -> EvaluationCases:
    """Return one case per event at or after a cutoff that has an earlier event of its row.

    Args:
        sequences: rows with times.
        cutoff_us: UTC microseconds.
        known_V: bool [V]; targets outside it are dropped. Items outside it stay in histories, where scorers skip those
            that they do not know.
        hide_same_time: exclude events with the target's timestamp from its history.
    """
    assert sequences.times is not None
    row_N, position_N = sequences.positions()
    late_N = sequences.times[position_N] >= cutoff_us
    row_N, position_N = row_N[late_N], position_N[late_N]
    stops_N = _tie_starts(sequences)[position_N] if hide_same_time else position_N
    is_first_N = stops_N == sequences.starts[row_N]
    is_unknown_N = ~known_V[sequences.items[position_N]] & ~is_first_N
    keep_N = ~is_first_N & ~is_unknown_N
    row_N, position_N = row_N[keep_N], position_N[keep_N]
    histories = sequences.with_bounds(sequences.starts[row_N], stops_N[keep_N])
    dropped = _nonzero({NO_HISTORY: int(is_first_N.sum()), UNKNOWN: int(is_unknown_N.sum())})
    return EvaluationCases(histories, sequences.items[position_N], row_N, sequences.times[position_N], dropped)


def _tie_starts(sequences: Sequences) -> np.ndarray:
    """Return, for each flat position, the first position of its row with the same time, int64 [N]."""
    assert sequences.times is not None
    is_new_N = np.ones(len(sequences.items), dtype=bool)
    is_new_N[1:] = sequences.times[1:] != sequences.times[:-1]
    is_new_N[sequences.starts[sequences.lengths > 0]] = True
    return np.maximum.accumulate(np.where(is_new_N, np.arange(len(is_new_N)), 0))


def known_positions(sequences: Sequences, known_V: np.ndarray) -> EvaluationCases:
    """Remove unknown items from each row; every position from the second on is a case (GRU4Rec's evaluation).

    Args:
        sequences: rows of catalog indices.
        known_V: bool [V] mask of the known items.
    """
    masked = np.where(known_V[sequences.items], sequences.items, PAD).astype(np.int32)
    rows = replace(sequences, items=masked).drop_unknown()
    return replace(all_positions(rows), dropped=_nonzero({UNKNOWN: sequences.num_events - rows.num_events}))


def all_positions(sequences: Sequences) -> EvaluationCases:
    """Return one case per position from the second of every row; a target outside the catalog is a miss."""
    row_N, position_N = sequences.positions()
    has_history_N = position_N > sequences.starts[row_N]
    row_N, position_N = row_N[has_history_N], position_N[has_history_N]
    known_N = sequences.items[position_N] != PAD
    row_N, position_N = row_N[known_N], position_N[known_N]
    histories = sequences.with_bounds(sequences.starts[row_N], position_N)
    times_N = None if sequences.times is None else sequences.times[position_N]
    return EvaluationCases(histories, sequences.items[position_N], row_N, times_N, {}, int((~known_N).sum()))


def labeled_targets(sequences: Sequences, *, miss: bool) -> EvaluationCases:
    """Return one case per row, whose target is the row's last event.

    Prefixes of one session, longest first as in the published files, are one group.

    Args:
        sequences: rows with the label as last event.
        miss: count a target outside the catalog as a miss; False: drop it.
    """
    has_history = sequences.lengths > 1
    rows, groups = sequences.take(has_history), prefix_groups(sequences)[has_history]
    targets = rows.items[rows.stops - 1]
    known = targets != PAD
    num_unknown = int((~known).sum())
    known_rows = rows.take(known)
    times = None if rows.times is None else rows.times[known_rows.stops - 1]
    histories = known_rows.prefixes(np.full(len(known_rows), -1))
    dropped = {} if miss else _nonzero({UNKNOWN: num_unknown})
    dropped |= _nonzero({NO_HISTORY: int((~has_history).sum())})
    return EvaluationCases(histories, targets[known], groups[known], times, dropped, num_unknown if miss else 0)


def prefix_groups(sequences: Sequences) -> np.ndarray:
    """Return a group index of each row, int64 [B]: a row joins the group of the row before if it is that row without
    its last event."""
    count = len(sequences)
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    shorter = sequences.lengths[1:] == sequences.lengths[:-1] - 1
    later = sequences.take(np.flatnonzero(shorter) + 1)
    row_N, position_N = later.positions()
    shift = (sequences.starts[1:] - sequences.starts[:-1])[shorter]
    differs_N = later.items[position_N] != later.items[position_N - shift[row_N]]
    differs = np.bincount(row_N[differs_N], minlength=len(later)) > 0
    continues = np.zeros(count, dtype=bool)
    continues[np.flatnonzero(shorter)[~differs] + 1] = True
    return np.cumsum(~continues) - 1


def _nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
