"""Candidate sources: visible history, served users and candidates; the built-in ones by hand."""

import re
import sys

import numpy as np
import pytest

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.top_k import top_k
from segue.pipeline.candidates import source
from segue.pipeline.candidates.builtin_sources import (
    FixedListConfig,
    FixedListSource,
    NewItemsConfig,
    NewItemsSource,
    RepeatConfig,
    RepeatSource,
)
from segue.pipeline.candidates.source import CandidateSource, last_session
from segue.pipeline.candidates.source_scores import AnnScores, DenseScores, ExactSearchScores
from segue.pipeline.candidates.vector_index import ExactIndex, HNSWIndex, measure_recall
from segue.pipeline.config import SourceConfig

DAY_US = 86_400_000_000
CATALOG = Catalog("abcde")
ROWS = Sequences.from_lists([[1, 2, 3], [2], [], [4, 1, 4]])


@pytest.fixture(scope="module")
def chain():
    return Markov.fit(Sequences.from_lists([[1, 2, 3, 4, 5]] * 3 + [[2, 4]]), 6, MarkovConfig())


def test_candidates_are_the_top_k_of_the_scorer(chain):
    allowed_V = np.array([True, True, False, True, True, True])
    lists = CandidateSource(chain, SourceConfig("markov")).candidates(ROWS, 3, allowed_V)
    items_BK, scores_BK = top_k(chain.scores(ROWS), 3, allowed_V=allowed_V)
    for ranked, items, scores in zip(lists, items_BK, scores_BK, strict=True):
        assert ranked.items_C.tolist() == items.tolist()
        np.testing.assert_allclose(ranked.scores_C, scores)
        assert ranked.sources == ("markov",)


def test_a_source_serves_users_by_their_number_of_events(chain):
    source = CandidateSource(chain, SourceConfig("markov", min_events=1, max_events=2))
    assert source.serves(Sequences.from_lists([[], [1], [PAD, PAD], [1, PAD, 2], [1, 2, 3]])).tolist() == [
        False, True, False, True, False,
    ]  # fmt: skip
    assert [len(ranked) for ranked in source.candidates(ROWS, 2)] == [0, 2, 0, 0]


def test_a_source_receives_the_newest_events_only(chain):
    source = CandidateSource(chain, SourceConfig("markov", max_history=1))
    np.testing.assert_array_equal(
        source.score_histories(ROWS).all_scores(), chain.scores(Sequences.from_lists([[3], [2], [], [4]]))
    )


@pytest.mark.parametrize("seed", range(4))
def test_static_scores_are_sorted_once_and_equal_dense_ones(seed):
    rng = np.random.default_rng(seed)
    scores_V = rng.integers(0, 9, 40).astype(np.float32)
    scores_V[rng.random(40) < 0.2] = -np.inf
    still, plain = (
        CandidateSource(NewItemsSource(scores_V), SourceConfig("new")),
        DenseScores(np.tile(scores_V, (4, 1))),
    )
    exclude = Sequences.from_lists([[1, 2, 3], [], rng.integers(0, 40, 30).tolist(), [5]])
    allowed_V = rng.random(40) < 0.5
    for banned, allowed in ((None, None), (exclude, None), (None, allowed_V), (exclude, allowed_V)):
        answer = still.score_histories(ROWS)
        for k in (1, 7, 39):
            np.testing.assert_array_equal(answer.top_k(k, banned, allowed), plain.top_k(k, banned, allowed))
    np.testing.assert_array_equal(answer.all_scores(), plain.all_scores())
    items_BC = rng.integers(0, 40, (4, 6))
    np.testing.assert_array_equal(answer.score_items(items_BC), plain.score_items(items_BC))


def test_the_last_session_begins_after_the_last_long_pause():
    rows = Sequences.from_lists([[1, 2, 3, 4, 5], [1], [], [1, 2]], [[0, 10, 100, 101, 105], [7], [], [200, 205]])
    seconds = Sequences(rows.items, rows.times * 1_000_000, rows.starts, rows.stops)
    assert last_session(seconds, 20.0).to_lists() == [[3, 4, 5], [1], [], [1, 2]]
    assert last_session(seconds, 3.0).to_lists() == [[5], [1], [], [2]]
    assert last_session(seconds, 90.0).to_lists() == rows.to_lists()
    visible = CandidateSource(
        RepeatSource(6, 1.0), SourceConfig("again", session_gap_s=20.0, max_history=2)
    ).visible_history(seconds)
    assert visible.to_lists() == [[4, 5], [1], [], [1, 2]]


def test_rows_without_times_are_one_session():
    assert last_session(ROWS, 1.0).to_lists() == ROWS.to_lists()


def test_again_gives_the_items_of_the_history():
    scores_BV = RepeatSource.fit(ROWS, CATALOG, RepeatConfig(decay=0.5)).scores(ROWS)
    assert scores_BV[0].tolist() == [-np.inf, 0.25, 0.5, 1.0, -np.inf, -np.inf]
    assert scores_BV[3].tolist() == [-np.inf, 0.5, -np.inf, -np.inf, 1.25, -np.inf]
    assert not np.isfinite(scores_BV[2]).any()


def test_new_items_have_a_recent_first_event_or_none():
    log = Sequences.from_lists([[1, 2, 2, 3]], [[0, 50 * DAY_US, 90 * DAY_US, 100 * DAY_US]])
    new = NewItemsSource.fit(log, CATALOG, NewItemsConfig(max_age_days=50.0, max_item_events=1))
    wanted = [-np.inf, -np.inf, -np.inf, 1 + np.log(2), 1.0, 1.0]
    np.testing.assert_allclose(new.scores(ROWS)[0], wanted, rtol=1e-6)
    wider = NewItemsSource.fit(log, CATALOG, NewItemsConfig(max_age_days=50.0, max_item_events=2))
    assert wider.scores(ROWS)[0, 2] == pytest.approx(0.5 * (1 + np.log(3)))


def test_in_a_log_without_times_only_items_without_events_are_new():
    new = NewItemsSource.fit(ROWS, CATALOG, NewItemsConfig())
    assert np.flatnonzero(np.isfinite(new.score_V)).tolist() == [5]


def test_a_list_keeps_its_order(tmp_path):
    file = tmp_path / "picks.txt"
    file.write_text("d\n\nno such item\nb\n", encoding="utf-8")
    for config in (FixedListConfig(file=str(file)), FixedListConfig(items=("d", "no such item", "b"))):
        listed = FixedListSource.fit(ROWS, CATALOG, config)
        assert listed.scores(ROWS)[1].tolist() == [-np.inf, -np.inf, 0.5, -np.inf, 1.0, -np.inf]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RepeatConfig(decay=0.0), "decay must be above 0 and at most 1, got 0.0."),
        (lambda: NewItemsConfig(max_age_days=0.0), "max_age_days must be above 0, got 0.0."),
        (lambda: NewItemsConfig(max_item_events=-1), "max_item_events must be at least 0, got -1."),
        (FixedListConfig, "A source of model list needs either items or a file."),
        (
            lambda: FixedListSource.fit(ROWS, CATALOG, FixedListConfig(items=("x", "y"))),
            "The catalog holds none of the list's 2 items.",
        ),
        (
            lambda: CandidateSource(RepeatSource(6, 1.0), SourceConfig("again"), HNSWIndex(None)),
            'The scores of again are no inner products, so they need index = "exact"; for a network with the co-visit '
            "rule beside it, set its prior to 0 and name covisit as a source of its own.",
        ),
    ],
)
def test_invalid_sources_are_refused(make, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make()


@pytest.fixture(scope="module")
def keys():
    return np.random.default_rng(4).normal(size=(500, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def index(keys):
    pytest.importorskip("faiss", reason="faiss (segue[ann]) is not installed")
    return HNSWIndex.build(keys)


def test_the_index_finds_the_items_of_an_exact_search(keys, index):
    query_BD = np.random.default_rng(5).normal(size=(20, 12)).astype(np.float32)
    true_BK = ExactIndex(keys).nearest(query_BD, 10)
    assert measure_recall(index, keys, query_BD, 10) > 0.95
    assert (index.nearest(query_BD, 10)[:, 0] == true_BK[:, 0]).mean() > 0.9
    assert index.nearest(query_BD[:1], 10).shape == (1, 10)


def test_recall_is_a_share(keys):
    class Half:
        def nearest(self, query_BD, k):
            found_BK = ExactIndex(keys).nearest(query_BD, k)
            found_BK[:, ::2] = PAD
            return found_BK

    assert measure_recall(Half(), keys, keys[1:9], 10) == 0.5


def test_saved_and_restored_are_equal(keys, index):
    again = HNSWIndex.restore(index.to_array(), keys)
    np.testing.assert_array_equal(again.nearest(keys[1:20], 7), index.nearest(keys[1:20], 7))


def test_a_foreign_index_is_refused(keys, index):
    """A link beyond the items would be read out of bounds; other types of index may name files."""
    import faiss

    saved = index.to_array()
    links = faiss.vector_to_array(index._graph.hnsw.neighbors)
    start = saved.tobytes().find(links.tobytes())
    for value in (len(keys), -2):
        wrong = saved.copy()
        wrong[start : start + 4] = np.frombuffer(np.array([value], np.int32).tobytes(), np.uint8)
        with pytest.raises(ValueError, match="is damaged"):
            HNSWIndex.restore(wrong, keys)
    with pytest.raises(ValueError, match="does not belong"):
        HNSWIndex.restore(saved, keys + 1)
    with pytest.raises(ValueError, match="is damaged"):
        HNSWIndex.restore(saved[: len(saved) // 2], keys)
    with pytest.raises(ValueError, match="is no HNSW index"):
        HNSWIndex.restore(faiss.serialize_index(faiss.IndexFlatIP(keys.shape[1])), keys)


def test_excluded_items_are_replaced(keys, index):
    """Where too many matches are excluded, the search is exact."""
    query_BD = keys[1:4]
    answer = AnnScores(query_BD, keys, index)
    exclude = Sequences.from_lists([[1, 5], [], [3]])
    allowed_V = np.zeros(500, dtype=bool)
    allowed_V[::9] = True
    for allowed in (None, allowed_V):
        want_BK = top_k(query_BD @ keys.T, 8, exclude=exclude, allowed_V=allowed)[0]
        found_BK = answer.top_k(8, exclude, allowed)
        assert np.mean(found_BK == want_BK) > 0.9
        assert allowed is None or allowed[found_BK].all()
    np.testing.assert_allclose(
        answer.score_items(want_BK), np.take_along_axis(query_BD @ keys.T, want_BK, 1), rtol=1e-5
    )
    np.testing.assert_allclose(answer.all_scores(), query_BD @ keys.T)


def test_a_k_above_the_search_width_is_found_too(keys, index):
    assert (index.nearest(keys[1:3], 400) != PAD).sum(axis=1).tolist() == [400, 400]


def test_without_faiss_there_is_a_sentence(keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"^An approximate index needs faiss: pip install 'segue\[ann\]'\.$"):
        HNSWIndex.build(keys)


def a_network(size: int, temperature: float | None) -> NeuralScorer:
    """Random weights; without a temperature every item has a bias, the last column of its row."""
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    layer = {"input": draw(24, 8), "input_bias": draw(24), "state": draw(24, 8), "state_bias": draw(24)}
    table_VD = draw(size, 8 + (temperature is None))
    return NeuralScorer("gru4rec", NumpyGRU([layer], 20), table_VD, draw(size), temperature=temperature)


@pytest.mark.parametrize("temperature", [0.1, None])
def test_a_large_catalog_is_searched_with_equal_results(temperature, monkeypatch):
    """With and without a filter, with excluded items, and for an empty history."""
    network, config = a_network(3000, temperature), SourceConfig(model="gru4rec")
    dense = CandidateSource(network, config)
    monkeypatch.setattr(source, "EXACT_SEARCH_MIN_ITEMS", 1000)
    searching = CandidateSource(network, config)
    rows = Sequences.from_lists([[1, 2, 3], [2], [4, 1, 4]])
    assert isinstance(dense.score_histories(rows), DenseScores) and isinstance(
        searching.score_histories(rows), ExactSearchScores
    )
    allowed_V = np.random.default_rng(1).random(3000) < 0.1
    for exclude in (None, rows):
        for allowed in (None, allowed_V):
            wanted, result = (one.score_histories(rows).top_k(50, exclude, allowed) for one in (dense, searching))
            np.testing.assert_array_equal(result, wanted)
    np.testing.assert_allclose(
        searching.score_histories(rows).score_items(wanted),
        dense.score_histories(rows).score_items(wanted),
        rtol=1e-4,
        atol=1e-4,
    )
    whole, scored = searching.score_histories(rows).all_scores(), dense.score_histories(rows).all_scores()
    np.testing.assert_allclose(whole[:, 1:], scored[:, 1:], rtol=1e-4, atol=1e-4)
    new_users = Sequences.from_lists([[], [1]])
    np.testing.assert_array_equal(*(one.score_histories(new_users).top_k(9, None, None) for one in (dense, searching)))


def test_the_filler_of_a_small_catalog_is_no_hit(keys):
    class Filler:
        def nearest(self, query_BD, k):
            return np.zeros((len(query_BD), k), dtype=np.int32)

    assert measure_recall(Filler(), keys[:6], keys[1:3], 10) == 0.0
