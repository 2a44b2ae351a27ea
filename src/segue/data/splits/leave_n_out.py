"""Leave-last-n-out: each person's last n events judge together, for models that say what comes several steps ahead."""

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
    """Each person's last n events judge, the n before choose settings; people with fewer than 2 n + 1 only train.

    ::

        n = 2   ann     a  a  v  v  T  T     train a a; v v asked after a a; T T asked after a a v v
                bob     b  b  b  b           train only

    A case's target is the first of its n events, so that everything made for one step works here too;
    ``Cases.futures`` holds all n. The catalog is the whole log's, and seen items are excluded. As with
    leave-last-out, one person's training events lie after another's test events.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}.")
    sequences, names = user_sequences(log)
    judged = sequences.lengths > 2 * n
    if not judged.any():
        raise ValueError(
            f"Nobody in this log has {2 * n + 1} events, which leave-last-n-out with n = {n} needs: use a smaller n."
        )
    asked = sequences.take(judged)
    groups = np.flatnonzero(judged)
    validation, test = (_ahead(asked, groups, place, n) for place in (2 * n, n))
    train = sequences.prefixes(sequences.lengths - 2 * n * judged)
    refit = sequences.prefixes(sequences.lengths - n * judged)
    catalog = Catalog(names)
    sentence = (
        f"leave-last-n-out: each person's last {n} events judge, the {n} before validate (people with {2 * n + 1} or "
        "more), the whole log is the catalog; seen items excluded"
    )
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=train,
        validation=validation,
        refit=refit,
        test=test,
        exclude_seen=True,
        picture=cutoffs.draw_timeline(train.num_events, n * len(validation), n * len(test)),
        fingerprint=cutoffs.split_fingerprint(catalog, sentence, (train, refit), (validation, test)),
    )


def _ahead(rows: Sequences, groups: np.ndarray, place: int, n: int) -> EvaluationCases:
    """The n events from the one ``place`` from the end of every row, asked with everything before them."""
    where = rows.stops - place
    times = None if rows.times is None else rows.times[where]
    futures = rows.within(where, where + n)
    return EvaluationCases(
        rows.prefixes(np.full(len(rows), -place)), rows.items[where], groups, times, {}, futures=futures
    )
