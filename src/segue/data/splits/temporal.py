"""Time split: one moment for everybody; what lies before it trains, what lies after it judges."""

from typing import TYPE_CHECKING

from segue.data.evaluation_cases import Split
from segue.data.splits import cutoffs
from segue.data.splits.targets import later_events
from segue.data.splits.user_sequences import user_sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def time_split(
    log: "EventLog",
    *,
    test: float = 0.1,
    validation: float = 0.1,
    same_time: str = "keep",
    exclude_seen: bool = False,
) -> Split:
    """Everything before a moment trains; every later event of a person with a history is a case.

    ::

        time        0  1  2  3 | 4 | 5  6     cuts: the .9 quantile of the events' times, and of those before it
        ann               a  a | a |          train a a, refit a a a
        bob         b  b  b    | b | b  b     train b b b, refit b b b b
        cem                    |   | c  c     train nothing
        validation             | ab|          each asked with all of the person's earlier events
        test                   |   | b  b c   the second b with the first in its history; the first c has none: dropped

    The catalog is what was seen before the test cut; targets outside it are dropped and counted. Events that share
    a time (a basket) keep their order in the file, so a target knows the earlier lines of its own basket;
    ``same_time`` "hide" takes everything that carries the target's very time out of its history. ``exclude_seen``
    takes the history's items out of the ranking: for logs where nobody does anything twice.
    """
    cutoffs.check_choice("same_time", same_time, ("keep", "hide"))
    if not log.has_times:
        raise ValueError("This log has an order but no times, so it cannot be cut at a moment: use leave-last-out.")
    everything, names = user_sequences(log)
    assert everything.times is not None
    first, second = cutoffs.cutoff_times(everything.times, test, validation)
    catalog, sequences = cutoffs.restrict(everything, names, cutoffs.events_before(everything, second), log.items)
    train, refit = cutoffs.events_before(sequences, first), cutoffs.events_before(sequences, second)
    hide = same_time == "hide"
    asked = (
        later_events(refit, first, cutoffs.map_to_catalog(train, catalog, log.items), hide_same_time=hide),
        later_events(sequences, second, cutoffs.map_to_catalog(refit, catalog, log.items), hide_same_time=hide),
    )
    sentence = (
        f"time split: trained before {cutoffs.format_time(second)} (validated from {cutoffs.format_time(first)}), "
        f"judged on every later event of users with a history; of events at the target's own time the "
        f"earlier lines are {'not known' if hide else 'known'}; "
        f"seen items {'excluded' if exclude_seen else 'not excluded'}"
    )
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=train,
        validation=asked[0],
        refit=refit,
        test=asked[1],
        exclude_seen=exclude_seen,
        picture=cutoffs.draw_timeline(
            train.num_events,
            refit.num_events - train.num_events,
            len(everything.items) - refit.num_events,
            (first, second),
        ),
        fingerprint=cutoffs.split_fingerprint(catalog, sentence, (train, refit), asked),
    )
