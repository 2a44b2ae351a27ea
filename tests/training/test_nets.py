"""The nets: served twin = trained net, no look into the future, no leak between rows, repeatable dropout."""

import numpy as np
import pytest
import torch

from segue.data.sequences import Sequences
from segue.models.gru4rec import GRU4RecConfig, GruArrays
from segue.models.sasrec import SASRecConfig
from segue.training.build import build_net
from segue.training.export import export
from segue.training.nets.layers import Dropout, Noise
from segue.training.nets.recurrence import Recurrence
from segue.training.nets.tied import TorchScorer
from segue.training.tasks import left_aligned

V = 41
CONFIGS = [
    GRU4RecConfig(dim=16, layers=2, length=12),
    GRU4RecConfig(dim=16, length=12, temperature=None, spectral_start=False),
    SASRecConfig(dim=16, length=12),
    SASRecConfig(dim=16, length=12, temperature=None, heads=4, spectral_start=False),
]


@pytest.fixture(scope="module")
def log() -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences.from_lists([rng.integers(1, V, rng.integers(1, 30)).tolist() for _ in range(60)])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{type(c).__name__}-{c.temperature}")
def test_served_twin_equals_net(config: object, log: Sequences) -> None:
    net = build_net(config, log, V, seed=0)
    with torch.no_grad():
        for parameter in net.encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    served = export("x", net, np.zeros(V))
    torch.testing.assert_close(served.scores(log)[:, 1:], TorchScorer(net).scores(log)[:, 1:], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{type(c).__name__}-{c.temperature}")
def test_the_future_and_other_rows_change_nothing(config: object, log: Sequences) -> None:
    net = build_net(config, log, V, seed=0).eval()
    rng = np.random.default_rng(1)
    items = rng.integers(1, V, (3, 10))
    other = items.copy()
    other[:, 6:] = rng.integers(1, V, (3, 4))
    other[2, :] = rng.integers(1, V, 10)
    with torch.no_grad():
        one, two = (net.encoder(net.embed(net.table_VD, torch.from_numpy(x))) for x in (items, other))
    torch.testing.assert_close(one[:2, :6], two[:2, :6], rtol=1e-5, atol=1e-6)
    assert float((one[:2, 6:] - two[:2, 6:]).abs().max()) > 1e-3


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{type(c).__name__}-{c.temperature}")
def test_padding_behind_changes_nothing(config: object, log: Sequences) -> None:
    net = build_net(config, log, V, seed=0).eval()
    row = Sequences.from_lists([[3, 4, 5]])
    short, padded = (torch.from_numpy(left_aligned(row, row.items, width).astype(np.int64)) for width in (3, 9))
    with torch.no_grad():
        one, two = (net.encoder(net.embed(net.table_VD, x)) for x in (short, padded))
    torch.testing.assert_close(one[0], two[0, :3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 7])
def test_recurrence_equals_torch_gru(steps: int) -> None:
    torch.manual_seed(0)
    plain = torch.nn.GRU(5, 8)
    x = torch.randn(steps, 3, 5)
    weights = [getattr(plain, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    pull = torch.randn(steps, 3, 8)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    ours = Recurrence.apply(inputs[0], *weights, torch.float32)
    theirs = plain(inputs[1])[0]
    torch.testing.assert_close(ours, theirs)
    mine = torch.autograd.grad((ours * pull).sum(), [inputs[0], *weights])
    reference = torch.autograd.grad((theirs * pull).sum(), [inputs[1], *weights])
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    low = Recurrence.apply(x, *weights, torch.bfloat16)
    assert float((low - theirs).abs().max()) < 0.03


def test_steps_equal_the_full_pass(log: Sequences) -> None:
    served = export("x", build_net(CONFIGS[0], log, V, seed=0), np.zeros(V))
    gru = served.encoder
    assert isinstance(gru, GruArrays)
    history = [5, 9, 2, 30, 7]
    state = gru.start(1)
    for item in history:
        before = state.copy()
        after = gru.step(state, served.vectors_VD[[item]])
        assert (state == before).all()  # the given state is left as it was
        state = after
    rows = Sequences.from_lists([history])
    np.testing.assert_allclose(state[-1], gru.encode(rows, served.vectors_VD[history]), rtol=1e-5, atol=1e-6)


def test_two_layers_run_on_one_stepped_state_each(log: Sequences) -> None:
    gru = export("x", build_net(CONFIGS[0], log, V, seed=0), np.zeros(V)).encoder
    assert isinstance(gru, GruArrays)
    assert gru.start(4).shape == (2, 4, 16)


def test_dropout_keeps_the_mean_and_repeats_by_seed() -> None:
    noise = Noise()
    drop = Dropout(0.25, noise).train()
    x = torch.ones(1000, 100)
    noise.seed(1)
    one = drop(x)
    noise.seed(1)
    two = drop(x)
    assert torch.equal(one, two)
    assert float((one == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(one.mean()) == pytest.approx(1.0, abs=0.01)
    assert not torch.equal(one, drop(x))
    assert torch.equal(drop.eval()(x), x)


def test_noise_bytes_are_uniform_in_every_place() -> None:
    noise = Noise()
    noise.seed(0)
    drawn = noise.bytes(80_000).view(-1, 8).float()
    assert drawn.mean(0).tolist() == pytest.approx([127.5] * 8, abs=3)  # the sign byte of a word too
    assert float(drawn.max()) == 255.0


def test_equal_arguments_give_equal_nets(log: Sequences) -> None:
    one, two = (build_net(CONFIGS[2], log, V, seed=5) for _ in range(2))
    assert torch.equal(one.table_VD, two.table_VD)
    for a, b in zip(one.encoder.parameters(), two.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    other = build_net(CONFIGS[2], log, V, seed=6)
    assert not torch.equal(next(one.encoder.parameters()), next(other.encoder.parameters()))
