"""Leave-last-n-out split: each user's last n events are held out, to evaluate predictions several steps ahead."""

from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.data.splits import cutoffs
from segue.data.splits.user_sequences import user_sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def leave_last_n_out(log: "EventLog", *, n: int = 10) -> Split:
    """Hold out each user's last n events for test and the n before for validation.

    Users with fewer than 2 n + 1 events are in the training part only::

        n = 2   ann     a  a  v  v  T  T     train a a; history a a, future v v; history a a v v, future T T
                bob     b  b  b  b           train only

    A case's target is the first of its n events, so that single-step evaluation works here too;
    ``EvaluationCases.futures`` holds all n. The catalog is the whole log's, and seen items are excluded. As with
    leave-last-out, training events of one user lie after test events of another.

    Args:
        log: events; an order without times is enough.
        n: events per user and part, at least 1.

    Raises:
        ValueError: n is below 1, or no user has 2 n + 1 events.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}.")
    sequences, ids = user_sequences(log)
    has_cases = sequences.lengths > 2 * n
    if not has_cases.any():
        raise ValueError(
            f"No user of this log has {2 * n + 1} events, which leave-last-n-out with n = {n} needs: use a smaller n."
        )
    rows, groups = sequences.take(has_cases), np.flatnonzero(has_cases)
    validation, test = (_cases_from_end(rows, groups, from_end, n) for from_end in (2 * n, n))
    train = sequences.prefixes(sequences.lengths - 2 * n * has_cases)
    split = Split(
        protocol=(
            f"leave-last-n-out: each user's last {n} events are the test, the {n} before the validation (users with "
            f"{2 * n + 1} or more), the whole log is the catalog; seen items excluded"
        ),
        catalog=Catalog(ids),
        train=train,
        validation=validation,
        refit=sequences.prefixes(sequences.lengths - n * has_cases),
        test=test,
        exclude_seen=True,
        picture=cutoffs.draw_timeline(train.num_events, n * len(validation), n * len(test)),
        fingerprint="",
    )
    return cutoffs.with_fingerprint(split, f"leave-last-n-out n={n}")


def _cases_from_end(rows: Sequences, groups: np.ndarray, from_end: int, n: int) -> EvaluationCases:
    """Return one case per row: the future is the n events that begin ``from_end`` before its end."""
    position = rows.stops - from_end
    times = None if rows.times is None else rows.times[position]
    futures = rows.with_bounds(position, position + n)
    return EvaluationCases(
        rows.prefixes(np.full(len(rows), -from_end)), rows.items[position], groups, times, {}, futures=futures
    )
