"""Synthetic logs keep their rules, and equal generators make equal logs."""

import numpy as np
import polars as pl
import pytest

from segue.data.datasets.synthetic import (
    ring_sequences,
    shuffled_ring_sequences,
    switching_sequences,
    to_event_log,
    zipf_events,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table(rows) -> np.ndarray:
    return np.array(rows.to_lists())


def test_the_ring_has_no_exception_without_noise():
    items_BT = table(ring_sequences(rng(), users=20, items=7, length=15))
    assert (items_BT[:, 1:] == items_BT[:, :-1] % 7 + 1).all()
    assert set(items_BT[:, 0]) == set(range(1, 8))


def test_noise_leaves_the_ring_at_its_probability():
    items_BT = table(ring_sequences(rng(), users=500, items=10, length=40, noise=0.3))
    kept = (items_BT[:, 1:] == items_BT[:, :-1] % 10 + 1).mean()
    assert kept == pytest.approx(1 - 0.3 + 0.3 / 10, abs=0.01)
    assert np.bincount(items_BT.ravel())[1:].min() > 0.8 * items_BT.size / 10


def test_a_shuffled_ring_has_the_same_items_and_no_rule():
    options = {"users": 300, "items": 10, "length": 20}
    mixed, plain = table(shuffled_ring_sequences(rng(), **options)), table(ring_sequences(rng(), **options))
    assert (np.sort(mixed, axis=1) == np.sort(plain, axis=1)).all()
    assert (mixed[:, 1:] == mixed[:, :-1] % 10 + 1).mean() < 0.2


def test_users_switch_categories_at_the_given_probability():
    rows = switching_sequences(rng(), users=400, categories=4, items_per_category=5, length=50, switch=0.2)
    category_BT = (table(rows) - 1) // 5
    assert (category_BT[:, 1:] != category_BT[:, :-1]).mean() == pytest.approx(0.2, abs=0.01)
    assert set(category_BT.ravel()) == {0, 1, 2, 3}
    assert rows.items.max() == 20
    assert rows.items.min() == 1


def test_zipf_events_follow_the_law_and_the_clock():
    frame = pl.concat(zipf_events(rng(), events=100_000, users=50, items=100, events_per_s=10.0))
    counts = np.bincount(frame["item_id"].cast(pl.Int64), minlength=100)
    expected = 100_000 / np.arange(1, 101) / (1 / np.arange(1, 101)).sum()
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected.max())
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)
    times = frame["timestamp"].to_numpy()
    assert (np.diff(times) >= 0).all()
    assert (times[-1] - times[0]) / 1e6 == pytest.approx(10_000, rel=0.02)
    assert frame["user_id"].n_unique() == 50


def test_pieces_of_any_size_are_one_log():
    options = {"events": 1000, "users": 9, "items": 30}
    whole = pl.concat(zipf_events(rng(), **options))
    pieces = list(zipf_events(rng(), chunk=300, **options))
    assert [piece.height for piece in pieces] == [300, 300, 300, 100]
    joined = pl.concat(pieces)
    assert joined.drop("timestamp").equals(whole.drop("timestamp"))
    assert np.abs((joined["timestamp"] - whole["timestamp"]).to_numpy()).max() <= 1  # microseconds: sums are rounded


def test_a_log_of_synthetic_rows_has_the_same_rows():
    rows = ring_sequences(rng(), users=12, items=5, length=4)
    log = to_event_log(rows)
    sequences, users = log.sequences(log.catalog())
    assert sorted(zip(users, table(sequences).tolist(), strict=True)) == sorted(
        zip(map(str, range(12)), table(rows).tolist(), strict=True)
    )
    assert np.diff(sequences.times[:4]).tolist() == [60_000_000] * 3


def test_messages():
    with pytest.raises(ValueError) as caught:
        ring_sequences(rng(), users=1, items=2, length=3, noise=1.5)
    assert str(caught.value) == "noise must be a probability, 0 to 1, got 1.5."
    with pytest.raises(ValueError) as caught:
        switching_sequences(rng(), users=1, categories=2, items_per_category=2, length=3, switch=-1)
    assert str(caught.value) == "switch must be a probability, 0 to 1, got -1."
