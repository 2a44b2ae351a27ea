"""Lists of the retriever against ``top_k`` of all scores."""

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.models.top_k import top_k

SIZE, DIM = 3000, 12


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(0)
    return Sequences.from_lists([(rng.zipf(1.3, 12) % (SIZE - 1) + 1).tolist() for _ in range(800)])


def network(temperature, seed=1):
    rng = np.random.default_rng(seed)
    layer = {"input": (36, DIM), "state": (36, DIM), "input_bias": (36,), "state_bias": (36,)}
    gru = NumpyGRU([{name: draw(rng, shape) for name, shape in layer.items()}], 8)
    table_VD = draw(rng, (SIZE, DIM + (temperature is None)))
    start_V = rng.integers(0, 50, SIZE).astype(np.float32)
    return NeuralScorer("gru4rec", gru, table_VD, start_V, temperature=temperature)


def draw(rng, shape):
    return (rng.standard_normal(shape) * 0.5).astype(np.float32)


def assert_same_lists(lists, expected):
    """Equal item by item, but for neighbors whose scores differ by less than a float32 product's rounding."""
    np.testing.assert_allclose(lists[1], expected[1], rtol=2e-5, atol=2e-5)
    other = lists[0] != expected[0]
    for b in np.flatnonzero(other.any(axis=1)):
        assert sorted(lists[0][b]) == sorted(expected[0][b])
        for item in lists[0][b][other[b]]:
            apart = lists[1][b][lists[0][b] == item] - expected[1][b][expected[0][b] == item]
            assert abs(apart[0]) < 2e-5
    assert other.mean() < 1e-3


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("temperature", [None, 0.07])
def test_search_and_scoring_give_the_lists_of_all_scores(log, temperature, weight):
    prior = CoVisit.fit(log, SIZE, CoVisitConfig())
    scorer = WithCovisitationPrior(network(temperature), prior, weight)
    rng = np.random.default_rng(2)
    histories = [rng.integers(0, SIZE, rng.integers(0, 15)).tolist() for _ in range(60)] + [[], [PAD]]
    queries = [
        RetrievalQuery(h, [*h, 7, 7], None if b % 3 else rng.integers(0, SIZE, 300)) for b, h in enumerate(histories)
    ]
    expected = []
    for query in queries:
        allowed_V = None
        if query.allow is not None:
            allowed_V = np.zeros(SIZE, dtype=bool)
            allowed_V[query.allow] = True
        row = scorer.scores(Sequences.from_lists([query.history]))
        expected.append(top_k(row, 15, exclude=Sequences.from_lists([query.exclude]), allowed_V=allowed_V))
    expected = tuple(np.concatenate(part) for part in zip(*expected, strict=True))
    scoring, searching = Retriever(scorer), Retriever(scorer, exact_search_min_items=1)
    known = Sequences.from_lists(histories).drop_unknown()
    for retriever in (scoring, searching):
        assert_same_lists(retriever.top_k(queries, 15), expected)
        assert_same_lists(retriever.top_k(queries, 15, retriever.encode(known)), expected)
    alone = [searching.top_k([query], 15) for query in queries]
    assert_same_lists(tuple(np.concatenate(part) for part in zip(*alone, strict=True)), expected)


def test_a_large_batch_of_scores_is_split(log, monkeypatch):
    scorer = CoVisit.fit(log, SIZE, CoVisitConfig())
    queries = [RetrievalQuery(log.items[i : i + 3].tolist()) for i in range(20)]
    whole = Retriever(scorer).top_k(queries, 5)
    monkeypatch.setattr("segue.models.retrieval.retriever._MAX_SCORE_BYTES", SIZE * 4 * 3)
    sizes = []
    plain = CoVisit.scores
    monkeypatch.setattr(CoVisit, "scores", lambda self, h: sizes.append(len(h)) or plain(self, h))
    parts = Retriever(scorer).top_k(queries, 5)
    assert sizes == [3] * 6 + [2]
    np.testing.assert_array_equal(whole[0], parts[0])


def test_empty_histories_get_popular_items_in_the_order_of_top_k():
    scorer = network(0.07)
    searching = Retriever(scorer, exact_search_min_items=1)
    expected = top_k(scorer.start_V[None], 40, exclude=Sequences.from_lists([[5, 9]]))
    lists = searching.top_k([RetrievalQuery([], [5, 9])], 40)
    np.testing.assert_array_equal(lists[0], expected[0])
    np.testing.assert_array_equal(lists[1], expected[1])
    assert searching.most_popular(4).tolist() == top_k(scorer.start_V[None], 4)[0][0].tolist()
