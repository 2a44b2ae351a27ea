"""Capability protocols: which models declare them, and that they agree with ``Scorer.scores``."""

import numpy as np
import pytest
from tests.models.retrieval.test_retriever import SIZE, network

from segue.data.sequences import Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.counting.popularity import Popularity, PopularityConfig
from segue.models.decoder_state import FullRescore, initial_state
from segue.models.forecasting.trend import Trend, TrendConfig
from segue.models.knn.item_knn import ItemKNN, ItemKNNConfig
from segue.models.neural.covisitation_prior import CombinedState, WithCovisitationPrior
from segue.models.neural.neural_scorer import NetworkState, find_network
from segue.models.scorer import (
    ColdItemScorer,
    EmbeddingScorer,
    IncrementalScorer,
    SparseScorer,
    StaticScorer,
    VectorScorer,
)

LOG = Sequences.from_lists([[1, 2, 3, 4], [2, 3, 5], [5, 1, 2]])
HISTORIES = Sequences.from_lists([[1, 2], [5], []])
COVISIT = CoVisit.fit(Sequences.from_lists([[1, 2, 3]]), SIZE, CoVisitConfig())


@pytest.mark.parametrize(
    "scorer", [Popularity.fit(LOG, 6, PopularityConfig()), Trend.fit(LOG, 6, TrendConfig())], ids=lambda s: s.name
)
def test_static_scores_are_the_scores_of_every_history(scorer):
    assert isinstance(scorer, StaticScorer)
    np.testing.assert_array_equal(np.tile(scorer.static_scores(), (3, 1)), scorer.scores(HISTORIES))


@pytest.mark.parametrize(
    "scorer", [CoVisit.fit(LOG, 6, CoVisitConfig()), ItemKNN.fit(LOG, 6, ItemKNNConfig())], ids=lambda s: s.name
)
def test_lifts_and_popularity_are_the_scores(scorer):
    assert isinstance(scorer, SparseScorer) and not isinstance(scorer, StaticScorer)
    scores_V = scorer.popularity_V.copy()
    items, lifts = scorer.lifts(np.array([1, 2]))
    scores_V[items] += lifts
    np.testing.assert_allclose(scores_V[1:], scorer.scores(HISTORIES)[0, 1:], rtol=1e-6)


@pytest.mark.parametrize("temperature", [None, 0.07])
def test_products_of_queries_and_keys_are_the_scores(temperature):
    scorer = network(temperature)
    assert isinstance(scorer, VectorScorer)
    histories = Sequences.from_lists([[1, 2], [7, 5, 9]])
    query_BD, key_VD = scorer.queries(histories)
    np.testing.assert_allclose((query_BD @ key_VD.T)[:, 1:], scorer.scores(histories)[:, 1:], rtol=1e-4, atol=1e-4)


def test_a_network_with_a_covisitation_model_has_embeddings_but_no_vector_scores():
    plain = network(0.07)
    scorer = WithCovisitationPrior(plain, COVISIT, 0.5)
    assert not isinstance(scorer, VectorScorer) and not isinstance(scorer, SparseScorer)
    assert isinstance(scorer, EmbeddingScorer) and isinstance(scorer, ColdItemScorer)
    assert scorer.item_embeddings is plain.keys_VD
    assert not scorer.scores_cold_items
    assert find_network(scorer) is find_network(plain) is plain
    assert find_network(COVISIT) is None


def test_decoder_states_by_model():
    histories = Sequences.from_lists([[1, 2]])
    plain, markov = network(0.07), Markov.fit(LOG, 6, MarkovConfig())
    assert isinstance(plain, IncrementalScorer) and not isinstance(markov, IncrementalScorer)
    assert isinstance(initial_state(plain, histories), NetworkState)
    assert isinstance(initial_state(WithCovisitationPrior(plain, COVISIT, 0.5), histories), CombinedState)
    assert isinstance(initial_state(markov, histories), FullRescore)
    assert isinstance(initial_state(plain, Sequences.from_lists([[]])), FullRescore)
