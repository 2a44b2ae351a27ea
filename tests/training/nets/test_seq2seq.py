"""Seq2Seq net: cuts, exported model, causality, scheduled sampling; each fast computation against a slow one."""

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


def slow_states(net: Seq2SeqNet, batch: Batch) -> torch.Tensor:
    """Segment by segment: events before the cut are encoded alone, and events after it are decoded alone."""
    out = []
    assert batch.cuts_B is not None
    for inputs, targets, cut in zip(batch.inputs_BT, batch.targets_BT, batch.cuts_B.tolist(), strict=True):
        for t in range(int((targets != PAD).sum())):
            start = 0 if t < cut else cut + (t - cut) // 4 * 4
            source = torch.from_numpy(inputs[None, : start + 1].astype(np.int64))
            inputs_K = torch.from_numpy(inputs[None, start : t + 1].astype(np.int64))
            encoder_states = net.encoder.reader(net.embed(net.table_VD, source))
            memory = EncoderStates(encoder_states, torch.tensor([0]), torch.tensor([start]))
            out.append(net.encoder.writer(net.embed(net.table_VD, inputs_K), memory)[0, -1])
    return torch.stack(out)


def test_states_equal_those_of_each_segment_alone(net: Seq2SeqNet, log: Sequences) -> None:
    batch = batch_of(log.take(slice(0, 12)))
    with torch.no_grad():
        fast = net.target_states(net.table_VD, steps_of(batch))
        slow = slow_states(net, batch)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    assert len(fast) == batch.num_targets


def test_segments_by_hand() -> None:
    is_target = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    segments = TargetSequences.between_cuts(is_target, torch.tensor([2, 0]), 3)
    assert segments.row_S.tolist() == [0, 0, 0, 1]
    assert segments.first_S.tolist() == [0, 2, 5, 0]
    assert segments.is_target_SK.sum(1).tolist() == [2, 3, 2, 3]
    assert segments.column_SK[segments.is_target_SK].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]


@pytest.mark.parametrize("horizon", [1, 3, 9, 40])
def test_every_target_is_in_one_segment_and_every_step_occurs(horizon: int) -> None:
    task = NextItemsTask(8, horizon)
    windows = task.windows(Sequences.from_lists([list(range(1, 30)), [5, 6], [7]]))
    step_counts = np.zeros(40)
    for seed in range(200):
        batch = task.batch(windows, np.random.default_rng(seed))
        assert batch.cuts_B is not None
        assert batch.cuts_B.min() >= 0 and batch.cuts_B.max() < horizon
        is_target = torch.from_numpy(batch.targets_BT != PAD)
        segments = TargetSequences.between_cuts(is_target, torch.from_numpy(batch.cuts_B), horizon)
        columns = segments.column_SK[segments.is_target_SK].numpy()
        rows = segments.row_S[:, None].expand_as(segments.is_target_SK)[segments.is_target_SK].numpy()
        assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == list(
            zip(*np.nonzero(is_target.numpy()), strict=True)
        )
        step_counts[:horizon] += segments.is_target_SK.sum(0).numpy()
    if horizon == 3:
        assert step_counts[0] > step_counts[1] > step_counts[2] > 0.4 * step_counts[0]


def test_exported_model_equals_net(net: Seq2SeqNet, log: Sequences) -> None:
    served = export_scorer("seq2seq", net, np.zeros(V))
    torch.testing.assert_close(served.scores(log)[:, 1:], TorchScorer(net).scores(log)[:, 1:], rtol=1e-4, atol=2e-4)


def test_decoding_steps_equal_teacher_forcing(net: Seq2SeqNet, log: Sequences) -> None:
    """Decoding step by step from a cut at the end of the history gives the states of the net."""
    served = export_scorer("seq2seq", net, np.zeros(V))
    history, decoded = [3, 9, 4, 30, 7], [8, 2, 11]
    at = initial_state(served, Sequences.from_lists([history, [1, 2], history]))
    for item in decoded:
        at = at.extend(np.arange(3), np.array([item] * 3))
    events = np.array([[*history, *decoded]])
    inputs = torch.from_numpy(events)
    with torch.no_grad():
        memory_states = net.encoder.reader(net.embed(net.table_VD, inputs[:, :5]))
        output = net.encoder.writer(
            net.embed(net.table_VD, inputs[:, 4:]), EncoderStates(memory_states, torch.tensor([0]), torch.tensor([4]))
        )[:, -1]
        wanted = net.query(output) @ net.key(net.table_VD).T
    for row in (0, 2):
        np.testing.assert_allclose(at.scores()[row, 1:], wanted[0, 1:].numpy(), rtol=1e-3, atol=1e-3)


def test_later_events_do_not_change_states(net: Seq2SeqNet, log: Sequences) -> None:
    batch = batch_of(log.take(slice(0, 30)))
    other = np.where(batch.inputs_BT != PAD, batch.inputs_BT, PAD).copy()
    other[:, 6:] = np.where(other[:, 6:] != PAD, other[:, 6:] % (V - 1) + 1, PAD)
    changed = Batch(other, batch.targets_BT, None, batch.cuts_B)
    with torch.no_grad():
        states, changed_states = (net.target_states(net.table_VD, steps_of(b)) for b in (batch, changed))
    column = np.nonzero(batch.targets_BT != PAD)[1]
    torch.testing.assert_close(states[column < 6], changed_states[column < 6], rtol=1e-4, atol=1e-5)
    assert float((states[column >= 6] - changed_states[column >= 6]).abs().max()) > 1e-3


def test_scheduled_sampling_replaces_its_share_and_repeats_by_seed(net: Seq2SeqNet, log: Sequences) -> None:
    batch = batch_of(log)
    steps = steps_of(batch)
    assert steps.cuts_B is not None
    segments = TargetSequences.between_cuts(steps.is_target_BT, steps.cuts_B, 4)
    with torch.no_grad():
        states = net.encoder.reader(net.embed(net.table_VD, steps.inputs_BT))
    memory = EncoderStates(states, segments.row_S, segments.first_S)
    rows = torch.where(segments.is_target_SK, steps.inputs_BT[segments.row_S[:, None], segments.column_SK], 0)
    drawn = []
    for seed in (5, 5, 6):
        net.noise.seed(seed)
        drawn.append(net._sample_inputs(net.table_VD, memory, rows, segments.is_target_SK, 0.5))
    net.eval()
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    later = segments.is_target_SK.clone()
    later[:, 0] = False
    assert torch.equal(drawn[0][:, 0], rows[:, 0])  # the event at the cut is never replaced
    assert torch.equal(drawn[0][~segments.is_target_SK], rows[~segments.is_target_SK])
    assert int(drawn[0].min()) >= 0 and bool((drawn[0][segments.is_target_SK] != PAD).all())
    differs = float((drawn[0] != rows)[later].float().mean())
    assert 0.3 < differs < 0.55  # a sample may equal the true event


def test_samples_follow_the_outputs(log: Sequences) -> None:
    """With a sharp softmax, the sample is the best item; in a GRU decoder, after the samples before it."""
    for config in CONFIGS[:2]:
        net = build_net(config, log, V, seed=0).eval()
        assert isinstance(net, Seq2SeqNet)
        net.temperature = 1e-4 if config.temperature is not None else None
        if config.temperature is None:
            net.table_VD *= 1e4
        batch = batch_of(log.take(slice(0, 8)))
        steps = steps_of(batch)
        assert steps.cuts_B is not None
        segments = TargetSequences.between_cuts(steps.is_target_BT, steps.cuts_B, 4)
        with torch.no_grad():
            states = net.encoder.reader(net.embed(net.table_VD, steps.inputs_BT))
            memory = EncoderStates(states, segments.row_S, segments.first_S)
            rows = torch.where(segments.is_target_SK, steps.inputs_BT[segments.row_S[:, None], segments.column_SK], 0)
            samples = net._sample_inputs(net.table_VD, memory, rows, segments.is_target_SK, 1.0)
            net.eval()
            # A GRU decodes its own samples; the first pass of a transformer decodes the true events.
            inputs_K = samples if config.decoder_type == "gru" else rows
            output = net.encoder.writer(net.embed(net.table_VD, inputs_K), memory)
            scores = net.query(output) @ net.key(net.table_VD).T
            scores[..., 0] = -torch.inf
        for k in range(1, 4):
            inside = segments.is_target_SK[:, k]
            assert (samples[inside, k] == scores[inside, k - 1].argmax(1)).float().mean() > 0.95


def test_scheduled_sampling_starts_at_zero(log: Sequences) -> None:
    """At the start of training, all inputs are true events."""
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
def test_training_reduces_the_loss_and_repeats_by_seed(config: Seq2SeqConfig) -> None:
    ring = Sequences.from_lists([[(start + i) % 12 + 1 for i in range(9)] for start in range(48)])
    weights = []
    for _ in range(2):
        net = build_net(config, ring, 13, seed=3)
        outcome = Trainer(net, ring, TrainingConfig(epochs=12, learning_rate=0.01, batch_tokens=256), seed=3).run()
        weights.append(net.table_VD.clone())
    assert outcome.losses[-1] < 0.5 * outcome.losses[0]
    assert torch.equal(*weights)
