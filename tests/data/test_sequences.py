"""Sequences against plain lists: every view, copy and padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data.catalog import PAD
from segue.data.sequences import NO_TIME, Sequences

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


def build(rows):
    """Return sequences with distinct times."""
    stamps = iter(range(1_000))
    return Sequences.from_lists(rows, [[next(stamps) for _ in row] for row in rows])


def test_the_documented_example():
    log = Sequences.from_lists([[5, 6, 7], [8]])
    assert log.prefixes([2, 1]).to_lists() == [[5, 6], [8]]
    assert log.tail(2).padded(3).tolist() == [[PAD, 6, 7], [PAD, PAD, 8]]


def test_types_are_fixed():
    log = build([[1, 2], []])
    assert (log.items.dtype, log.times.dtype) == (np.int32, np.int64)
    assert (log.starts.dtype, log.stops.dtype) == (np.int64, np.int64)
    empty = Sequences.from_lists([])
    assert (len(empty), empty.num_events, empty.items.dtype, empty.times) == (0, 0, np.int32, None)


@given(ROWS)
def test_rows_come_back(rows):
    log = build(rows)
    assert log.to_lists() == rows
    assert [row.tolist() for row in log] == rows
    assert len(log) == len(rows)
    assert log.lengths.tolist() == [len(row) for row in rows]
    assert log.num_events == sum(map(len, rows))


@given(ROWS, st.integers(0, 7))
def test_tail_is_the_newest(rows, length):
    assert build(rows).tail(length).to_lists() == [row[-length:] if length else [] for row in rows]


@given(ROWS, st.data())
def test_prefixes_are_the_oldest(rows, data):
    lengths = [data.draw(st.integers(-8, 8)) for _ in rows]
    assert build(rows).prefixes(lengths).to_lists() == [row[:n] for row, n in zip(rows, lengths, strict=True)]


@given(ROWS, st.data())
def test_take_by_index_and_by_mask(rows, data):
    log = build(rows)
    mask = np.array([data.draw(st.booleans()) for _ in rows], dtype=bool)
    expected = [row for row, keep in zip(rows, mask, strict=True) if keep]
    assert log.take(mask).to_lists() == expected
    assert log.take(np.flatnonzero(mask)).to_lists() == expected
    assert log.take(slice(1, None)).to_lists() == rows[1:]


@given(ROWS, st.integers(1, 7))
def test_padded_is_right_aligned(rows, length):
    padded = build(rows).padded(length)
    expected = [([PAD] * length + row)[-length:] for row in rows]
    assert padded.tolist() == expected
    assert padded.dtype == np.int32
    assert padded.shape == (len(rows), length)


@given(ROWS, st.one_of(st.none(), st.integers(0, 7)), st.sampled_from(["left", "right"]))
def test_padded_holds_the_newest_events_on_either_side(rows, max_length, align):
    log = build(rows)
    width = max(map(len, rows), default=0) if max_length is None else max_length
    times = [log.times[start:stop].tolist() for start, stop in zip(log.starts, log.stops, strict=True)]
    for values, lists, fill in ((None, rows, PAD), (log.times, times, NO_TIME)):
        newest = [row[len(row) - min(width, len(row)) :] for row in lists]
        filler = [[fill] * (width - len(row)) for row in newest]
        expected = [
            row + padding if align == "left" else padding + row for row, padding in zip(newest, filler, strict=True)
        ]
        padded = log.padded(max_length, align=align, values=values, fill=fill)
        assert padded.tolist() == expected
        assert padded.dtype == (np.int32 if values is None else np.int64)
        assert padded.shape == (len(rows), width)


def test_a_checked_log_is_not_searched_for_unknown_items_again():
    """The mark was set under another name than the one that was read."""
    log = build([[1, 2], [3]])
    assert not log.has_no_unknown
    log.drop_unknown()
    assert log.has_no_unknown
    for view in (log.tail(1), log.prefixes([1, 0]), log.take(np.array([1])), log.as_of(np.array([5, 6]))):
        assert view.has_no_unknown
    unknown = build([[1, PAD], [2]])
    assert unknown.drop_unknown().has_no_unknown
    assert not unknown.has_no_unknown


@given(ROWS, st.integers(0, 5))
def test_positions_and_flat_agree_with_the_rows(rows, length):
    log = build(rows)
    view = log.tail(length)  # has gaps
    row, position = view.positions()
    assert list(zip(row.tolist(), log.items[position].tolist(), strict=True)) == [
        (b, item) for b, items in enumerate(view.to_lists()) for item in items
    ]
    flat = view.to_contiguous()
    assert flat.to_lists() == view.to_lists()
    assert flat.times.tolist() == log.times[position].tolist()
    assert flat.items.tolist() == [item for items in view.to_lists() for item in items]


def test_overlapping_rows_become_separate_ones():
    log = build([[1, 2, 3]])
    prefixes = Sequences(log.items, log.times, np.zeros(3, np.int64), np.arange(1, 4))
    assert prefixes.to_lists() == [[1], [1, 2], [1, 2, 3]]
    assert prefixes.num_events == 6
    assert prefixes.to_contiguous().items.tolist() == [1, 1, 2, 1, 2, 3]
    assert prefixes.to_contiguous().times.tolist() == [0, 0, 1, 0, 1, 2]


@given(ROWS, st.integers(0, 7))
def test_known_drops_pad_and_keeps_the_times_beside_their_items(rows, length):
    view = build(rows).tail(length)
    known = view.drop_unknown()
    assert known.to_lists() == [[item for item in row if item != PAD] for row in view.to_lists()]
    _, position = view.positions()
    pairs = zip(view.items[position].tolist(), view.times[position].tolist(), strict=True)
    _, kept = known.positions()
    assert known.times[kept].tolist() == [time for item, time in pairs if item != PAD]


def test_views_share_memory():
    log = build([[1, 2], [3]])
    assert log.drop_unknown() is log
    assert np.shares_memory(log.tail(1).items, log.items)
    assert np.shares_memory(log.prefixes([1, 0]).items, log.items)
    assert np.shares_memory(log.take(np.array([1])).items, log.items)


def test_read_only_arrays_are_enough():
    log = build([[1, PAD, 2], [], [3]])
    for array in (log.items, log.times, log.starts, log.stops):
        array.flags.writeable = False
    assert log.drop_unknown().to_lists() == [[1, 2], [], [3]]
    assert log.to_contiguous().tail(1).padded(2).tolist() == [[PAD, 2], [PAD, PAD], [PAD, 3]]


@pytest.mark.parametrize("rows", [[[1, 2, 3], [], [4]], [[]], []])
@pytest.mark.parametrize("timed", [True, False])
def test_saved_sequences_are_memory_mapped(tmp_path, rows, timed):
    log = build(rows) if timed else Sequences.from_lists(rows)
    log.tail(2).save(tmp_path / "log")
    opened = Sequences.open(tmp_path / "log")
    assert opened.to_lists() == log.tail(2).to_lists()
    assert (opened.times is None) == (not timed)
    if timed:
        assert opened.times.tolist() == log.tail(2).to_contiguous().times.tolist()
    assert isinstance(opened.items, np.memmap)
    assert not opened.items.flags.writeable


def test_saving_a_log_without_times_forgets_the_times_of_an_earlier_one(tmp_path):
    """The old times file used to stay and was opened with the new items."""
    build([[1, 2], [3]]).save(tmp_path)
    Sequences.from_lists([[4, 5, 6, 7]]).save(tmp_path)
    assert Sequences.open(tmp_path).times is None


def test_each_item_needs_its_time():
    """Equal totals with other rows used to pass."""
    with pytest.raises(ValueError) as error:
        Sequences.from_lists([[1, 2], [3]], [[10], [11, 12]])
    assert str(error.value) == "Each row needs as many times as items, but the rows have [2, 1] items and [1, 2] times."


def test_lists_may_be_generators():
    log = Sequences.from_lists((iter(row) for row in [[1, 2], [3]]), (iter(row) for row in [[7, 8], [9]]))
    assert (log.to_lists(), log.times.tolist()) == ([[1, 2], [3]], [7, 8, 9])


def test_query_times_follow_their_rows() -> None:
    log = Sequences.from_lists([[1, PAD, 2], [3], []], [[1, 2, 3], [4], []]).as_of(np.array([10, 20, 30]))
    for same in (log.tail(1), log.prefixes([1, 1, 0]), log.to_contiguous(), log.drop_unknown(), log.take(slice(0, 3))):
        assert same.query_times is not None
        assert same.query_times.tolist() == [10, 20, 30]
    some = log.take(np.array([2, 0])).query_times
    assert some is not None
    assert some.tolist() == [30, 10]
    assert log.as_of(None).query_times is None
    assert log.drop_unknown().to_lists() == [[1, 2], [3], []]


def test_every_row_needs_a_query_time() -> None:
    with pytest.raises(ValueError) as refused:
        Sequences.from_lists([[1], [2]]).as_of(np.array([5]))
    assert str(refused.value) == "Each row needs one query time, but 2 rows got 1 times."
