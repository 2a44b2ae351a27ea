"""Session-parallel batches against naive ones: sessions walked one event at a time, states kept in a plain dict."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.training.batching.session_parallel import SessionParallelBatches, session_parallel_order
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.progress import Progress
from segue.training.tasks import NextItemTask
from segue.training.trainer import Trainer

V = 13
PLAIN: dict[str, Any] = {"temperature": None, "spectral_init": False, "dropout_hidden": 0.0}
EXACT: dict[str, Any] = {"loss": "full", "schedule": "constant", "max_grad_norm": None, "precision": "float32"}
logs = st.lists(st.lists(st.integers(1, V - 1), max_size=9), min_size=1, max_size=12)


def log(seed: int = 0, count: int = 23) -> Sequences:
    rng = np.random.default_rng(seed)
    rows = [rng.integers(1, V, rng.integers(1, 9)).tolist() for _ in range(count)]
    times = [[int(start) + i for i in range(len(row))] for start, row in zip(rng.permutation(count), rows, strict=True)]
    return Sequences.from_lists(rows, times)


def parallel_batches(rows: Sequences, slots: int, **values: Any) -> SessionParallelBatches:
    return SessionParallelBatches(rows, NextItemTask(50), TrainingConfig(parallel_sessions=slots, **values), seed=3)


def walked(sessions: list[list[int]], slots: int) -> list[list[tuple[int, int, int]]]:
    """Step by step, [(slot, session, place)] of every slot that has one: slots are walked in turn, event by event."""
    waiting = list(range(len(sessions)))
    held: list[tuple[int, int] | None] = [None] * slots
    steps = []
    while True:
        for slot in range(slots):
            if held[slot] is None and waiting:
                held[slot] = (waiting.pop(0), 0)
        here = [(slot, *at) for slot, at in enumerate(held) if at is not None]
        if not here:
            return steps
        steps.append(here)
        for slot, session, place in here:
            held[slot] = (session, place + 1) if place + 2 < len(sessions[session]) else None


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_sessions_begin_where_a_walk_would_begin_them(lengths: list[int], slots: int) -> None:
    slot_K, step_K = session_parallel_order(np.array(lengths, dtype=np.int64), slots)
    steps = walked([[0] * (n + 1) for n in lengths], slots)
    wanted = {k: (slot, s) for s, here in enumerate(steps) for slot, k, place in here if place == 0}
    assert {k: (int(slot_K[k]), int(step_K[k])) for k in range(len(lengths))} == wanted


@given(logs, st.integers(1, 5), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_every_event_but_the_first_is_a_target_once(lists: list[list[int]], slots: int, bptt: int) -> None:
    rows = Sequences.from_lists(lists)
    wanted = sorted(pair for row in lists for pair in itertools.pairwise(row))
    if not wanted:
        with pytest.raises(ValueError, match=r"^There is nothing to train on: no user or session has two events\.$"):
            parallel_batches(rows, slots)
        return
    batches = parallel_batches(rows, slots, bptt_steps=bptt)
    for epoch in (0, 1):
        made = list(batches.epoch(epoch))
        found = [
            (int(i), int(t))
            for batch in made
            for i, t in zip(batch.inputs_BT.ravel(), batch.targets_BT.ravel(), strict=True)
            if t
        ]
        assert sorted(found) == wanted
        assert all(0 < batch.num_targets <= slots * bptt for batch in made)
        assert batches.steps(epoch + 1) - batches.steps(epoch) == len(made)
    assert batches.num_events == len(wanted)


@pytest.mark.parametrize("bptt", [1, 3])
@pytest.mark.parametrize("order", ["shuffled", "time"])
def test_an_epoch_can_be_entered_midway(order: str, bptt: int) -> None:
    batches = parallel_batches(log(), 4, bptt_steps=bptt, session_order=order)
    whole = list(batches.epoch(1))
    for skip in range(len(whole) + 1):
        rest = list(batches.epoch(1, skip))
        assert len(rest) == len(whole) - skip
        for one, two in zip(rest, whole[skip:], strict=True):
            assert one.carry is not None and two.carry is not None
            for a, b in (
                (one.inputs_BT, two.inputs_BT),
                (one.targets_BT, two.targets_BT),
                (one.carry.from_B, two.carry.from_B),
                (one.carry.to_B, two.carry.to_B),
            ):
                np.testing.assert_array_equal(a, b)


def test_in_time_order_the_session_that_began_first_is_taken_first() -> None:
    rows = Sequences.from_lists([[1, 2], [3, 4], [5], [6, 7]], [[30, 31], [10, 90], [0], [20, 21]])
    batches = parallel_batches(rows, 1, session_order="time")
    assert [batch.inputs_BT.tolist() for batch in batches.epoch(0)] == [[[3]], [[6]], [[1]]]
    assert [batch.inputs_BT.tolist() for batch in batches.epoch(1)] == [[[3]], [[6]], [[1]]]
    timeless = Sequences.from_lists([[1, 2], [3, 4]])
    found = parallel_batches(timeless, 1, session_order="time").epoch(0)
    assert [batch.inputs_BT.tolist() for batch in found] == [[[1]], [[3]]]


def test_shuffled_sessions_come_in_another_order_every_epoch() -> None:
    batches = parallel_batches(log(), 2)
    orders = [[batch.inputs_BT.tolist() for batch in batches.epoch(epoch)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def trainer(config: GRU4RecConfig, rows: Sequences, **values: Any) -> Trainer:
    return Trainer(build_net(config, rows, V, 0), rows, TrainingConfig(**{"epochs": 2, **EXACT, **values}), 0)


class Plain(nn.Module):
    """The same net out of torch's own parts, stepped one event of one session at a time."""

    def __init__(self, own: Trainer, cell: str) -> None:
        super().__init__()
        dim = own.net.dim
        make = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "rnn": nn.RNNCell}[cell]
        self.cells = nn.ModuleList(make(dim, dim) for _ in own.net.encoder.layers)
        for theirs, ours in zip(self.cells, own.net.encoder.layers, strict=True):
            names = {"input": "weight_ih", "state": "weight_hh", "input_bias": "bias_ih", "state_bias": "bias_hh"}
            for name, copy in names.items():
                getattr(theirs, copy).data.copy_(getattr(ours, name).data)
        self.table = nn.Parameter(own.net.table_VD.clone())

    def step(self, item: int, state: list[Any] | None) -> tuple[torch.Tensor, list[Any]]:
        """(the top state after one event, what to go on from); None: nothing has happened in this session yet."""
        below, after = self.table[item, :-1][None], []
        for i, cell in enumerate(self.cells):
            after.append(cell(below, None if state is None else state[i]))
            below = after[-1][0] if isinstance(after[-1], tuple) else after[-1]
        return below[0], after


def cut(state: Any) -> Any:
    """The same numbers without their history."""
    return [tuple(x.detach() for x in part) if isinstance(part, tuple) else part.detach() for part in state]


@pytest.mark.parametrize(
    ("cell", "layers", "slots", "bptt"),
    [("gru", 1, 4, 1), ("gru", 2, 3, 1), ("gru", 1, 4, 3), ("lstm", 2, 4, 2), ("rnn", 1, 5, 1), ("gru", 1, 99, 2)],
)
def test_session_parallel_training_equals_sessions_walked_one_by_one(
    cell: Any, layers: int, slots: int, bptt: int
) -> None:
    """The whole training: weights after every epoch, from torch's own cells, softmax and Adam. The state of a session
    lives in a dict under the session's own name, so that no other session can reach it."""
    rows = log()
    config = GRU4RecConfig(embedding_dim=6, num_layers=layers, cell=cell, **PLAIN)
    own = trainer(config, rows, parallel_sessions=slots, bptt_steps=bptt, session_order="time", learning_rate=0.01)
    plain = Plain(own, cell)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01, betas=(0.9, 0.99))
    order = np.argsort([row[0] for row in _times(rows)], kind="stable")
    sessions = [rows.to_lists()[k] for k in order if rows.lengths[k] > 1]
    steps = walked(sessions, slots)
    for _ in range(2):
        states: dict[int, Any] = {}
        for first in range(0, len(steps), bptt):
            losses = []
            for _, session, place in itertools.chain(*steps[first : first + bptt]):
                top, states[session] = plain.step(sessions[session][place], states.get(session))
                scores = (plain.table[:, :-1] @ top + plain.table[:, -1])[1:]
                losses.append(F.cross_entropy(scores, torch.tensor(sessions[session][place + 1] - 1)))
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
            states = {session: cut(state) for session, state in states.items()}
    own.run()
    torch.testing.assert_close(own.net.table_VD[1:], plain.table.detach()[1:], rtol=1e-4, atol=2e-6)
    for ours, theirs in zip(own.net.encoder.layers, plain.cells, strict=True):
        torch.testing.assert_close(ours.state, theirs.weight_hh, rtol=1e-4, atol=2e-6)
        torch.testing.assert_close(ours.input_bias, theirs.bias_ih, rtol=1e-4, atol=2e-6)


def _times(rows: Sequences) -> list[list[int]]:
    assert rows.times is not None
    return [rows.times[a:b].tolist() for a, b in zip(rows.starts, rows.stops, strict=True)]


def test_slots_as_long_as_the_sessions_equal_training_on_whole_rows() -> None:
    """All sessions side by side and no cut inside: one batch of whole rows."""
    rows = log()
    config = GRU4RecConfig(embedding_dim=6, **PLAIN)
    ends = []
    for how in ({"parallel_sessions": 99, "bptt_steps": 20}, {"batch_tokens": 10_000}):
        own = trainer(config, rows, epochs=3, **how)
        own.run()
        ends.append(own.net.table_VD.clone())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-6)


def test_progress_counts_to_the_end_whatever_the_order() -> None:
    told: list[Progress] = []
    trainer(GRU4RecConfig(embedding_dim=4, **PLAIN), log(), parallel_sessions=5, epochs=4).run(None, told.append)
    assert [p.step for p in told] == list(range(1, told[-1].steps + 1))
    assert told[-1].left_s == pytest.approx(0.0)


def test_a_net_without_a_state_is_refused() -> None:
    with pytest.raises(ValueError) as refused:
        Trainer(
            build_net(SASRecConfig(embedding_dim=8, max_length=8), log(), V, 0),
            log(),
            TrainingConfig(parallel_sessions=4),
            0,
        )
    wanted = (
        "parallel_sessions is for gru4rec, whose state is carried from event to event: leave it out for this model."
    )
    assert str(refused.value) == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parallel_sessions": -1}, "parallel_sessions must be at least 0, got -1."),
        ({"parallel_sessions": 4, "bptt_steps": 0}, "bptt_steps must be at least 1, got 0."),
        (
            {"bptt_steps": 3},
            "bptt_steps is for session-parallel batches: set parallel_sessions too, or leave bptt_steps out (3).",
        ),
        (
            {"session_order": "time"},
            "session_order is for session-parallel batches: set parallel_sessions too, or leave session_order out "
            "(time).",
        ),
    ],
)
def test_impossible_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        TrainingConfig(**values)
    assert str(refused.value) == message
