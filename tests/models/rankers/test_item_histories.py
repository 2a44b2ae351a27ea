"""The items' own sequences: flat arrays against a slow way, and the live memory against both."""

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemHistories, log_bucket
from segue.models.rankers.live_item_histories import LiveItemHistories

V, WIDTH = 9, 3
SECOND = 1_000_000
FOREVER = np.iinfo(np.int64).max


def random_log(seed: int, people: int = 12) -> Sequences:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, people)
    times = [np.sort(rng.integers(0, 40, n)) * SECOND for n in lengths]
    return Sequences.from_lists([rng.integers(0, V - 1, n) for n in lengths], times)


def slow_side(log: Sequences, item: int, moment: int) -> tuple[list[tuple[int, int, int, int, int]], int]:
    """(the last WIDTH of (before, pause, between, place, time), how many in all)."""
    assert log.times is not None
    events = []
    for start, stop in zip(log.starts.tolist(), log.stops.tolist(), strict=True):
        for where in range(start, stop):
            if log.items[where] == item and log.times[where] < moment:
                first = where == start
                pause = -1 if first else (log.times[where] - log.times[where - 1]) / SECOND
                events.append((int(log.times[where]), 0 if first else int(log.items[where - 1]), pause, where - start))
    events.sort(key=lambda event: event[0])
    out = []
    for i, (time, before, pause, place) in enumerate(events):
        between = (time - events[i - 1][0]) / SECOND if i else -1
        out.append((before, int(log_bucket(pause)), int(log_bucket(between)), int(log_bucket(place)), time))
    return out[-WIDTH:], len(events)


def test_sides_equal_the_slow_way() -> None:
    log = random_log(0)
    items, moments = np.meshgrid(np.arange(1, V), np.array([-5, 0, 7, 20, 39, 99]) * SECOND)
    sides, which = ItemHistories.from_sequences(log, V).newest_events(items.ravel(), moments.ravel(), WIDTH)
    assert len(sides.lengths_S) < len(which)  # equal sides are there once
    for pair, (item, moment) in enumerate(zip(items.ravel().tolist(), moments.ravel().tolist(), strict=True)):
        s = which[pair]
        length = sides.lengths_S[s]
        found = [
            (int(sides.previous_items_SM[s, m]), *sides.buckets_SMK[s, m].tolist(), int(sides.times_SM[s, m]))
            for m in range(length)
        ]
        assert (found, sides.totals_S[s]) == slow_side(log, item, moment)
        assert not sides.previous_items_SM[s, length:].any()
        assert not sides.buckets_SMK[s, length:].any()


def test_the_future_and_the_moment_itself_change_nothing() -> None:
    log, moment = random_log(1), 20 * SECOND
    assert log.times is not None
    items = np.array(log.items)
    late = log.times >= moment
    assert 0 < late.sum() < len(late)
    items[late] = (items[late] + 3) % (V - 1)
    other = Sequences(items, log.times, log.starts, log.stops)
    asked, moments = np.arange(1, V), np.full(V - 1, moment)
    first, first_which = ItemHistories.from_sequences(log, V).newest_events(asked, moments, WIDTH)
    second, second_which = ItemHistories.from_sequences(other, V).newest_events(asked, moments, WIDTH)
    for name in ("previous_items_SM", "buckets_SMK", "times_SM", "lengths_S", "totals_S"):
        np.testing.assert_array_equal(getattr(first, name)[first_which], getattr(second, name)[second_which])


def test_nothing_has_happened_in_an_empty_log() -> None:
    sides, which = ItemHistories.from_sequences(Sequences.from_lists([[], [0]], [[], [5]]), V).newest_events(
        np.array([1, 2]), np.array([9, 9]), WIDTH
    )
    assert sides.lengths_S[which].tolist() == [0, 0]
    assert sides.totals_S[which].tolist() == [0, 0]


def test_a_log_without_times_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        ItemHistories.from_sequences(Sequences.from_lists([[1, 2]]), V)
    assert str(error.value) == (
        "This log has an order but no times, so the history of an item at a given time is unknown: "
        "a ranker needs a log with times."
    )


@pytest.mark.parametrize("seed", range(5))
def test_memory_kept_up_live_equals_the_whole_log(seed: int) -> None:
    """Events arrive in random order of people; within a person in order. Distinct times, as ties have no live order."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, 10)
    moments = rng.permutation(1000)[: lengths.sum()] * SECOND
    parts = np.split(moments, np.cumsum(lengths)[:-1])
    log = Sequences.from_lists([rng.integers(1, V, n) for n in lengths], [np.sort(part) for part in parts])
    assert log.times is not None
    memory = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log.take([0, 1, 2]), V), WIDTH)
    left = {b: 0 for b in range(3, len(log))}
    while left:
        b = int(rng.choice(list(left)))
        where = int(log.starts[b]) + left[b]
        memory.observe(log.take([b]).prefixes([left[b]]), int(log.items[where]), int(log.times[where]))
        left[b] += 1
        if left[b] == lengths[b]:
            del left[b]
    whole = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log, V), WIDTH)
    known = memory.arrays() | {"memory.marks": memory.buckets_VMK.copy()}
    # An event too late to be kept is not known to the pause of the one after it.
    known["memory.marks"][:, 0, 1] = whole.buckets_VMK[:, 0, 1]
    assert (memory.buckets_VMK == whole.buckets_VMK).mean() > 0.9
    for name, wanted in whole.arrays().items():
        np.testing.assert_array_equal(known[name], wanted, err_msg=name)
    now = int(np.median(moments))
    live, (then, which) = (
        whole.newest_events(np.arange(1, V), now),
        ItemHistories.from_sequences(log, V).newest_events(np.arange(1, V), np.full(V - 1, now), WIDTH),
    )
    full = whole.times_VM[1:, 0] < now  # else earlier ones have fallen out of the memory
    np.testing.assert_array_equal(live.totals_S[full], then.totals_S[which][full])
    for item in np.flatnonzero(full):
        kept = live.lengths_S[item]
        newest = then.times_SM[which[item]][: then.lengths_S[which[item]]][-kept:] if kept else []
        np.testing.assert_array_equal(live.times_SM[item, :kept], newest)


def test_an_event_older_than_what_is_kept_counts_only() -> None:
    empty = Sequences.from_lists([[]], [[]])
    memory = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(Sequences.from_lists([[1, 1]], [[20, 30]]), V), 2)
    assert not memory.observe(empty, 1, 10)
    assert memory.totals_V[1] == 3
    assert memory.times_VM[1].tolist() == [20, 30]
    again = LiveItemHistories.restore(memory.arrays())
    assert again.observe(empty, 1, 25)
    assert again.times_VM[1].tolist() == [25, 30]
    assert memory.times_VM[1].tolist() == [20, 30]


def test_an_item_outside_the_catalog_is_refused() -> None:
    memory = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(Sequences.from_lists([[1]], [[2]]), V), 2)
    with pytest.raises(ValueError) as error:
        memory.observe(Sequences.from_lists([[]], [[]]), V, 3)
    assert str(error.value) == "Item 9 is not in the catalog of 8 items."
