"""The nets: exported model = trained net, causal states, no leak between rows, repeatable dropout."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from segue.data.sequences import NO_TIME, Sequences
from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.models.neural.configs.caser import CaserConfig
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.neural.configs.lrurec import LRURecConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer, restore_neural
from segue.training.build_net import build_net
from segue.training.export import export_scorer
from segue.training.nets.encoders.convolutional import CausalConvolution
from segue.training.nets.encoders.encoder import EncoderBatch
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet, TorchScorer
from segue.training.nets.layers.attention import Attention, GatedTransformerBlock, rotate
from segue.training.nets.layers.basic import Dropout, DropoutRng
from segue.training.nets.layers.gru_autograd import GRUFunction
from segue.training.nets.layers.recurrent import RecurrentLayer
from segue.training.tasks import NextItemTask

V = 41
SMALL: dict[str, Any] = {"embedding_dim": 16, "max_length": 12}
CAUSAL: dict[str, Any] = {
    "gru": GRU4RecConfig(**SMALL, num_layers=2),
    "gru-dot": GRU4RecConfig(**SMALL, temperature=None, spectral_init=False),
    "gru-separate": GRU4RecConfig(**SMALL, num_layers=2, input_embedding="separate"),
    "gru-one-hot": GRU4RecConfig(**SMALL, num_layers=2, input_embedding="one-hot", temperature=None),
    "lstm": GRU4RecConfig(**SMALL, num_layers=2, cell="lstm"),
    "lstm-one-hot": GRU4RecConfig(**SMALL, cell="lstm", input_embedding="one-hot", spectral_init=False),
    "rnn": GRU4RecConfig(**SMALL, num_layers=2, cell="rnn"),
    "rnn-separate": GRU4RecConfig(**SMALL, cell="rnn", input_embedding="separate", temperature=None),
    "sasrec": SASRecConfig(**SMALL),
    "sasrec-dot": SASRecConfig(**SMALL, temperature=None, spectral_init=False),
    "sasrec-reversed": SASRecConfig(**SMALL, num_layers=1, position_encoding="reversed"),
    "sasrec-rotary": SASRecConfig(**SMALL, num_layers=1, num_heads=4, position_encoding="rotary"),
    "sasrec-none": SASRecConfig(**SMALL, num_layers=1, position_encoding="none"),
    "sasrec-ligr": SASRecConfig(**SMALL, num_layers=1, block_type="ligr"),
    "caser": CaserConfig(**SMALL),
    "caser-narrow": CaserConfig(**SMALL, window=1, temperature=None),
    "nextitnet": NextItNetConfig(**SMALL),
    "hstu": HSTUConfig(**SMALL),
    "lrurec": LRURecConfig(**SMALL),
    "lrurec-wide": LRURecConfig(**SMALL, expansion=2, num_layers=1, temperature=None, spectral_init=False),
    "lrurec-times": LRURecConfig(**SMALL, time_inputs=("gap",)),
    "hstu-dot": HSTUConfig(**SMALL, temperature=None, spectral_init=False),
    "hstu-target-time": HSTUConfig(**SMALL, num_layers=1, num_heads=4, target_time=True),
    "hstu-times": HSTUConfig(**SMALL, time_inputs=("daypart",)),
    "gru-times": GRU4RecConfig(**SMALL, time_inputs=("gap", "daypart", "weekday")),
    "sasrec-times": SASRecConfig(**SMALL, time_inputs=("weekday", "gap")),
    "caser-times": CaserConfig(**SMALL, time_inputs=("gap",)),
    "nextitnet-times": NextItNetConfig(**SMALL, temperature=None, time_inputs=("daypart",)),
    "nextitnet-wide": NextItNetConfig(**SMALL, kernel_size=4, dilations=(2, 9)),
}
CONFIGS = CAUSAL | {
    "bert4rec": BERT4RecConfig(**SMALL),
    "bert4rec-dot": BERT4RecConfig(**SMALL, temperature=None, spectral_init=False),
    "sasrec-one": SASRecConfig(embedding_dim=16, max_length=1, num_layers=1),
    "hstu-one": HSTUConfig(embedding_dim=16, max_length=1, num_layers=1),
    "lrurec-one": LRURecConfig(embedding_dim=16, max_length=1, num_layers=1),
    "bert4rec-one": BERT4RecConfig(embedding_dim=16, max_length=1, num_layers=1, num_heads=4),
}
"""Cases that need not differ have one architecture, since the graph of each is traced once (2 s and more)."""


@cache
def make_log() -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences.from_lists([rng.integers(1, V, rng.integers(1, 30)).tolist() for _ in range(60)])


@pytest.fixture(scope="module")
def log() -> Sequences:
    return make_log()


@pytest.fixture(scope="module")
def timed(log: Sequences) -> Sequences:
    """The same rows with timestamps, seconds to months apart, some unknown; query times are hours later."""
    gaps_us = np.exp(np.random.default_rng(1).uniform(0, 16, log.num_events)) * 1e6
    times = 1_700_000_000_000_000 + np.cumsum(gaps_us).astype(np.int64)
    now = times[log.stops - 1] + 12_345_678_900
    times[7], now[3] = NO_TIME, NO_TIME
    return Sequences(log.items, times, log.starts, log.stops).as_of(now)


def make_net(name: str) -> TiedEmbeddingNet:
    """A net with noise in every parameter, so that each has an effect."""
    net = build_net(CONFIGS[name], make_log(), V, seed=0).eval()
    with torch.no_grad():
        for parameter in net.encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return net


shared_net = cache(make_net)
"""The net of each name, for tests that leave it as it is."""


@cache
def exported(name: str) -> NeuralScorer:
    """The exported model of the shared net."""
    return export_scorer("x", shared_net(name), np.zeros(V))


def states(net: TiedEmbeddingNet, items: np.ndarray) -> torch.Tensor:
    """[B, T, D] of full rows."""
    with torch.no_grad():
        hidden: torch.Tensor = net.encoder(net.embed(net.table_VD, torch.from_numpy(items)))
    return hidden


@pytest.mark.parametrize("name", CONFIGS)
def test_exported_model_equals_net(name: str, log: Sequences) -> None:
    """Rows of 1 to 29 events, one by one and together: padding is ignored, and every length runs."""
    net = shared_net(name)
    served = exported(name)
    wanted = TorchScorer(net).scores(log)
    torch.testing.assert_close(served.scores(log)[:, 1:], wanted[:, 1:], rtol=1e-4, atol=2e-5)
    for row in (0, 1, 2, int(log.lengths.argmin()), int(log.lengths.argmax())):
        torch.testing.assert_close(
            served.scores(log.take([row]))[0, 1:], wanted[row, 1:], rtol=1e-4, atol=2e-5, msg=f"row {row}"
        )


TIMED = [name for name in CAUSAL if name.startswith("hstu") or name.endswith("times")]


@pytest.mark.parametrize("name", TIMED)
def test_exported_model_equals_net_with_timestamps(name: str, timed: Sequences) -> None:
    """One by one and together; scores without timestamps differ."""
    net = shared_net(name)
    served = exported(name)
    wanted = TorchScorer(net).scores(timed)
    torch.testing.assert_close(served.scores(timed)[:, 1:], wanted[:, 1:], rtol=1e-4, atol=5e-5)
    for row in (0, 1, 3):
        alone = served.scores(timed.take(slice(row, row + 1)))[0, 1:]
        torch.testing.assert_close(alone, wanted[row, 1:], rtol=1e-4, atol=5e-5)
    timeless = served.scores(replace(timed, times=None, query_times=None))
    assert np.abs(timeless[:, 1:] - wanted[:, 1:]).max() > 1e-2


@pytest.mark.parametrize("name", TIMED)
def test_query_time_changes_scores_only_with_target_time(name: str, timed: Sequences) -> None:
    served = exported(name)
    later = served.scores(timed.as_of(timed.query_times + 10**12))  # type: ignore[operator]
    assert (np.abs(later - served.scores(timed)).max() > 1e-3) == (name == "hstu-target-time")


@pytest.mark.parametrize("name", TIMED)
def test_a_training_window_equals_its_prefixes_at_their_query_times(name: str, timed: Sequences) -> None:
    """Position t of a training window = the history up to t, with the timestamp of event t + 1 as query time."""
    net = shared_net(name)
    row = timed.take(np.flatnonzero(timed.lengths >= 10)[:1]).prefixes([10])
    assert row.times is not None
    batch = NextItemTask(12, timed=True, without_times=0.0).batch(row, np.random.default_rng(0))
    given = [
        torch.from_numpy(x) for x in (batch.inputs_BT.astype(np.int64), batch.inputs_BT != 0, batch.targets_BT != 0)
    ]
    assert batch.times_BS is not None
    with torch.no_grad():
        states = net.target_states(net.table_VD, EncoderBatch(*given, torch.from_numpy(batch.times_BS)))
    prefixes = row.take(np.zeros(9, dtype=np.int64)).prefixes(np.arange(1, 10))
    queried = prefixes.as_of(row.times[prefixes.stops])
    torch.testing.assert_close(net.query(states).numpy(), net.queries(queried), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_later_events_and_other_rows_do_not_change_states(name: str, log: Sequences) -> None:
    net = shared_net(name)
    rng = np.random.default_rng(1)
    items = rng.integers(1, V, (3, 10))
    other = items.copy()
    other[:, 6:] = rng.integers(1, V, (3, 4))
    other[2, :] = rng.integers(1, V, 10)
    first, second = states(net, items), states(net, other)
    torch.testing.assert_close(first[:2, :6], second[:2, :6], rtol=1e-5, atol=1e-6)
    assert float((first[:2, 6:] - second[:2, 6:]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_does_not_change_the_last_state(name: str, log: Sequences) -> None:
    net = shared_net(name)
    row = Sequences.from_lists([[3, 4, 5]]).tail(net.length)
    last_B = torch.from_numpy(row.lengths - 1)
    short, padded = (row.padded(width, align="left").astype(np.int64) for width in (int(last_B[0]) + 1, net.length))
    with torch.no_grad():
        short_state, padded_state = (
            net.last_state(net.item_embeddings(), torch.from_numpy(x), last_B) for x in (short, padded)
        )
    torch.testing.assert_close(short_state, padded_state, rtol=1e-5, atol=1e-6)


RECURRENT = [name for name, config in CAUSAL.items() if isinstance(config, GRU4RecConfig)]


@pytest.mark.parametrize(
    "name",
    [
        "sasrec",
        "gru",
        "lstm",
        "rnn",
        "sasrec-reversed",
        "sasrec-rotary",
        "caser",
        "nextitnet",
        "bert4rec",
        "hstu",
        "lrurec",
    ],
)
def test_order_of_events_changes_scores(name: str, log: Sequences) -> None:
    """The last event stays in place, the others change places."""
    scores = TorchScorer(shared_net(name)).scores(Sequences.from_lists([[3, 4, 5, 6], [5, 4, 3, 6]]))
    assert np.abs(scores[0, 1:] - scores[1, 1:]).max() > 1e-3


def test_reversed_positions_are_counted_from_the_last_event(log: Sequences) -> None:
    """Without content, a state depends on the number of later (reversed) or earlier (learned) events."""
    rows = np.full((1, 4), 7), np.full((1, 6), 7)
    reverse, learned = (make_net(name) for name in ("sasrec-reversed", "sasrec"))
    for net in (reverse, learned):
        net.table_VD.zero_()
        for block in net.encoder.blocks:  # attention depends on the number of events, so it is silenced
            torch.nn.init.zeros_(block.attention.merge.weight)
    torch.testing.assert_close(states(reverse, rows[0]), states(reverse, rows[1])[:, 2:])
    torch.testing.assert_close(states(learned, rows[0]), states(learned, rows[1])[:, :4])


def test_rotary_products_depend_on_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    everywhere = [rotate(x.expand(1, 1, 9, 8))[0, 0] for x in (query, key)]
    products = everywhere[0] @ everywhere[1].T
    for distance in range(-4, 5):
        assert float(products.diagonal(distance).std()) < 1e-5
    torch.testing.assert_close(products.diagonal(0), (query * key).sum().expand(9))
    assert float((products[0] - products[0, 0]).abs().max()) > 0.1


@pytest.mark.parametrize("causal", [True, False])
def test_attention_equals_a_loop(causal: bool) -> None:
    """Event by event, head by head; row 1 has two events and padding behind."""
    attention = Attention(8, 2, causal=causal)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    lengths = (5, 2)
    inside = torch.tensor([[t < n for t in range(5)] for n in lengths])
    with torch.no_grad():
        output = attention(x, None if causal else inside)
        for b, length in enumerate(lengths):
            q, k, v = attention.project(x[b, :length]).chunk(3, dim=-1)
            for t in range(length):
                visible = slice(0, t + 1 if causal else length)
                heads = []
                for part in (slice(0, 4), slice(4, 8)):
                    weights = torch.softmax(k[visible, part] @ q[t, part] / 2.0, dim=0)
                    heads.append(weights @ v[visible, part])
                torch.testing.assert_close(output[b, t], attention.merge(torch.cat(heads)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", ["prenorm", "ligr"])
@pytest.mark.parametrize("positions", ["learned", "reversed", "rotary", "none"])
@pytest.mark.parametrize("layers", [1, 2])
def test_last_state_equals_the_full_pass(block: Any, positions: Any, layers: int, log: Sequences) -> None:
    config = SASRecConfig(
        embedding_dim=8,
        num_layers=layers,
        num_heads=2,
        max_length=6,
        block_type=block,
        position_encoding=positions,
        spectral_init=False,
    )
    encoder = build_net(config, log, 12, 0).encoder.eval()
    x_BTD = torch.randn(5, 6, 8, generator=torch.Generator().manual_seed(1))
    last_B = torch.tensor([0, 5, 2, 3, 4])
    with torch.no_grad():
        whole_BTD = encoder(x_BTD, last_B)
        newest_BD = encoder.last_state(x_BTD, last_B)
    torch.testing.assert_close(newest_BD, whole_BTD[torch.arange(5), last_B], rtol=1e-5, atol=1e-6)


def test_gated_block_by_hand() -> None:
    block = GatedTransformerBlock(Attention(4, 1), 4, 6, Dropout(0.0, DropoutRng()))
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mid = x + torch.sigmoid(block.gate_attention(x)) * block.attention(block.norm_attention(x))
        a, b = block.widen(block.norm_inner(mid)).chunk(2, dim=-1)
        wanted = mid + torch.sigmoid(block.gate_inner(mid)) * block.narrow(a * torch.sigmoid(a) * b)
        torch.testing.assert_close(block(x), wanted)


def test_a_causal_convolution_equals_torch() -> None:
    ours = CausalConvolution(4, 3, 2)
    plain = torch.nn.Conv1d(4, 4, 3, dilation=2)
    with torch.no_grad():
        plain.weight.copy_(ours.mix.weight.view(4, 3, 4).transpose(1, 2))
        plain.bias.copy_(ours.mix.bias)  # type: ignore[union-attr]
        x = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
        wanted = plain(torch.nn.functional.pad(x.transpose(1, 2), (4, 0))).transpose(1, 2)
        torch.testing.assert_close(ours(x), wanted, rtol=1e-4, atol=1e-5)


def test_caser_equals_its_definition_window_by_window(log: Sequences) -> None:
    encoder = shared_net("caser").encoder
    x = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = encoder(x)
        for t in range(8):
            image_LD = torch.cat([torch.zeros(4, 16), x[0]])[t : t + 5]
            parts = []
            for height, filters in enumerate(encoder.horizontal, start=1):
                places = [image_LD[i : i + height].flatten() for i in range(5 - height + 1)]
                parts.append(torch.relu(filters(torch.stack(places))).amax(dim=0))
            parts.append((image_LD.T @ encoder.vertical.weight.T).flatten())
            mixed = encoder.merge(torch.relu(encoder.mix(torch.cat(parts))))
            torch.testing.assert_close(output[0, t], encoder.norm(x[0, t] + mixed), rtol=1e-4, atol=1e-5)


def test_masked_events_are_hidden_and_attention_is_bidirectional(log: Sequences) -> None:
    net = shared_net("bert4rec")
    is_target = torch.tensor([[False, True, False, False]])

    def hidden(items: list[int]) -> torch.Tensor:
        rows = torch.tensor([items])
        with torch.no_grad():
            return net.target_states(net.table_VD, EncoderBatch(rows, (rows != 0) & ~is_target, is_target, None))

    torch.testing.assert_close(hidden([3, 4, 5, 6]), hidden([3, 9, 5, 6]))
    for changed in ([8, 4, 5, 6], [3, 4, 8, 6], [3, 4, 5, 8]):
        assert float((hidden(changed) - hidden([3, 4, 5, 6])).abs().max()) > 1e-3


def test_bert4rec_predicts_a_mask_after_the_last_event(log: Sequences) -> None:
    """The last state equals the state of a masked last event in training."""
    net = shared_net("bert4rec")
    rows = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 9, 0]])
    is_target = torch.tensor([[False, False, False, True, False], [False] * 4 + [True]])
    with torch.no_grad():
        wanted = net.target_states(net.table_VD, EncoderBatch(rows, rows != 0, is_target, None))
        torch.testing.assert_close(
            net.last_state(net.item_embeddings(), rows[:, :4], torch.tensor([2, 3])), wanted, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("steps", [1, 7])
def test_gru_equals_torch(steps: int) -> None:
    torch.manual_seed(0)
    plain = torch.nn.GRU(5, 8)
    x = torch.randn(steps, 3, 5)
    weights = [getattr(plain, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    grad_out = torch.randn(steps, 3, 8)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    ours = GRUFunction.apply(inputs[0], *weights, torch.float32)
    theirs = plain(inputs[1])[0]
    torch.testing.assert_close(ours, theirs)
    mine = torch.autograd.grad((ours * grad_out).sum(), [inputs[0], *weights])
    reference = torch.autograd.grad((theirs * grad_out).sum(), [inputs[1], *weights])
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    low = GRUFunction.apply(x, *weights, torch.bfloat16)
    assert float((low - theirs).detach().abs().max()) < 0.03


def test_gru_continues_from_an_initial_state_without_gradient() -> None:
    """The second half, from the last state of the first: states of the whole, and torch's gradient of the half."""
    torch.manual_seed(0)
    plain = torch.nn.GRU(5, 8)
    weights = [getattr(plain, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    x, grad_out = torch.randn(6, 3, 5), torch.randn(4, 3, 8)
    whole = GRUFunction.apply(x, *weights, torch.float32)
    start = whole[1].detach().requires_grad_()
    second = GRUFunction.apply(x[2:], *weights, torch.float32, start)
    torch.testing.assert_close(second, whole[2:])
    mine = torch.autograd.grad((second * grad_out).sum(), [*weights, start], allow_unused=True)
    theirs = torch.autograd.grad((plain(x[2:], start.detach()[None])[0] * grad_out).sum(), weights)
    assert mine[4] is None
    for a, b in zip(mine, theirs, strict=False):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_input_row_lookup_equals_a_one_hot_product() -> None:
    torch.manual_seed(0)
    matrix, items = torch.randn(12, 7, requires_grad=True), torch.tensor([[0, 3], [6, 3], [1, 1]])
    weights = [torch.randn(12, 4, requires_grad=True), *(torch.randn(12, requires_grad=True) for _ in range(2))]
    grad_out = torch.randn(3, 2, 4)
    looked_up = GRUFunction.apply(matrix.T[items], None, *weights, torch.float32)
    one_hot = torch.nn.functional.one_hot(items, 7).float()
    multiplied = GRUFunction.apply(one_hot, matrix, *weights, torch.float32)
    torch.testing.assert_close(looked_up, multiplied)
    both = [torch.autograd.grad((states * grad_out).sum(), [matrix, *weights]) for states in (looked_up, multiplied)]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cell", "make"), [("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM), ("rnn", torch.nn.RNN)])
def test_recurrent_layer_equals_torch(cell: Any, make: Any) -> None:
    torch.manual_seed(0)
    ours, theirs = RecurrentLayer(cell, 8), make(8, 8, batch_first=True)
    names = {"input": "weight_ih_l0", "state": "weight_hh_l0", "input_bias": "bias_ih_l0", "state_bias": "bias_hh_l0"}
    with torch.no_grad():
        for name, copy in names.items():
            getattr(ours, name).copy_(getattr(theirs, copy))
    x, grad_out = torch.randn(3, 6, 8), torch.randn(3, 6, 8)
    mine, (wanted, last) = ours(x), theirs(x)
    torch.testing.assert_close(mine[0], wanted)
    if cell == "lstm":
        torch.testing.assert_close(mine[1][:, -1], last[1][0])
    grads = torch.autograd.grad((mine[0] * grad_out).sum(), [getattr(ours, name) for name in names])
    wanted_grads = torch.autograd.grad((wanted * grad_out).sum(), [getattr(theirs, name) for name in names.values()])
    for a, b in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_forget_gates_start_open(log: Sequences) -> None:
    encoder = build_net(CONFIGS["lstm"], log, V, seed=0).encoder
    for layer in encoder.layers:
        assert layer.state_bias.tolist() == [0.0] * 16 + [1.0] * 16 + [0.0] * 32
        assert not layer.input_bias.any()


def test_initial_input_embeddings_match_the_output_embeddings(log: Sequences) -> None:
    """Separate: the spectral embeddings. One-hot: their products with a random matrix, so that equal embeddings give
    equal inputs. Without a spectral start: random, and different from the output embeddings."""
    separate, one_hot = (build_net(CONFIGS[name], log, V, seed=0) for name in ("gru-separate", "gru-one-hot"))
    table = separate.table_VD
    assert table.shape == (V, 16 + 16) and torch.equal(table[:, :16], table[:, 16:]) and not table[0].any()
    table = one_hot.table_VD
    assert table.shape == (V, 48 + 16 + 1)
    solved = torch.linalg.lstsq(table[1:, 48:64], table[1:, :48]).solution
    torch.testing.assert_close(table[1:, 48:64] @ solved, table[1:, :48], rtol=1e-3, atol=1e-4)
    assert float(solved.abs().max()) == pytest.approx((3 / 16) ** 0.5, rel=0.01)
    config = GRU4RecConfig(embedding_dim=16, input_embedding="separate", temperature=None, spectral_init=False)
    apart = build_net(config, log, V, seed=0).table_VD
    bound = (6 / (V + 16)) ** 0.5
    for part in (apart[1:, :16], apart[1:, 16:32]):
        assert 0.9 * bound < float(part.abs().max()) <= bound
    assert abs(float(torch.corrcoef(torch.stack([apart[1:, :16].ravel(), apart[1:, 16:32].ravel()]))[0, 1])) < 0.2
    assert not apart[:, 32].any()


@pytest.mark.parametrize("name", ["gru-separate", "lstm-one-hot"])
def test_input_and_output_embeddings_are_separate(name: str, log: Sequences) -> None:
    net = make_net(name)
    before = TorchScorer(net).scores(Sequences.from_lists([[3, 4]]))[0]
    net.table_VD[4, net.num_input_columns :] *= -1.0
    other_key = TorchScorer(net).scores(Sequences.from_lists([[3, 4]]))[0]
    np.testing.assert_allclose(np.delete(other_key, 4), np.delete(before, 4))
    assert other_key[4] == pytest.approx(-before[4], rel=1e-4)
    net.table_VD[4, : net.num_input_columns] *= -1.0
    assert np.abs(TorchScorer(net).scores(Sequences.from_lists([[3, 4]]))[0] - other_key)[1:].min() > 1e-6


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_steps_equal_the_full_pass(name: str, log: Sequences) -> None:
    served = export_scorer("x", build_net(CONFIGS[name], log, V, seed=0), np.zeros(V))
    gru = served.encoder
    assert isinstance(gru, NumpyGRU)
    history = [5, 9, 2, 30, 7]
    state = gru.initial_state(1)
    for item in history:
        before = state.copy()
        after = gru.step(state, served.input_embeddings_VD[[item]])
        assert (state == before).all()  # the given state is left as it was
        state = after
    rows = Sequences.from_lists([history])
    np.testing.assert_allclose(
        gru.hidden(state), gru.encode(rows, served.input_embeddings_VD[history]), rtol=1e-5, atol=1e-6
    )


def test_state_has_one_part_per_layer_and_two_in_an_lstm(log: Sequences) -> None:
    for name, shape in (("gru", (2, 4, 16)), ("rnn", (2, 4, 16)), ("lstm", (2, 4, 32)), ("lstm-one-hot", (1, 4, 32))):
        net = build_net(CONFIGS[name], log, V, seed=0)
        gru = export_scorer("x", net, np.zeros(V)).encoder
        assert isinstance(gru, NumpyGRU)
        assert gru.initial_state(4).shape == shape
        assert net.encoder.state_shape == (shape[0], shape[2])


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_model_is_restored_from_its_tensors(name: str, log: Sequences) -> None:
    served = export_scorer("gru4rec", shared_net(name), np.zeros(V))
    restored = restore_neural("gru4rec", served.arrays(), CONFIGS[name])
    np.testing.assert_array_equal(restored.scores(log), served.scores(log))


def test_dropout_keeps_the_mean_and_repeats_by_seed() -> None:
    noise = DropoutRng()
    drop = Dropout(0.25, noise).train()
    x = torch.ones(1000, 100)
    noise.seed(1)
    first = drop(x)
    noise.seed(1)
    second = drop(x)
    assert torch.equal(first, second)
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(first.mean()) == pytest.approx(1.0, abs=0.01)
    assert not torch.equal(first, drop(x))
    assert torch.equal(drop.eval()(x), x)


def test_random_bytes_are_uniform_at_every_position() -> None:
    noise = DropoutRng()
    noise.seed(0)
    drawn = noise.bytes(80_000).view(-1, 8).float()
    assert drawn.mean(0).tolist() == pytest.approx([127.5] * 8, abs=3)  # the sign byte of a word too
    assert float(drawn.max()) == 255.0


def test_equal_arguments_give_equal_nets(log: Sequences) -> None:
    net, same = (build_net(CONFIGS["sasrec"], log, V, seed=5) for _ in range(2))
    assert torch.equal(net.table_VD, same.table_VD)
    for a, b in zip(net.encoder.parameters(), same.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    other = build_net(CONFIGS["sasrec"], log, V, seed=6)
    assert not torch.equal(next(net.encoder.parameters()), next(other.encoder.parameters()))
