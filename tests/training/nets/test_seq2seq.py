"""The Seq2Seq net: cuts, twins, what each step may see, scheduled sampling; each fast way against a slow one."""

import numpy as np
import pytest
import torch

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.decoder_state import initial_state
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.export import export_scorer
from segue.training.nets.encoders.decoders import EncoderStates
from segue.training.nets.encoders.seq2seq import Seq2SeqNet, TargetSequences
from segue.training.nets.encoders.tied_embedding import EncoderBatch, TorchScorer
from segue.training.tasks import Batch, NextItemsTask
from segue.training.trainer import Trainer

V = 41
SHAPE = {"embedding_dim": 16, "max_length": 12, "horizon": 4, "num_layers": 2}
CONFIGS = [
    Seq2SeqConfig(**SHAPE),
    Seq2SeqConfig(architecture="transformer", **SHAPE, temperature=None, spectral_init=False),
    Seq2SeqConfig(architecture="gru-transformer", **SHAPE),
    Seq2SeqConfig(architecture="transformer-gru", **(SHAPE | {"embedding_dim": 64})),
]


@pytest.fixture(scope="module")
def log() -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences.from_lists([rng.integers(1, V, rng.integers(1, 30)).tolist() for _ in range(60)])


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda c: c.architecture)
def net(request: pytest.FixtureRequest, log: Sequences) -> Seq2SeqNet:
    built = build_net(request.param, log, V, seed=0).eval()
    with torch.no_grad():
        for parameter in built.encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    assert isinstance(built, Seq2SeqNet)
    return built


def steps_of(batch: Batch, done: float = 0.0) -> EncoderBatch:
    inputs, targets = (torch.from_numpy(x.astype(np.int64)) for x in (batch.inputs_BT, batch.targets_BT))
    assert batch.cuts_B is not None
    return EncoderBatch(inputs, inputs != PAD, targets != PAD, None, torch.from_numpy(batch.cuts_B), done)


def batch_of(log: Sequences, seed: int = 0) -> Batch:
    task = NextItemsTask(12, 4)
    return task.batch(task.windows(log), np.random.default_rng(seed))


def naive_states(net: Seq2SeqNet, batch: Batch) -> torch.Tensor:
    """Stretch by stretch: what is before the cut is read alone, and what is behind it is written alone."""
    out = []
    assert batch.cuts_B is not None
    for inputs, targets, cut in zip(batch.inputs_BT, batch.targets_BT, batch.cuts_B.tolist(), strict=True):
        for t in range(int((targets != PAD).sum())):
            start = 0 if t < cut else cut + (t - cut) // 4 * 4
            source = torch.from_numpy(inputs[None, : start + 1].astype(np.int64))
            given = torch.from_numpy(inputs[None, start : t + 1].astype(np.int64))
            read = net.encoder.reader(net.embed(net.table_VD, source))
            memory = EncoderStates(read, torch.tensor([0]), torch.tensor([start]))
            out.append(net.encoder.writer(net.embed(net.table_VD, given), memory)[0, -1])
    return torch.stack(out)


def test_states_equal_those_of_each_stretch_alone(net: Seq2SeqNet, log: Sequences) -> None:
    batch = batch_of(log.take(slice(0, 12)))
    with torch.no_grad():
        fast = net.states(net.table_VD, steps_of(batch))
        slow = naive_states(net, batch)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    assert len(fast) == batch.num_targets


def test_stretches_by_hand() -> None:
    asked = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    found = TargetSequences.between_cuts(asked, torch.tensor([2, 0]), 3)
    assert found.row_S.tolist() == [0, 0, 0, 1]
    assert found.first_S.tolist() == [0, 2, 5, 0]
    assert found.is_target_SK.sum(1).tolist() == [2, 3, 2, 3]
    assert found.column_SK[found.is_target_SK].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]


@pytest.mark.parametrize("horizon", [1, 3, 9, 40])
def test_every_target_is_asked_once_and_every_step_comes(horizon: int) -> None:
    task = NextItemsTask(8, horizon)
    windows = task.windows(Sequences.from_lists([list(range(1, 30)), [5, 6], [7]]))
    step_counts = np.zeros(40)
    for seed in range(200):
        batch = task.batch(windows, np.random.default_rng(seed))
        assert batch.cuts_B is not None
        assert batch.cuts_B.min() >= 0 and batch.cuts_B.max() < horizon
        asked = torch.from_numpy(batch.targets_BT != PAD)
        found = TargetSequences.between_cuts(asked, torch.from_numpy(batch.cuts_B), horizon)
        columns = found.column_SK[found.is_target_SK].numpy()
        rows = found.row_S[:, None].expand_as(found.is_target_SK)[found.is_target_SK].numpy()
        assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == list(
            zip(*np.nonzero(asked.numpy()), strict=True)
        )
        step_counts[:horizon] += found.is_target_SK.sum(0).numpy()
    if horizon == 3:
        assert step_counts[0] > step_counts[1] > step_counts[2] > 0.4 * step_counts[0]


def test_the_served_twin_equals_the_net(net: Seq2SeqNet, log: Sequences) -> None:
    served = export_scorer("seq2seq", net, np.zeros(V))
    torch.testing.assert_close(served.scores(log)[:, 1:], TorchScorer(net).scores(log)[:, 1:], rtol=1e-4, atol=2e-4)


def test_the_served_steps_equal_teacher_forcing(net: Seq2SeqNet, log: Sequences) -> None:
    """Written step by step with kept states, from a cut at the end of the history: the net's states there."""
    served = export_scorer("seq2seq", net, np.zeros(V))
    history, written = [3, 9, 4, 30, 7], [8, 2, 11]
    at = initial_state(served, Sequences.from_lists([history, [1, 2], history]))
    for item in written:
        at = at.extend(np.arange(3), np.array([item] * 3))
    events = np.array([[*history, *written]])
    asked = np.concatenate([np.zeros((1, 4), np.int64), np.ones((1, 4), np.int64)], axis=1)
    inputs = torch.from_numpy(events)
    with torch.no_grad():
        memory_states = net.encoder.reader(net.embed(net.table_VD, inputs[:, :5]))
        said = net.encoder.writer(
            net.embed(net.table_VD, inputs[:, 4:]), EncoderStates(memory_states, torch.tensor([0]), torch.tensor([4]))
        )[:, -1]
        wanted = net.query(said) @ net.key(net.table_VD).T
    assert asked.sum() == 4
    for row in (0, 2):
        np.testing.assert_allclose(at.scores()[row, 1:], wanted[0, 1:].numpy(), rtol=1e-3, atol=1e-3)


def test_the_future_changes_nothing(net: Seq2SeqNet, log: Sequences) -> None:
    batch = batch_of(log.take(slice(0, 30)))
    other = np.where(batch.inputs_BT != PAD, batch.inputs_BT, PAD).copy()
    other[:, 6:] = np.where(other[:, 6:] != PAD, other[:, 6:] % (V - 1) + 1, PAD)
    changed = Batch(other, batch.targets_BT, None, batch.cuts_B)
    with torch.no_grad():
        one, two = (net.states(net.table_VD, steps_of(b)) for b in (batch, changed))
    column = np.nonzero(batch.targets_BT != PAD)[1]
    torch.testing.assert_close(one[column < 6], two[column < 6], rtol=1e-4, atol=1e-5)
    assert float((one[column >= 6] - two[column >= 6]).abs().max()) > 1e-3


def test_scheduled_sampling_replaces_the_share_it_says_and_repeats_with_the_seed(
    net: Seq2SeqNet, log: Sequences
) -> None:
    batch = batch_of(log)
    steps = steps_of(batch)
    assert steps.cuts_B is not None
    between = TargetSequences.between_cuts(steps.is_target_BT, steps.cuts_B, 4)
    with torch.no_grad():
        states = net.encoder.reader(net.embed(net.table_VD, steps.inputs_BT))
    memory = EncoderStates(states, between.row_S, between.first_S)
    rows = torch.where(between.is_target_SK, steps.inputs_BT[between.row_S[:, None], between.column_SK], 0)
    drawn = []
    for seed in (5, 5, 6):
        net.noise.seed(seed)
        drawn.append(net._sample_inputs(net.table_VD, memory, rows, between.is_target_SK, 0.5))
    net.eval()
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    later = between.is_target_SK.clone()
    later[:, 0] = False
    assert torch.equal(drawn[0][:, 0], rows[:, 0])  # the event at the cut is never replaced
    assert torch.equal(drawn[0][~between.is_target_SK], rows[~between.is_target_SK])
    assert int(drawn[0].min()) >= 0 and bool((drawn[0][between.is_target_SK] != PAD).all())
    differs = float((drawn[0] != rows)[later].float().mean())
    assert 0.3 < differs < 0.55  # a draw may hit the truth


def test_own_draws_follow_what_is_said(log: Sequences) -> None:
    """Where the softmax is sharp, the drawn item is its best one; for a GRU, after what was drawn before."""
    for config in CONFIGS[:2]:
        net = build_net(config, log, V, seed=0).eval()
        assert isinstance(net, Seq2SeqNet)
        net.temperature = 1e-4 if config.temperature is not None else None
        if config.temperature is None:
            net.table_VD *= 1e4
        batch = batch_of(log.take(slice(0, 8)))
        steps = steps_of(batch)
        assert steps.cuts_B is not None
        between = TargetSequences.between_cuts(steps.is_target_BT, steps.cuts_B, 4)
        with torch.no_grad():
            states = net.encoder.reader(net.embed(net.table_VD, steps.inputs_BT))
            memory = EncoderStates(states, between.row_S, between.first_S)
            rows = torch.where(between.is_target_SK, steps.inputs_BT[between.row_S[:, None], between.column_SK], 0)
            own = net._sample_inputs(net.table_VD, memory, rows, between.is_target_SK, 1.0)
            net.eval()
            # A GRU reads its own draws; a transformer's first pass reads the truth.
            given = own if config.decoder_type == "gru" else rows
            said = net.encoder.writer(net.embed(net.table_VD, given), memory)
            scores = net.query(said) @ net.key(net.table_VD).T
            scores[..., 0] = -torch.inf
        for k in range(1, 4):
            inside = between.is_target_SK[:, k]
            assert (own[inside, k] == scores[inside, k - 1].argmax(1)).float().mean() > 0.95


def test_the_first_epochs_share_is_nothing(log: Sequences) -> None:
    """At the training's beginning everything is given as it was."""
    net = build_net(CONFIGS[0], log, V, seed=0)
    batch = batch_of(log)
    states = []
    for done in (0.0, 0.0, 1.0):
        net.noise.seed(1)
        net.train()
        states.append(net.target_states(net.table_VD, steps_of(batch, done)).detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.architecture)
def test_it_learns_and_equal_seeds_give_equal_weights(config: Seq2SeqConfig) -> None:
    ring = Sequences.from_lists([[(start + i) % 12 + 1 for i in range(9)] for start in range(48)])
    weights = []
    for _ in range(2):
        net = build_net(config, ring, 13, seed=3)
        outcome = Trainer(net, ring, TrainingConfig(epochs=12, learning_rate=0.01, batch_tokens=256), seed=3).run()
        weights.append(net.table_VD.clone())
    assert outcome.losses[-1] < 0.5 * outcome.losses[0]
    assert torch.equal(*weights)
