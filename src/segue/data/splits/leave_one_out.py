"""Leave-last-out split: the protocol of most published results. It leaks later events of other users."""

from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.data.splits import cutoffs
from segue.data.splits.user_sequences import user_sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def leave_last_out(log: "EventLog") -> Split:
    """Hold out each user's last event for test and the one before for validation.

    Users with fewer than three events are in the training part only::

        ann     a  a  a  v  T        train a a a; history a a a, target v; history a a a v, target T
        bob     b  b                 train only

    The catalog is the whole log's, and seen items are excluded, as in published results. Training events of one user
    lie after the test event of another, so that trends leak: report a time split beside it.

    Raises:
        ValueError: no user has three events.
    """
    sequences, ids = user_sequences(log)
    has_cases = sequences.lengths >= 3
    if not has_cases.any():
        raise ValueError("No user of this log has three events, which leave-last-out needs: use another protocol.")
    rows, groups = sequences.take(has_cases), np.flatnonzero(has_cases)
    validation, test = (_case_from_end(rows, groups, from_end) for from_end in (2, 1))
    train = sequences.prefixes(sequences.lengths - 2 * has_cases)
    split = Split(
        protocol=(
            "leave-last-out: each user's last event is the test, the one before the validation (users with three or "
            "more), the whole log is the catalog; seen items excluded"
        ),
        catalog=Catalog(ids),
        train=train,
        validation=validation,
        refit=sequences.prefixes(sequences.lengths - has_cases),
        test=test,
        exclude_seen=True,
        picture=cutoffs.draw_timeline(train.num_events, len(validation), len(test)),
        fingerprint="",
    )
    return cutoffs.with_fingerprint(split, "leave-last-out")


def _case_from_end(rows: Sequences, groups: np.ndarray, from_end: int) -> EvaluationCases:
    """Return one case per row: the target is the event ``from_end`` before its end."""
    position = rows.stops - from_end
    times = None if rows.times is None else rows.times[position]
    return EvaluationCases(rows.prefixes(np.full(len(rows), -from_end)), rows.items[position], groups, times, {})
