"""Batches: every target once, hardly any padding, repeatable, and the same whether prepared ahead or not."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.sequences import Sequences
from segue.training.batching.bucketed import BucketedBatches
from segue.training.tasks import NextItemTask

rows = st.lists(st.lists(st.integers(1, 30), max_size=25), min_size=1, max_size=12)


def pairs(inputs: np.ndarray, targets: np.ndarray) -> list[tuple[int, int]]:
    return [(int(i), int(t)) for i, t in zip(inputs.ravel(), targets.ravel(), strict=True) if t]


@given(rows, st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_every_event_but_the_first_is_a_target_once(lists: list[list[int]], length: int) -> None:
    wanted = sorted(pair for row in lists for pair in itertools.pairwise(row))
    sequences = Sequences.from_lists(lists)
    if not wanted:
        with pytest.raises(ValueError, match="There is nothing to train on"):
            BucketedBatches(sequences, NextItemTask(length), 16, 0)
        return
    batches = BucketedBatches(sequences, NextItemTask(length), 16, 0)
    found = [pair for batch in batches.epoch(0) for pair in pairs(batch.inputs_BT, batch.targets_BT)]
    assert sorted(found) == wanted
    assert batches.num_events == len(wanted)


def test_windows_share_one_event_and_the_remainder_is_oldest() -> None:
    assert NextItemTask(2).windows(Sequences.from_lists([[1, 2, 3, 4, 5, 6]])).to_lists() == [
        [1, 2],
        [2, 3, 4],
        [4, 5, 6],
    ]


def test_padding_lies_behind_and_is_rare() -> None:
    rng = np.random.default_rng(0)
    lists = [rng.integers(1, 99, rng.integers(2, 40)).tolist() for _ in range(500)]
    batches = BucketedBatches(Sequences.from_lists(lists), NextItemTask(50), 512, 0)
    cells = 0
    for batch in batches.epoch(0):
        filled = batch.targets_BT != 0
        assert (np.diff(filled.astype(int), axis=1) <= 0).all()
        assert ((batch.inputs_BT != 0) == filled).all()
        assert batch.targets_BT.size <= 512
        cells += batch.targets_BT.size
    assert cells / batches.num_events < 1.1


def test_order_is_fixed_by_seed_and_epoch_and_can_be_entered_midway() -> None:
    sequences = Sequences.from_lists([list(range(1, n + 2)) for n in range(1, 40)])
    batches = BucketedBatches(sequences, NextItemTask(10), 32, seed=7)
    whole = [batch.inputs_BT.tolist() for batch in batches.epoch(3)]
    assert [
        batch.inputs_BT.tolist() for batch in BucketedBatches(sequences, NextItemTask(10), 32, seed=7).epoch(3, skip=4)
    ] == whole[4:]
    assert [batch.inputs_BT.tolist() for batch in batches.epoch(4)] != whole
    assert [
        batch.inputs_BT.tolist() for batch in BucketedBatches(sequences, NextItemTask(10), 32, seed=8).epoch(3)
    ] != whole


def test_an_abandoned_epoch_leaves_no_thread_waiting() -> None:
    import threading

    sequences = Sequences.from_lists([list(range(1, 30))] * 50)
    epoch = BucketedBatches(sequences, NextItemTask(5), 16, 0).epoch(0)
    next(epoch)
    epoch.close()
    for thread in threading.enumerate():
        if thread.name == "batches":
            thread.join(timeout=5)
            assert not thread.is_alive()
