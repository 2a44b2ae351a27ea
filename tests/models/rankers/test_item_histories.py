"""Item histories against a plain implementation, and live item histories against both."""

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemHistories, log_bucket
from segue.models.rankers.live_item_histories import LiveItemHistories

V, WIDTH = 9, 3
SECOND = 1_000_000
FOREVER = np.iinfo(np.int64).max


def random_log(seed: int, users: int = 12) -> Sequences:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, users)
    times = [np.sort(rng.integers(0, 40, n)) * SECOND for n in lengths]
    return Sequences.from_lists([rng.integers(0, V - 1, n) for n in lengths], times)


def plain_item_history(log: Sequences, item: int, time_us: int) -> tuple[list[tuple[int, int, int, int, int]], int]:
    """Return (the last WIDTH of (previous item, gap, time since, position, time), number of all)."""
    assert log.times is not None
    events = []
    for start, stop in zip(log.starts.tolist(), log.stops.tolist(), strict=True):
        for position in range(start, stop):
            if log.items[position] == item and log.times[position] < time_us:
                first = position == start
                gap = -1 if first else (log.times[position] - log.times[position - 1]) / SECOND
                events.append(
                    (int(log.times[position]), 0 if first else int(log.items[position - 1]), gap, position - start)
                )
    events.sort(key=lambda event: event[0])
    out = []
    for i, (time, previous_item, gap, num_earlier) in enumerate(events):
        since = (time - events[i - 1][0]) / SECOND if i else -1
        out.append((previous_item, int(log_bucket(gap)), int(log_bucket(since)), int(log_bucket(num_earlier)), time))
    return out[-WIDTH:], len(events)


def test_item_histories_equal_the_plain_implementation() -> None:
    log = random_log(0)
    items, times_us = np.meshgrid(np.arange(1, V), np.array([-5, 0, 7, 20, 39, 99]) * SECOND)
    item_events, row_P = ItemHistories.from_sequences(log, V).newest_events(items.ravel(), times_us.ravel(), WIDTH)
    assert len(item_events.lengths_S) < len(row_P)  # equal item histories occur once
    for pair, (item, time_us) in enumerate(zip(items.ravel().tolist(), times_us.ravel().tolist(), strict=True)):
        s = row_P[pair]
        length = item_events.lengths_S[s]
        events = [
            (
                int(item_events.previous_items_SM[s, m]),
                *item_events.buckets_SMK[s, m].tolist(),
                int(item_events.times_SM[s, m]),
            )
            for m in range(length)
        ]
        assert (events, item_events.totals_S[s]) == plain_item_history(log, item, time_us)
        assert not item_events.previous_items_SM[s, length:].any()
        assert not item_events.buckets_SMK[s, length:].any()


def test_events_at_or_after_the_query_time_change_nothing() -> None:
    log, time_us = random_log(1), 20 * SECOND
    assert log.times is not None
    items = np.array(log.items)
    late = log.times >= time_us
    assert 0 < late.sum() < len(late)
    items[late] = (items[late] + 3) % (V - 1)
    other = Sequences(items, log.times, log.starts, log.stops)
    items_P, times_us = np.arange(1, V), np.full(V - 1, time_us)
    first, first_row_P = ItemHistories.from_sequences(log, V).newest_events(items_P, times_us, WIDTH)
    second, second_row_P = ItemHistories.from_sequences(other, V).newest_events(items_P, times_us, WIDTH)
    for name in ("previous_items_SM", "buckets_SMK", "times_SM", "lengths_S", "totals_S"):
        np.testing.assert_array_equal(getattr(first, name)[first_row_P], getattr(second, name)[second_row_P])


def test_an_empty_log_has_empty_item_histories() -> None:
    item_events, row_P = ItemHistories.from_sequences(Sequences.from_lists([[], [0]], [[], [5]]), V).newest_events(
        np.array([1, 2]), np.array([9, 9]), WIDTH
    )
    assert item_events.lengths_S[row_P].tolist() == [0, 0]
    assert item_events.totals_S[row_P].tolist() == [0, 0]


def test_a_log_without_times_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        ItemHistories.from_sequences(Sequences.from_lists([[1, 2]]), V)
    assert str(error.value) == (
        "This log has an order but no times, so the history of an item at a given time is unknown: "
        "a ranker needs a log with times."
    )


@pytest.mark.parametrize("seed", range(5))
def test_live_item_histories_equal_those_of_the_whole_log(seed: int) -> None:
    """Users in random order, the events of a user in order. Distinct times, because ties have no live order."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, 10)
    times_us = rng.permutation(1000)[: lengths.sum()] * SECOND
    parts = np.split(times_us, np.cumsum(lengths)[:-1])
    log = Sequences.from_lists([rng.integers(1, V, n) for n in lengths], [np.sort(part) for part in parts])
    assert log.times is not None
    live = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log.take([0, 1, 2]), V), WIDTH)
    left = {b: 0 for b in range(3, len(log))}
    while left:
        b = int(rng.choice(list(left)))
        position = int(log.starts[b]) + left[b]
        live.observe(log.take([b]).prefixes([left[b]]), int(log.items[position]), int(log.times[position]))
        left[b] += 1
        if left[b] == lengths[b]:
            del left[b]
    whole = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log, V), WIDTH)
    known = live.arrays() | {"item_histories.buckets": live.buckets_VMK.copy()}
    # An event too late to be kept has no effect on the gap of the next one.
    known["item_histories.buckets"][:, 0, 1] = whole.buckets_VMK[:, 0, 1]
    assert (live.buckets_VMK == whole.buckets_VMK).mean() > 0.9
    for name, expected in whole.arrays().items():
        np.testing.assert_array_equal(known[name], expected, err_msg=name)
    now = int(np.median(times_us))
    live_events, (log_events, row_P) = (
        whole.newest_events(np.arange(1, V), now),
        ItemHistories.from_sequences(log, V).newest_events(np.arange(1, V), np.full(V - 1, now), WIDTH),
    )
    full = whole.times_VM[1:, 0] < now  # else earlier ones are no longer kept
    np.testing.assert_array_equal(live_events.totals_S[full], log_events.totals_S[row_P][full])
    for item in np.flatnonzero(full):
        kept = live_events.lengths_S[item]
        newest = log_events.times_SM[row_P[item]][: log_events.lengths_S[row_P[item]]][-kept:] if kept else []
        np.testing.assert_array_equal(live_events.times_SM[item, :kept], newest)


def test_an_event_older_than_the_kept_ones_is_only_counted() -> None:
    empty = Sequences.from_lists([[]], [[]])
    live = LiveItemHistories.from_item_histories(
        ItemHistories.from_sequences(Sequences.from_lists([[1, 1]], [[20, 30]]), V), 2
    )
    assert not live.observe(empty, 1, 10)
    assert live.totals_V[1] == 3
    assert live.times_VM[1].tolist() == [20, 30]
    restored = LiveItemHistories.restore(live.arrays())
    assert restored.observe(empty, 1, 25)
    assert restored.times_VM[1].tolist() == [25, 30]
    assert live.times_VM[1].tolist() == [20, 30]


def test_an_item_outside_the_catalog_is_refused() -> None:
    live = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(Sequences.from_lists([[1]], [[2]]), V), 2)
    with pytest.raises(ValueError) as error:
        live.observe(Sequences.from_lists([[]], [[]]), V, 3)
    assert str(error.value) == "Item 9 is not in the catalog of 8 items."
