"""Items without any event: weighed by what is known of them; by hand, and in a shop whose rule is known."""

import math

import numpy as np
import polars as pl
import pytest
from tests.support.ring import ITEMS, asked, saved, walks

from segue.data.catalog import PAD, Catalog
from segue.data.evaluation_cases import Split
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.models.counting.popularity import Popularity, PopularityConfig
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
"""The one item that nobody has taken."""


def source(scorer: object, take: int = 9) -> CandidateSource:
    return CandidateSource(scorer, SourceConfig(model=scorer.name, num_candidates=take))


def two_sources() -> list[CandidateSource]:
    """One that counts, and one that knows items by name."""
    log = Sequences.from_lists([[1, 2, 3]])
    return [source(Popularity.fit(log, 5, PopularityConfig())), source(FixedListSource(np.array([1, 4]), 5))]


def test_a_score_by_hand():
    """Sources 1 and 2 count; in the second case source 2 serves nobody, which is as little as it can say."""
    told = ColdStartScorer(np.array([1, 2]), np.array([2.0, 0.5]), -1.0)
    first = [[9.0, 9.0, -1.0, -0.7, -2.0, 0.0], [9.0, 9.0, 0.0, 0.0, 0.0, -0.7]]
    second = [[9.0, 9.0, -1.0, -0.7, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0, 0.0, 0.0]]
    signals = np.array([first, second])
    assert told.scores(signals).tolist() == [[-4.0, -1.0], [-8.0, -6.0]]
    assert told.rescaled(2.0, 3.0).scores(signals)[0].tolist() == [-5.0, 1.0]


def test_only_sources_that_know_of_items_without_events_are_asked():
    assert sources_with_item_features(two_sources()).tolist() == [1]
    assert sources_with_item_features(two_sources()[:1]).tolist() == []


def test_newcomers_are_where_the_popularity_is_zero():
    signals = np.zeros((1, 3, 2 * 2 + len(ITEM_FEATURES) + len(CONTEXT_FEATURES)))
    signals[0, :, 4] = [0.7, 0.0, 1.1]
    assert is_cold(signals, 2).tolist() == [[False, True, False]]


def test_the_level_at_which_newcomers_come_as_often_as_they_did():
    """Two cases: the newcomer has chances of 1/2 and 1/4; it is expected .75 times and came twice."""
    new = np.array([[True, False, False], [True, False, False]])
    there = np.array([[True, True, False], [True, True, True]])
    scores = np.log([[1.0, 1.0, 7.0], [1.0, 1.0, 2.0]])
    assert cold_start_offset(new, there, scores, 2) == pytest.approx(math.log(3 / 1.75))
    assert cold_start_offset(np.zeros_like(new), there, scores, 0) == 0.0


def test_the_weights_of_people_who_choose_by_facts_are_found():
    """People choose by 2 x (the level of the second source); an item with a past has exactly that score."""
    rng = np.random.default_rng(0)
    signals = np.zeros((4000, 6, 4 + len(ITEM_FEATURES) + len(CONTEXT_FEATURES)), dtype=np.float32)
    signals[:, :, 2] = rng.normal(size=(4000, 6))
    signals[:, :, 3] = -0.1
    scores = 2.0 * signals[:, :, 2].astype(np.float64) + 5.0
    target = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    there = np.ones(scores.shape, dtype=bool)
    cases = RankingCases(signals, there, target, scores)
    few = RankingCases(signals[:9], there[:9], target[:9], scores[:9])
    told = fit_cold_start_scorer(cases, two_sources(), 0)
    assert told.sources_K.tolist() == [1]
    np.testing.assert_allclose(told.scores(signals), scores, atol=0.3)
    assert fit_cold_start_scorer(cases, two_sources()[:1], 0) is None
    assert fit_cold_start_scorer(few, two_sources(), 0) is None


def shop(came: float) -> Split:
    """The ring, where each item has a word in common with its neighbors, and a newcomer that is like item 10. In the
    cases after the training, it is taken in so many of the times in which item 10 would have been."""
    train, validation, test = walks(400, 1), walks(800, 2), walks(400, 3)
    rng = np.random.default_rng(4)
    cases = asked(validation)
    instead = (cases.targets == 10) & (rng.random(len(cases)) < came)
    cases.targets[instead] = NEW
    catalog = Catalog(f"item {i}" for i in range(1, NEW + 1))
    like = [*range(1, ITEMS + 1), 10]
    rows = [{"item_id": f"item {i + 1}", "tags": f"w{k} w{k % ITEMS + 1}"} for i, k in enumerate(like)]
    facts = read_items(pl.DataFrame(rows), column_types={"tags": "text"}).item_features(catalog)
    return Split("none", catalog, train, cases, train, asked(test), False, "", "", facts)


CONFIG = {
    "source": [
        {"model": "markov", "num_candidates": 10},
        {"model": "covisit", "num_candidates": 20},
        {"model": "content-knn", "num_candidates": 5, "max_history": 1, "settings": {"columns": ["tags"]}},
    ],
    "rank": {"method": "none"},
}


def chances(pipeline: Pipeline, *histories: list[int]) -> np.ndarray:
    """Of items 10 and 31, [B, 2]."""
    rows = Sequences.from_lists([[10, NEW]] * len(histories))
    return np.array(pipeline.probabilities(Sequences.from_lists(histories), rows))


def test_a_newcomer_is_judged_by_what_it_is_like(tmp_path):
    fitted = fit_pipeline(shop(came=0.5), decode_pipeline(CONFIG))
    pipeline = fitted.scorer
    near, far = chances(pipeline, [7, 8, 9], [18, 19, 20])
    assert 0.2 < near[1] / near[0] < 5
    assert far[1] < near[1] / 5
    again = saved(fitted, Catalog(f"item {i}" for i in range(1, NEW + 1)), tmp_path / "run")
    np.testing.assert_allclose(chances(again, [7, 8, 9]), [near], rtol=1e-12)


def test_newcomers_that_never_come_are_expected_as_seldom():
    often, never = (fit_pipeline(shop(came), decode_pipeline(CONFIG)).scorer for came in (0.5, 0.0))
    history = [7, 8, 9]
    assert chances(never, history)[0, 1] < chances(often, history)[0, 1] / 3
    assert chances(never, history)[0, 0] > 0.5


def test_without_a_source_that_knows_nothing_changes():
    config = decode_pipeline({**CONFIG, "source": CONFIG["source"][:2]})
    assert fit_pipeline(shop(came=0.0), config).scorer.scoring.cold_start is None


def test_pad_is_no_newcomer():
    fitted = fit_pipeline(shop(came=0.5), decode_pipeline(CONFIG)).scorer
    found, scores = fitted.score_candidates(Sequences.from_lists([[7, 8, 9], [], [20]]))
    assert isinstance(found, CandidateSet)
    assert (scores[found.items_BC == PAD] == -np.inf).all()
