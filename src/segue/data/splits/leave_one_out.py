"""Leave-last-out: the protocol of most published numbers; easy to compare by, and it leaks the future."""

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
    """Each person's last event judges, the one before chooses settings; people with fewer than three only train.

    ::

        ann     a  a  a  v  T        train a a a; v asked after a a a; T asked after a a a v, which never trained
        bob     b  b                 train only

    The catalog is the whole log's, and seen items are excluded, as published. One person's training events lie
    after another's test event, so trends are known beforehand: print a time split beside it.
    """
    sequences, names = user_sequences(log)
    judged = sequences.lengths >= 3
    if not judged.any():
        raise ValueError("Nobody in this log has three events, which leave-last-out needs: use another protocol.")
    asked = sequences.take(judged)
    groups = np.flatnonzero(judged)
    validation, test = (_last(asked, groups, place) for place in (2, 1))
    train = sequences.prefixes(sequences.lengths - 2 * judged)
    refit = sequences.prefixes(sequences.lengths - judged)
    catalog = Catalog(names)
    sentence = (
        "leave-last-out: each person's last event judges, the one before validates (people with three or more), "
        "the whole log is the catalog; seen items excluded"
    )
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=train,
        validation=validation,
        refit=refit,
        test=test,
        exclude_seen=True,
        picture=cutoffs.draw_timeline(train.num_events, len(validation), len(test)),
        fingerprint=cutoffs.split_fingerprint(catalog, sentence, (train, refit), (validation, test)),
    )


def _last(rows: Sequences, groups: np.ndarray, place: int) -> EvaluationCases:
    """The event ``place`` from the end of every row, asked with everything before it."""
    where = rows.stops - place
    times = None if rows.times is None else rows.times[where]
    return EvaluationCases(rows.prefixes(np.full(len(rows), -place)), rows.items[where], groups, times, {})
