"""Time split: one cutoff time for all users; earlier events are trained on, later ones evaluated."""

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
    """Train on the events before a cutoff time; every later event of a user with a history is a case::

        time        0  1  2  3 | 4 | 5  6     cutoffs: the .9 quantile of the events' times, and of those before it
        ann               a  a | a |          train a a, refit a a a
        bob         b  b  b    | b | b  b     train b b b, refit b b b b
        cem                    |   | c  c     train nothing
        validation             | ab|          history: all earlier events of the user
        test                   |   | b  b c   the second b with the first in its history; the first c has none: dropped

    The catalog has the items before the test cutoff; targets outside it are dropped and counted.

    Args:
        log: events with times.
        test: share of the events, in (0, 1).
        validation: share of the events before the test cutoff, in (0, 1).
        same_time: "keep": events of one time (a basket) keep their file order, and a target's history has the earlier
            lines of its basket. "hide": the history has no event with the target's timestamp.
        exclude_seen: exclude items of the history from the ranking, for logs without repeated interactions.

    Raises:
        ValueError: the log has no times, an option is out of range, or no event is left to train on.
    """
    cutoffs.check_choice("same_time", same_time, ("keep", "hide"))
    if not log.has_times:
        raise ValueError("This log has an order but no times, so it cannot be cut at a time: use leave-last-out.")
    all_rows, ids = user_sequences(log)
    assert all_rows.times is not None
    times = cutoffs.cutoff_times(all_rows.times, test, validation)
    kept = cutoffs.events_before(all_rows, times.test_us)
    catalog, rows = cutoffs.restrict_catalog(all_rows, ids, kept, log.items)
    train, refit = (cutoffs.events_before(rows, cutoff_us) for cutoff_us in times)
    hide = same_time == "hide"
    known_V, known_later_V = (cutoffs.known_item_mask(part, catalog, log.items) for part in (train, refit))
    sizes = (train.num_events, refit.num_events - train.num_events, rows.num_events - refit.num_events)
    split = Split(
        protocol=(
            f"time split: trained before {cutoffs.format_time(times.test_us)} (validated from "
            f"{cutoffs.format_time(times.validation_us)}), evaluated on every later event of users with a history; of "
            f"events at the target's own time the earlier lines are {'not known' if hide else 'known'}; "
            f"seen items {'excluded' if exclude_seen else 'not excluded'}"
        ),
        catalog=catalog,
        train=train,
        validation=later_events(refit, times.validation_us, known_V, hide_same_time=hide),
        refit=refit,
        test=later_events(rows, times.test_us, known_later_V, hide_same_time=hide),
        exclude_seen=exclude_seen,
        picture=cutoffs.draw_timeline(*sizes, times),
        fingerprint="",
    )
    return cutoffs.with_fingerprint(split, f"time same_time={same_time}")
