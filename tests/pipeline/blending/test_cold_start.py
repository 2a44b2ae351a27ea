"""Scores of items without events: by hand, and on a log of a known rule."""

import math

import numpy as np
import polars as pl
import pytest
from tests.support.ring import ITEMS, last_event_cases, saved, walks

from segue.data.catalog import PAD, Catalog
from segue.data.evaluation_cases import Split
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.models.counting.popularity import Popularity, PopularityConfig
from segue.models.probabilities.temperature_mixture import TemperatureMixture
from segue.pipeline.blending.cold_start import (
    ColdStartScorer,
    cold_start_offset,
    fit_cold_start_scorer,
    is_cold,
    sources_with_item_features,
)
from segue.pipeline.blending.features import CONTEXT_FEATURES, ITEM_FEATURES
from segue.pipeline.blending.ranking_cases import RankingCases
from segue.pipeline.candidates.builtin_sources import FixedListSource
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.config import SourceConfig, decode_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.workflows.train_pipeline import fit_pipeline

NEW = ITEMS + 1
"""The one item without events."""


def source(scorer: object, take: int = 9) -> CandidateSource:
    return CandidateSource(scorer, SourceConfig(model=scorer.name, num_candidates=take))


def two_sources() -> list[CandidateSource]:
    """One that counts, and one that knows items by name."""
    log = Sequences.from_lists([[1, 2, 3]])
    return [source(Popularity.fit(log, 5, PopularityConfig())), source(FixedListSource(np.array([1, 4]), 5))]


def test_a_score_by_hand():
    """Sources 1 and 2 count; in the second case source 2 does not serve the user, which counts as its lowest level."""
    scorer = ColdStartScorer(np.array([1, 2]), np.array([2.0, 0.5]), -1.0, TemperatureMixture())
    first = [[9.0, 9.0, -1.0, -0.7, -2.0, 0.0], [9.0, 9.0, 0.0, 0.0, 0.0, -0.7]]
    second = [[9.0, 9.0, -1.0, -0.7, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0, 0.0, 0.0]]
    features = np.array([first, second])
    assert scorer.scores(features).tolist() == [[-4.0, -1.0], [-8.0, -6.0]]
    assert scorer.shifted(3.0).scores(features)[0].tolist() == [-1.0, 2.0]


def test_the_share_of_a_cold_item_does_not_depend_on_the_temperature_of_the_others():
    """Weights 1 (two items with events together) and 3: the cold item has 3/4 at any temperature."""
    features = np.zeros((1, 4, 2))
    scores = np.array([[2.0, 1.0, 50.0, -np.inf]])
    is_cold = np.array([[False, False, True, False]])
    for temperature in (0.01, 1.0, 100.0):
        scorer = ColdStartScorer(np.array([0]), np.array([0.0]), math.log(3), TemperatureMixture(temperature))
        probabilities = TemperatureMixture().probabilities(scorer.join(scores, is_cold, features))
        assert probabilities[0, 2] == pytest.approx(0.75)
        assert probabilities[0, :2].sum() == pytest.approx(0.25)
        assert probabilities[0, 0] / probabilities[0, 1] == pytest.approx(math.exp(1 / temperature))
        assert probabilities[0, 3] == 0


def test_only_sources_of_cold_items_are_used():
    assert sources_with_item_features(two_sources()).tolist() == [1]
    assert sources_with_item_features(two_sources()[:1]).tolist() == []


def test_cold_items_have_a_popularity_of_zero():
    features = np.zeros((1, 3, 2 * 2 + len(ITEM_FEATURES) + len(CONTEXT_FEATURES)))
    features[0, :, 4] = [0.7, 0.0, 1.1]
    assert is_cold(features, 2).tolist() == [[False, True, False]]


def test_the_offset_expects_cold_items_as_often_as_they_are_targets():
    """Odds of the cold item of 1 and 1/3, and twice 1 of the added cases: 3x / (1 + x) + x / (3 + x) = 3."""
    is_cold = np.array([[True, False, False], [True, False, False]])
    is_candidate = np.array([[True, True, False], [True, True, True]])
    scores = np.log([[1.0, 1.0, 7.0], [1.0, 1.0, 2.0]])
    assert cold_start_offset(is_cold, is_candidate, scores, 2) == pytest.approx(math.log(1 + math.sqrt(10)))
    assert cold_start_offset(np.zeros_like(is_cold), is_candidate, scores, 0) == 0.0


def test_the_true_weights_of_cold_items_are_recovered():
    """Users choose by 2 x (the level of the second source); an item with events has exactly that score."""
    rng = np.random.default_rng(0)
    features = np.zeros((4000, 6, 4 + len(ITEM_FEATURES) + len(CONTEXT_FEATURES)), dtype=np.float32)
    features[:, :, 2] = rng.normal(size=(4000, 6))
    features[:, :, 3] = -0.1
    scores = 2.0 * features[:, :, 2].astype(np.float64) + 5.0
    target = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    is_candidate = np.ones(scores.shape, dtype=bool)
    cases = RankingCases(features, is_candidate, target, scores)
    few = RankingCases(features[:9], is_candidate[:9], target[:9], scores[:9])
    scorer = fit_cold_start_scorer(cases, two_sources(), TemperatureMixture(), 0)
    assert scorer.sources_K.tolist() == [1]
    np.testing.assert_allclose(scorer.scores(features), scores, atol=0.3)
    assert fit_cold_start_scorer(cases, two_sources()[:1], TemperatureMixture(), 0) is None
    assert fit_cold_start_scorer(few, two_sources(), TemperatureMixture(), 0) is None


def cold_split(cold_share: float) -> Split:
    """The ring, where each item shares a word with its neighbors, and a cold item that is similar to item 10.

    In the cases after training it replaces a share of the targets that are item 10.
    """
    train, validation, test = walks(400, 1), walks(800, 2), walks(400, 3)
    rng = np.random.default_rng(4)
    cases = last_event_cases(validation)
    instead = (cases.targets == 10) & (rng.random(len(cases)) < cold_share)
    cases.targets[instead] = NEW
    catalog = Catalog(f"item {i}" for i in range(1, NEW + 1))
    like = [*range(1, ITEMS + 1), 10]
    rows = [{"item_id": f"item {i + 1}", "tags": f"w{k} w{k % ITEMS + 1}"} for i, k in enumerate(like)]
    facts = read_items(pl.DataFrame(rows), column_types={"tags": "text"}).item_features(catalog)
    return Split("none", catalog, train, cases, train, last_event_cases(test), False, "", "", facts)


CONFIG = {
    "source": [
        {"model": "markov", "num_candidates": 10},
        {"model": "covisit", "num_candidates": 20},
        {"model": "content-knn", "num_candidates": 5, "max_history": 1, "settings": {"columns": ["tags"]}},
    ],
    "rank": {"method": "none"},
}


def probabilities(pipeline: Pipeline, *histories: list[int]) -> np.ndarray:
    """Of items 10 and 31, [B, 2]."""
    rows = Sequences.from_lists([[10, NEW]] * len(histories))
    return np.array(pipeline.probabilities(Sequences.from_lists(histories), rows))


def test_a_cold_item_is_scored_by_similar_items(tmp_path):
    fitted = fit_pipeline(cold_split(cold_share=0.5), decode_pipeline(CONFIG))
    pipeline = fitted.scorer
    near, far = probabilities(pipeline, [7, 8, 9], [18, 19, 20])
    # After items 9, 10 and 11, which are like it, it is the target in an eighth of the cases; content has no direction.
    assert 0.08 < near[1] < 0.2
    assert 0.15 < near[1] / near[0] < 5
    assert far[1] < near[1] / 5
    again = saved(fitted, Catalog(f"item {i}" for i in range(1, NEW + 1)), tmp_path / "run")
    np.testing.assert_allclose(probabilities(again, [7, 8, 9]), [near], rtol=1e-12)


def test_cold_items_are_expected_as_often_as_they_are_targets():
    split = cold_split(cold_share=0.5)
    pipeline = fit_pipeline(split, decode_pipeline(CONFIG)).scorer
    expected = 0.0
    for _, candidates, probabilities_BC in pipeline.iter_probabilities(split.validation.histories):
        expected += probabilities_BC[candidates.items_BC == NEW].sum()
    assert expected == pytest.approx((split.validation.targets == NEW).sum(), rel=0.25)


def test_cold_items_that_are_no_targets_are_expected_rarely():
    often, never = (fit_pipeline(cold_split(cold_share), decode_pipeline(CONFIG)).scorer for cold_share in (0.5, 0.0))
    history = [7, 8, 9]
    assert probabilities(never, history)[0, 1] < probabilities(often, history)[0, 1] / 3
    assert probabilities(never, history)[0, 0] > 0.5


def test_without_a_source_of_cold_items_there_is_no_scorer():
    config = decode_pipeline({**CONFIG, "source": CONFIG["source"][:2]})
    assert fit_pipeline(cold_split(cold_share=0.0), config).scorer.scoring.cold_start is None


def test_pad_is_no_cold_item():
    fitted = fit_pipeline(cold_split(cold_share=0.5), decode_pipeline(CONFIG)).scorer
    candidates, scores = fitted.score_candidates(Sequences.from_lists([[7, 8, 9], [], [20]]))
    assert isinstance(candidates, CandidateSet)
    assert (scores[candidates.items_BC == PAD] == -np.inf).all()
