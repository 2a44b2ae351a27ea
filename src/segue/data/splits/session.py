"""Session splits: whole sessions as test, every position a case; the latest of the log, or a fixed test set."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import Split
from segue.data.sequences import Sequences
from segue.data.splits import cutoffs
from segue.data.splits.targets import all_positions, known_positions, labeled_targets
from segue.data.splits.user_sequences import session_sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def session_split(log: "EventLog", *, test: float = 0.1, validation: float = 0.1, gap_minutes: float = 30.0) -> Split:
    """Hold out the last sessions to begin; each of their events from the second on is a target.

    ::

        s1  a  b                 |         |              cutoffs: the .9 quantile of the sessions' begins, twice
        s2     c  a  a  .  .  .  | (a)     |              a session's events after a cutoff are not trained on
        s3                       |   b  a  |              validation: b -> a
        s4                       |         |  c  x  b     test: c -> b; x is not in the catalog: removed

    The history of a case is its session's earlier events. The catalog has the items before the test cutoff. Seen items
    are not excluded, because sessions return to items. A log without times is cut by its order.

    Args:
        log: events; a ``session_id`` column is used.
        test: share of the sessions, in (0, 1).
        validation: share of the sessions before the test cutoff, in (0, 1).
        gap_minutes: pause of a user that ends a session, for a log without ``session_id``.

    Raises:
        ValueError: an option is out of range, or no session is left to train on.
    """
    whole = log.catalog()
    all_rows, meaning = session_sequences(log, whole, gap_minutes)
    first, second, times = _row_cutoffs(all_rows, test, validation)
    validation_us, test_us = times or (None, None)
    kept = _training_rows(all_rows, second, test_us)
    catalog, rows = cutoffs.restrict_catalog(all_rows, whole.ids, kept, log.items)
    train, refit = _training_rows(rows, first, validation_us), _training_rows(rows, second, test_us)
    known_to_train_V = cutoffs.known_item_mask(train, catalog, log.items)
    known_to_refit_V = cutoffs.known_item_mask(refit, catalog, log.items)
    part = (
        f"from {cutoffs.format_time(times.test_us)}" if times else f"the last {len(rows) - second:,} of {len(rows):,}"
    )
    split = Split(
        protocol=(
            f"session split: sessions that begin in the test part ({part}) are evaluated at every position from the "
            f"second; {meaning}; items unknown to training removed; seen items not excluded"
        ),
        catalog=catalog,
        train=train,
        validation=known_positions(refit.take(slice(first, second)), known_to_train_V),
        refit=refit,
        test=known_positions(rows.take(slice(second, None)), known_to_refit_V),
        exclude_seen=False,
        picture=cutoffs.draw_timeline(first, second - first, len(rows) - second, times),
        fingerprint="",
    )
    return cutoffs.with_fingerprint(split, "sessions")


def fixed_split(
    log: "EventLog",
    *,
    test: "EventLog",
    validation: float = 0.1,
    unknown: str = "drop",
    gap_minutes: float = 30.0,
) -> Split:
    """Evaluate on a published test set; the log's latest sessions are the validation part.

    ::

        log     s1 s2 s3 s4 s5 s6 s7 s8 s9 | v        the latest sessions validate; refit is the whole log
        test    a b c                                 a log of sessions: a -> b, a b -> c
                a b c <tab> d                         a prefixes file: a b c -> d only

    The catalog is the log's. Seen items are not excluded.

    Args:
        log: events to train on.
        test: log of the test sessions or labeled prefixes.
        validation: share of the log's sessions, in (0, 1).
        unknown: treatment of test items that the log does not have. "drop" removes them from the test sessions, "miss"
            counts such targets as misses, as some published results do.
        gap_minutes: pause of a user that ends a session, for a log without ``session_id``. Where one lies between all
            events of the test log, each user is one session.

    Raises:
        ValueError: an option is out of range, or no session is left to train on.
    """
    cutoffs.check_choice("unknown", unknown, ("drop", "miss"))
    catalog = log.catalog()
    gap = None if _has_pauses_only(test, catalog, gap_minutes) else gap_minutes
    rows, meaning = session_sequences(log, catalog, gap)
    first, cutoff_us = _last_rows(rows, validation)
    train = _training_rows(rows, first, cutoff_us)
    test_rows, _ = session_sequences(test, catalog, gap)
    if test.is_labeled_test:
        cases = labeled_targets(test_rows, miss=unknown == "miss")
    elif unknown == "miss":
        cases = all_positions(test_rows)
    else:
        cases = known_positions(test_rows, cutoffs.known_item_mask(rows, catalog, log.items))
    positions = "the label of every row" if test.is_labeled_test else "every position from the second"
    split = Split(
        protocol=(
            f"fixed test set: evaluated at {positions}; {meaning}; targets unknown to training "
            f"{'dropped' if unknown == 'drop' else 'count as misses'}; seen items not excluded"
        ),
        catalog=catalog,
        train=train,
        validation=known_positions(rows.take(slice(first, None)), cutoffs.known_item_mask(train, catalog, log.items)),
        refit=rows,
        test=cases,
        exclude_seen=False,
        picture=cutoffs.draw_timeline(first, len(rows) - first, len(test_rows)),
        fingerprint="",
    )
    return cutoffs.with_fingerprint(split, f"fixed unknown={unknown}")


def _has_pauses_only(test: "EventLog", catalog: Catalog, gap_minutes: float) -> bool:
    """Return whether no session of a log without ``session_id`` has two events, though a user has."""
    if "session_id" in test.frame.columns or not test.has_times:
        return False
    sessions, users = (session_sequences(test, catalog, gap)[0].lengths for gap in (gap_minutes, None))
    return bool(sessions.max(initial=0) < 2 <= users.max(initial=0))


class _RowCutoffs(NamedTuple):
    """Parts of rows in the order of their begins."""

    first_validation: int
    first_test: int
    times: cutoffs.Cutoffs | None
    """Cutoff times; None for a log without times."""


def _row_cutoffs(rows: Sequences, test: float, validation: float) -> _RowCutoffs:
    if rows.times is not None:
        begins_B = rows.times[rows.starts]
        times = cutoffs.cutoff_times(begins_B, test, validation)
        first, second = np.searchsorted(begins_B, times).tolist()
        return _RowCutoffs(first, second, times)
    cutoffs.check_share("test", test)
    second = len(rows) - max(1, round(len(rows) * test))
    return _RowCutoffs(_last_rows(rows.take(slice(0, second)), validation)[0], second, None)


def _last_rows(rows: Sequences, share: float) -> tuple[int, int | None]:
    """Return the index of the first of the last rows, and the time at which it begins, for a log with times."""
    cutoffs.check_share("validation", share)
    first, cutoff_us = len(rows) - max(1, round(len(rows) * share)), None
    if rows.times is not None and first > 0:
        begins_B = rows.times[rows.starts]
        cutoff_us = int(begins_B[first])
        first = int(np.searchsorted(begins_B, cutoff_us))
    if first < 1:
        raise ValueError(
            f"{len(rows)} sessions are left to train on, and none of them begins before the last {share:.0%}, "
            "which would validate: use leave-last-out."
        )
    return first, cutoff_us


def _training_rows(rows: Sequences, count: int, cutoff_us: int | None) -> Sequences:
    """Return the first rows, without their events at or after the cutoff."""
    early = rows.take(slice(0, count))
    return early if cutoff_us is None else cutoffs.events_before(early, cutoff_us)
