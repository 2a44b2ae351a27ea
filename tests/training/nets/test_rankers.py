"""The rankers' nets: served twin = trained net, candidates do not see each other, kept states = fresh ones."""

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
    return Sequences.from_lists([rng.integers(1, V - 3, n) for n in lengths], times)  # three items without a past


@pytest.fixture(scope="module")
def cases(log: Sequences) -> ClickExamples:
    """Histories of 0 to 14 events, moments in the middle of what is known of items, PAD among the candidates."""
    rng = np.random.default_rng(1)
    candidates = rng.integers(0, V, (len(log), 5)).astype(np.int32)
    moments = rng.integers(0, 1100, len(log)) * HOUR
    return ClickExamples(log, moments, candidates, candidates == 1, np.arange(len(log)))


def shaken(name: str, log: Sequences) -> RankerNet:
    """A net whose every parameter matters."""
    net = build_ranker_net(CONFIGS[name], log, V, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return net


def served(name: str, log: Sequences) -> NeuralRanker:
    twin = RANKERS[name].net(shaken(name, log).weights(), CONFIGS[name])
    memory = (
        LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log, V), twin.item_history_length)
        if twin.item_history_length
        else None
    )
    return NeuralRanker(name, twin, memory, Calibration(np.zeros(1), np.array([0.3]), (0.7, 0.7)))


@pytest.mark.parametrize("name", CONFIGS)
def test_served_twin_equals_net(name: str, log: Sequences, cases: ClickExamples) -> None:
    net, twin, past = shaken(name, log), served(name, log).net, ItemHistories.from_sequences(log, V)
    with torch.no_grad():
        wanted, extra = net(
            encode_examples(
                cases, twin.max_length, past if twin.item_history_length else None, twin.item_history_length
            )
        )
    assert extra is None
    assert wanted.std() > 0.1
    torch.testing.assert_close(torch.from_numpy(log_odds(twin, cases, past)), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_request_equals_a_case_and_no_candidate_sees_another(name: str, log: Sequences) -> None:
    """Served from the live memory, after the last event, one by one and together, twice (states are then kept)."""
    ranker, now = served(name, log), 2000 * HOUR
    candidates = np.arange(V)
    moments = np.full(len(log), now)
    cases = ClickExamples(log, moments, np.tile(candidates, (len(log), 1)), np.zeros((len(log), V)), moments)
    wanted = ranker.calibration(log_odds(ranker.net, cases, ItemHistories.from_sequences(log, V)))
    for b in range(6):
        for _ in range(2):
            found = ranker.probability(log.take([b]), candidates, now)
            assert found.dtype == np.float64
            assert found[0] == 0.0
            np.testing.assert_allclose(found[1:], wanted[b, 1:], atol=1e-5)
        alone = ranker.probability(log.take([b]), candidates[7:8], now)
        np.testing.assert_allclose(alone, found[7:8], atol=1e-6)
    assert ranker.probability(log.take([0]), candidates[:0], now).shape == (0,)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_after_save_and_load(name: str, log: Sequences) -> None:
    ranker = served(name, log)
    again = restore_ranker(name, ranker.arrays(), CONFIGS[name])
    assert (again.name, again.size) == (name, V)
    asked = (log.take([3]), np.arange(1, V), 500 * HOUR)
    np.testing.assert_array_equal(again.probability(*asked), ranker.probability(*asked))


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_at_or_after_the_moment_is_known(name: str, log: Sequences, cases: ClickExamples) -> None:
    """Other events from the earliest moment of asking on: no answer changes. One before it: the dual GRU's does."""
    ranker = served(name, log)
    moment = 400 * HOUR
    asked = ClickExamples(
        cases.histories, np.full(len(log), moment), cases.candidates_BC, cases.labels_BC, cases.groups_B
    )
    assert log.times is not None
    changed = {}
    for kind, where in (("later", log.times >= moment), ("earlier", log.times < moment)):
        items = np.where(where, log.items % (V - 4) + 1, log.items).astype(np.int32)
        changed[kind] = ItemHistories.from_sequences(Sequences(items, log.times, log.starts, log.stops), V)
    base = log_odds(ranker.net, asked, ItemHistories.from_sequences(log, V))
    np.testing.assert_array_equal(log_odds(ranker.net, asked, changed["later"]), base)
    assert (log_odds(ranker.net, asked, changed["earlier"]) != base).any() == (name == "dual-gru")


def test_an_event_changes_the_next_answer_and_no_earlier_one(log: Sequences) -> None:
    ranker, person = served("dual-gru", log), log.take([3])
    now, new = 2000 * HOUR, V - 1
    before = ranker.probability(person, np.array([new, 5]), now)
    ranker.observe(log.take([4]), new, now)
    at_the_moment = ranker.probability(person, np.array([new, 5]), now)
    after = ranker.probability(person, np.array([new, 5]), now + HOUR)
    fresh = served("dual-gru", log)
    fresh.observe(log.take([4]), new, now)
    np.testing.assert_array_equal(at_the_moment, before)
    assert abs(after[0] - before[0]) > 1e-3
    np.testing.assert_allclose(after, fresh.probability(person, np.array([new, 5]), now + HOUR), atol=1e-6)
    served("din", log).observe(log.take([4]), new, now)  # has nothing to remember


def test_kept_states_give_way_and_stay_right(log: Sequences) -> None:
    """Room for three items, requests for many: every answer is as if nothing had been kept."""
    ranker = served("dual-gru", log)
    memory, net = LiveItemHistories.from_item_histories(ItemHistories.from_sequences(log, V), 4), ranker.net
    tight = ItemStateCache(net, memory, max_items=3)  # type: ignore[arg-type]
    rng = np.random.default_rng(5)
    now = 2000 * HOUR
    for step in range(30):
        items = rng.integers(1, V, rng.integers(1, 7))
        if step % 3 == 0:
            tight.observe(log.take([2]), int(items[0]), now + step)
        seen = encode_histories(log.take([6]), np.array([now + 99]), items[None], 6)
        plain = ItemStateCache(net, memory, max_items=3)  # type: ignore[arg-type]
        np.testing.assert_allclose(tight.log_odds(seen, now + 99), plain.log_odds(seen, now + 99), atol=1e-5)


def test_a_candidate_that_is_taken_for_unknown_is_like_a_new_item(log: Sequences, cases: ClickExamples) -> None:
    """With ``unknown`` so near to 1 that every candidate is meant, training sees items without any past."""
    config = DualGRUConfig(
        embedding_dim=8, state_dim=5, max_length=6, item_history_length=4, dropout=0.0, unknown_item_share=0.999
    )
    net = build_ranker_net(config, log, V, seed=0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.3)
        found, _ = net.train()(encode_examples(cases, 6, ItemHistories.from_sequences(log, V), 4))
        nothing = ItemHistories.from_sequences(Sequences.from_lists([[]], [[]]), V)
        wanted, _ = net.eval()(encode_examples(cases, 6, nothing, 4))
        known, _ = net(encode_examples(cases, 6, ItemHistories.from_sequences(log, V), 4))
    torch.testing.assert_close(found, wanted)
    assert (known - wanted).abs().max() > 0.1


def test_what_cannot_be_ranked_is_said(log: Sequences) -> None:
    ranker = served("pooled", log)
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
