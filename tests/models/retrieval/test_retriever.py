"""A served model's lists against the plain way, ``top_k`` of its scores."""

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


def assert_same_lists(found, wanted):
    """Equal item by item, but for neighbors whose scores differ by less than a float32 product's rounding."""
    np.testing.assert_allclose(found[1], wanted[1], rtol=2e-5, atol=2e-5)
    other = found[0] != wanted[0]
    for b in np.flatnonzero(other.any(axis=1)):
        assert sorted(found[0][b]) == sorted(wanted[0][b])
        for item in found[0][b][other[b]]:
            apart = found[1][b][found[0][b] == item] - wanted[1][b][wanted[0][b] == item]
            assert abs(apart[0]) < 2e-5
    assert other.mean() < 1e-3


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("temperature", [None, 0.07])
def test_blocks_and_rows_give_the_lists_of_all_scores(log, temperature, weight):
    prior = CoVisit.fit(log, SIZE, CoVisitConfig())
    scorer = WithCovisitationPrior(network(temperature), prior, weight)
    rng = np.random.default_rng(2)
    histories = [rng.integers(0, SIZE, rng.integers(0, 15)).tolist() for _ in range(60)] + [[], [PAD]]
    questions = [
        RetrievalQuery(h, [*h, 7, 7], None if b % 3 else rng.integers(0, SIZE, 300)) for b, h in enumerate(histories)
    ]
    wanted = []
    for one in questions:
        allowed_V = None
        if one.allow is not None:
            allowed_V = np.zeros(SIZE, dtype=bool)
            allowed_V[one.allow] = True
        row = scorer.scores(Sequences.from_lists([one.history]))
        wanted.append(top_k(row, 15, exclude=Sequences.from_lists([one.exclude]), allowed_V=allowed_V))
    wanted = tuple(np.concatenate(part) for part in zip(*wanted, strict=True))
    rows, blocks = Retriever(scorer), Retriever(scorer, exact_search_min_items=1)
    known = Sequences.from_lists(histories).drop_unknown()
    for retrieval in (rows, blocks):
        assert_same_lists(retrieval.top_k(questions, 15), wanted)
        assert_same_lists(retrieval.top_k(questions, 15, retrieval.encode(known)), wanted)
    alone = [blocks.top_k([one], 15) for one in questions]
    assert_same_lists(tuple(np.concatenate(part) for part in zip(*alone, strict=True)), wanted)


def test_a_large_batch_of_all_scores_is_taken_in_parts(log, monkeypatch):
    scorer = CoVisit.fit(log, SIZE, CoVisitConfig())
    questions = [RetrievalQuery(log.items[i : i + 3].tolist()) for i in range(20)]
    whole = Retriever(scorer).top_k(questions, 5)
    monkeypatch.setattr("segue.models.retrieval.retriever._MAX_SCORE_BYTES", SIZE * 4 * 3)
    sizes = []
    plain = CoVisit.scores
    monkeypatch.setattr(CoVisit, "scores", lambda self, h: sizes.append(len(h)) or plain(self, h))
    parts = Retriever(scorer).top_k(questions, 5)
    assert sizes == [3] * 6 + [2]
    np.testing.assert_array_equal(whole[0], parts[0])


def test_newcomers_get_the_popular_items_in_the_order_of_top_k():
    scorer = network(0.07)
    blocks = Retriever(scorer, exact_search_min_items=1)
    wanted = top_k(scorer.start_V[None], 40, exclude=Sequences.from_lists([[5, 9]]))
    found = blocks.top_k([RetrievalQuery([], [5, 9])], 40)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])
    assert blocks.most_popular(4).tolist() == top_k(scorer.start_V[None], 4)[0][0].tolist()
