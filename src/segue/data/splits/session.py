"""Session splits: whole sessions judge, at every position; the log's own latest, or a test set somebody fixed."""

from typing import TYPE_CHECKING

import numpy as np

from segue.data.evaluation_cases import Split
from segue.data.sequences import Sequences
from segue.data.splits import cutoffs
from segue.data.splits.targets import all_positions, known_positions, labeled_targets
from segue.data.splits.user_sequences import session_sequences

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def session_split(log: "EventLog", *, test: float = 0.1, validation: float = 0.1, gap_minutes: float = 30.0) -> Split:
    """The last sessions to begin judge, at every position from their second event, with their own events as history.

    ::

        s1  a  b                 |         |              cuts: the .9 quantile of the sessions' beginnings, twice
        s2     c  a  a  .  .  .  | (a)     |              a session's events after a cut do not train
        s3                       |   b  a  |              validation: b -> a
        s4                       |         |  c  x  b     test: c -> b; x was never seen before: taken out

    Without a ``session_id`` column a pause of more than ``gap_minutes`` ends a session. The catalog is what was seen
    before the test cut. Seen items stay in the race, as sessions come back to them. A log without times is cut by its
    order.
    """
    whole = log.catalog()
    everything, meaning = session_sequences(log, whole, gap_minutes)
    first, second, moments = _row_cuts(everything, test, validation)
    catalog, rows = cutoffs.restrict(
        everything, whole.ids, _trains(everything, second, moments and moments[1]), log.items
    )
    train, refit = _trains(rows, first, moments and moments[0]), _trains(rows, second, moments and moments[1])
    later = refit.take(slice(first, second))
    asked = (
        known_positions(later, cutoffs.map_to_catalog(train, catalog, log.items)),
        known_positions(rows.take(slice(second, None)), cutoffs.map_to_catalog(refit, catalog, log.items)),
    )
    where = (
        f"from {cutoffs.format_time(moments[1])}" if moments else f"the last {len(rows) - second:,} of {len(rows):,}"
    )
    sentence = (
        f"session split: sessions that begin in the test part ({where}) judge at every position from the second; "
        f"{meaning}; items unknown to training taken out; seen items not excluded"
    )
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=train,
        validation=asked[0],
        refit=refit,
        test=asked[1],
        exclude_seen=False,
        picture=cutoffs.draw_timeline(first, second - first, len(rows) - second, moments),
        fingerprint=cutoffs.split_fingerprint(catalog, sentence, (train, refit), asked),
    )


def fixed_split(
    log: "EventLog",
    *,
    test: "EventLog",
    validation: float = 0.1,
    unknown: str = "drop",
    gap_minutes: float = 30.0,
) -> Split:
    """A test set that somebody else fixed, so that published numbers can be compared.

    ::

        log     s1 s2 s3 s4 s5 s6 s7 s8 s9 | v        the latest sessions choose settings; refit is all of the log
        test    a b c                                 a log of sessions: a -> b, a b -> c
                a b c <tab> d                         a prefixes file: a b c -> d only

    ``unknown`` says what becomes of test items that the log never has: "drop" takes them out of the test, "miss"
    counts such targets as misses, as some published numbers do. The catalog is the log's; seen items stay in the
    race.
    """
    cutoffs.check_choice("unknown", unknown, ("drop", "miss"))
    catalog = log.catalog()
    rows, meaning = session_sequences(log, catalog, gap_minutes)
    first, moment = _last_rows(rows, validation)
    train = _trains(rows, first, moment)
    later = rows.take(slice(first, None))
    questions, _ = session_sequences(test, catalog, gap_minutes)
    if test.is_labeled_test:
        cases = labeled_targets(questions, miss=unknown == "miss")
    elif unknown == "miss":
        cases = all_positions(questions)
    else:
        cases = known_positions(questions, cutoffs.map_to_catalog(rows, catalog, log.items))
    asked = (known_positions(later, cutoffs.map_to_catalog(train, catalog, log.items)), cases)
    sentence = (
        f"fixed test set: {'the label of every row' if test.is_labeled_test else 'every position from the second'} "
        f"judges; {meaning}; targets unknown to training {'dropped' if unknown == 'drop' else 'count as misses'}; "
        f"seen items not excluded"
    )
    return Split(
        protocol=sentence,
        catalog=catalog,
        train=train,
        validation=asked[0],
        refit=rows,
        test=cases,
        exclude_seen=False,
        picture=cutoffs.draw_timeline(first, len(rows) - first, len(questions)),
        fingerprint=cutoffs.split_fingerprint(catalog, sentence, (train, rows), asked),
    )


def _row_cuts(rows: Sequences, test: float, validation: float) -> tuple[int, int, tuple[int, int] | None]:
    """(first validation row, first test row, the moments where there are times); rows are in order of beginning."""
    if rows.times is not None:
        begins_B = rows.times[rows.starts]
        moments = cutoffs.cutoff_times(begins_B, test, validation)
        first, second = np.searchsorted(begins_B, moments).tolist()
        return first, second, moments
    cutoffs.check_share("test", test)
    second = len(rows) - max(1, round(len(rows) * test))
    return _last_rows(rows.take(slice(0, second)), validation)[0], second, None


def _last_rows(rows: Sequences, share: float) -> tuple[int, int | None]:
    """(where the last share of rows begins, that moment where there are times)."""
    cutoffs.check_share("validation", share)
    first, moment = len(rows) - max(1, round(len(rows) * share)), None
    if rows.times is not None and first > 0:
        begins_B = rows.times[rows.starts]
        moment = int(begins_B[first])
        first = int(np.searchsorted(begins_B, moment))
    if first < 1:
        raise ValueError(
            f"{len(rows)} sessions are left to train on, and none of them begins before the last {share:.0%}, "
            "which would validate: use leave-last-out."
        )
    return first, moment


def _trains(rows: Sequences, count: int, moment: int | None) -> Sequences:
    """The first rows, without what they still did at or after the moment."""
    early = rows.take(slice(0, count))
    return early if moment is None else cutoffs.events_before(early, moment)
