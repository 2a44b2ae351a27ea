"""What nets are asked: windows, and which events of them are hidden."""

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.training.tasks import Batch, MaskedItemTask

ROWS = [list(range(1, 1 + n)) for n in (2, 3, 9, 9, 9, 5)] * 200
WINDOWS = Sequences.from_lists(ROWS)


def masked(share: float, last_share: float = 0.0, seed: int = 0) -> tuple[np.ndarray, Batch]:
    batch = MaskedItemTask(8, share, last_share).batch(WINDOWS, np.random.default_rng(seed))
    return WINDOWS.padded(align="left"), batch


def test_an_event_is_either_given_or_asked_for() -> None:
    events_BT, batch = masked(0.3)
    assert ((batch.inputs_BT != PAD) != (batch.targets_BT != PAD))[events_BT != PAD].all()
    np.testing.assert_array_equal(batch.inputs_BT + batch.targets_BT, events_BT)
    assert batch.num_events == sum(map(len, ROWS)) == int(MaskedItemTask(8, 0.3, 0.0).widths(WINDOWS).sum())
    assert batch.inputs_BT.dtype == batch.targets_BT.dtype == np.int32


def test_every_window_is_asked_something_and_the_share_is_kept() -> None:
    events_BT, batch = masked(0.3)
    hidden_BT = batch.targets_BT != PAD
    assert hidden_BT.any(axis=1).all()
    long_B = (events_BT != PAD).sum(axis=1) == 9
    assert hidden_BT[long_B][:, :8].mean() == pytest.approx(0.3, abs=0.02)
    assert hidden_BT[long_B][:, 8].mean() == pytest.approx(0.3 + 0.7**9, abs=0.04)  # the newest where none was drawn


def test_in_a_share_of_the_windows_the_newest_alone_is_hidden() -> None:
    events_BT, batch = masked(0.6, 0.5)
    last_B = (events_BT != PAD).sum(axis=1) - 1
    hidden_BT = batch.targets_BT != PAD
    only_last_B = (hidden_BT.sum(axis=1) == 1) & hidden_BT[np.arange(len(last_B)), last_B]
    assert only_last_B[last_B == 8].mean() == pytest.approx(0.5 + 0.5 * 0.4**8, abs=0.05)
    assert (masked(0.6, 1.0)[1].targets_BT != PAD).sum() == len(ROWS)


def test_what_is_hidden_follows_from_the_generator() -> None:
    one, two, other = masked(0.3)[1], masked(0.3)[1], masked(0.3, seed=1)[1]
    np.testing.assert_array_equal(one.targets_BT, two.targets_BT)
    assert (one.targets_BT != other.targets_BT).any()
