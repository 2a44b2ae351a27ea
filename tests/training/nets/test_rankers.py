"""Ranker nets: numpy model = trained net, candidates are independent, cached states = recomputed ones."""

from typing import Any

import numpy as np
import pytest
import torch

from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.rankers.calibration import Calibration
from segue.models.rankers.dien import DIENConfig
from segue.models.rankers.din import DINConfig
from segue.models.rankers.dual_gru import DualGRUConfig
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.item_state_cache import ItemStateCache
from segue.models.rankers.live_item_histories import LiveItemHistories
from segue.models.rankers.pooled import PooledRankerConfig
from segue.models.rankers.ranker import RANKERS, NeuralRanker, log_odds, restore_ranker
from segue.models.rankers.ranker_input import encode_examples, encode_histories
from segue.training.nets.rankers.towers import RankerNet
from segue.training.rankers.ranker_trainer import build_ranker_net

V = 31
HOUR = 3_600_000_000
CONFIGS: dict[str, Any] = {
    "pooled": PooledRankerConfig(embedding_dim=8, max_length=6),
    "din": DINConfig(embedding_dim=8, max_length=6, attention_units=5),
    "dien": DIENConfig(embedding_dim=8, max_length=6),
    "dual-gru": DualGRUConfig(embedding_dim=8, state_dim=5, max_length=6, item_history_length=4),
}


@pytest.fixture(scope="module")
def log() -> Sequences:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 15, 40)
    times = [np.sort(rng.integers(0, 1000, n)) * HOUR for n in lengths]
    return Sequences.from_lists([rng.integers(1, V - 3, n) for n in lengths], times)  # three items without events


@pytest.fixture(scope="module")
def cases(log: Sequences) -> ClickExamples:
    """Histories of 0 to 14 events, times in the middle of the items' histories, PAD among the candidates."""
    rng = np.random.default_rng(1)
    candidates = rng.integers(0, V, (len(log), 5)).astype(np.int32)
    times = rng.integers(0, 1100, len(log)) * HOUR
    return ClickExamples(log, times, candidates, candidates == 1, np.arange(len(log)))


def random_net(name: str, log: Sequences) -> RankerNet:
    """A net with noise in every parameter, so that each has an effect."""
    net = build_ranker_net(CONFIGS[name], log, V, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return net


def make_ranker(name: str, log: Sequences) -> NeuralRanker:
    model = RANKERS[name].net(random_net(name, log).weights(), CONFIGS[name])
    item_histories = (
        LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log, V), model.item_history_length)
        if model.item_history_length
        else None
    )
    return NeuralRanker(name, model, item_histories, Calibration(np.zeros(1), np.array([0.3]), (0.7, 0.7)))


@pytest.mark.parametrize("name", CONFIGS)
def test_numpy_model_equals_net(name: str, log: Sequences, cases: ClickExamples) -> None:
    net, model, histories = random_net(name, log), make_ranker(name, log).net, ItemHistories.from_sequences(log, V)
    with torch.no_grad():
        wanted, auxiliary_loss = net(
            encode_examples(
                cases, model.max_length, histories if model.item_history_length else None, model.item_history_length
            )
        )
    assert auxiliary_loss is None
    assert wanted.std() > 0.1
    torch.testing.assert_close(torch.from_numpy(log_odds(model, cases, histories)), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_request_equals_an_example_and_candidates_are_independent(name: str, log: Sequences) -> None:
    """From live item histories, after the last event, one by one and together, twice (from cached states)."""
    ranker, now = make_ranker(name, log), 2000 * HOUR
    candidates = np.arange(V)
    times = np.full(len(log), now)
    cases = ClickExamples(log, times, np.tile(candidates, (len(log), 1)), np.zeros((len(log), V)), times)
    wanted = ranker.calibration(log_odds(ranker.net, cases, ItemHistories.from_sequences(log, V)))
    for b in range(6):
        for _ in range(2):
            probabilities = ranker.probability(log.take([b]), candidates, now)
            assert probabilities.dtype == np.float64
            assert probabilities[0] == 0.0
            np.testing.assert_allclose(probabilities[1:], wanted[b, 1:], atol=1e-5)
        alone = ranker.probability(log.take([b]), candidates[7:8], now)
        np.testing.assert_allclose(alone, probabilities[7:8], atol=1e-6)
    assert ranker.probability(log.take([0]), candidates[:0], now).shape == (0,)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_after_save_and_load(name: str, log: Sequences) -> None:
    ranker = make_ranker(name, log)
    restored = restore_ranker(name, ranker.arrays(), CONFIGS[name])
    assert (restored.name, restored.size) == (name, V)
    request = (log.take([3]), np.arange(1, V), 500 * HOUR)
    np.testing.assert_array_equal(restored.probability(*request), ranker.probability(*request))


@pytest.mark.parametrize("name", CONFIGS)
def test_events_at_or_after_the_query_time_are_ignored(name: str, log: Sequences, cases: ClickExamples) -> None:
    """Changed events from the query time on change no score. Changed events before it change the dual GRU's."""
    ranker = make_ranker(name, log)
    query_time = 400 * HOUR
    examples = ClickExamples(
        cases.histories, np.full(len(log), query_time), cases.candidates_BC, cases.labels_BC, cases.groups_B
    )
    assert log.times is not None
    changed = {}
    for period, is_changed_M in (("later", log.times >= query_time), ("earlier", log.times < query_time)):
        items = np.where(is_changed_M, log.items % (V - 4) + 1, log.items).astype(np.int32)
        changed[period] = ItemHistories.from_sequences(Sequences(items, log.times, log.starts, log.stops), V)
    base = log_odds(ranker.net, examples, ItemHistories.from_sequences(log, V))
    np.testing.assert_array_equal(log_odds(ranker.net, examples, changed["later"]), base)
    assert (log_odds(ranker.net, examples, changed["earlier"]) != base).any() == (name == "dual-gru")


def test_an_event_changes_later_scores_and_no_earlier_ones(log: Sequences) -> None:
    ranker, history = make_ranker("dual-gru", log), log.take([3])
    now, new = 2000 * HOUR, V - 1
    before = ranker.probability(history, np.array([new, 5]), now)
    ranker.observe(log.take([4]), new, now)
    at_the_same_time = ranker.probability(history, np.array([new, 5]), now)
    after = ranker.probability(history, np.array([new, 5]), now + HOUR)
    other_ranker = make_ranker("dual-gru", log)
    other_ranker.observe(log.take([4]), new, now)
    np.testing.assert_array_equal(at_the_same_time, before)
    assert abs(after[0] - before[0]) > 1e-3
    np.testing.assert_allclose(after, other_ranker.probability(history, np.array([new, 5]), now + HOUR), atol=1e-6)
    make_ranker("din", log).observe(log.take([4]), new, now)  # keeps no item histories


def test_evicted_states_are_recomputed(log: Sequences) -> None:
    """A cache of three items, requests for many: scores equal those without cached states."""
    ranker = make_ranker("dual-gru", log)
    item_histories, net = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log, V), 4), ranker.net
    small_cache = ItemStateCache(net, item_histories, max_items=3)  # type: ignore[arg-type]
    rng = np.random.default_rng(5)
    now = 2000 * HOUR
    for step in range(30):
        items = rng.integers(1, V, rng.integers(1, 7))
        if step % 3 == 0:
            small_cache.observe(log.take([2]), int(items[0]), now + step)
        ranker_input = encode_histories(log.take([6]), np.array([now + 99]), items[None], 6)
        empty_cache = ItemStateCache(net, item_histories, max_items=3)  # type: ignore[arg-type]
        np.testing.assert_allclose(
            small_cache.log_odds(ranker_input, now + 99), empty_cache.log_odds(ranker_input, now + 99), atol=1e-5
        )


def test_a_candidate_with_dropped_history_equals_a_new_item(log: Sequences, cases: ClickExamples) -> None:
    """With ``unknown_item_share`` close to 1, every candidate in training has an empty item history."""
    config = DualGRUConfig(
        embedding_dim=8, state_dim=5, max_length=6, item_history_length=4, dropout=0.0, unknown_item_share=0.999
    )
    net = build_ranker_net(config, log, V, seed=0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.3)
        dropped, _ = net.train()(encode_examples(cases, 6, ItemHistories.from_sequences(log, V), 4))
        no_events = ItemHistories.from_sequences(Sequences.from_lists([[]], [[]]), V)
        wanted, _ = net.eval()(encode_examples(cases, 6, no_events, 4))
        with_events, _ = net(encode_examples(cases, 6, ItemHistories.from_sequences(log, V), 4))
    torch.testing.assert_close(dropped, wanted)
    assert (with_events - wanted).abs().max() > 0.1


def test_an_unrankable_request_is_refused_with_a_reason(log: Sequences) -> None:
    ranker = make_ranker("pooled", log)
    with pytest.raises(ValueError) as error:
        ranker.probability(log, np.array([1]), 0)
    assert str(error.value) == "A request ranks for one history, got 40."
    with pytest.raises(ValueError) as error:
        ranker.probability(log.take([0]), np.array([1, V]), 0)
    assert str(error.value) == "Candidate 31 is not in the catalog of 30 items."


@pytest.mark.parametrize(
    ("config", "values", "sentence"),
    [
        (PooledRankerConfig, {"embedding_dim": 0}, "embedding_dim must be at least 1, got 0."),
        (PooledRankerConfig, {"dropout": 1.0}, "dropout must be in [0, 1), got 1.0."),
        (DINConfig, {"attention_units": 0}, "attention_units must be at least 1, got 0."),
        (DIENConfig, {"auxiliary_loss_weight": -1.0}, "auxiliary_loss_weight must be at least 0, got -1.0."),
        (
            DualGRUConfig,
            {"item_history_length": 0},
            "item_history_length must be at least 1, got 0.",
        ),
        (DualGRUConfig, {"unknown_item_share": 1.0}, "unknown_item_share must be in [0, 1), got 1.0."),
    ],
)
def test_a_wrong_setting_is_named(config: type, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        config(**values)
    assert str(error.value) == sentence
