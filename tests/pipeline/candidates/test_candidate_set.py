"""Merge of the sources' candidates against a loop; sources and features against numbers by hand."""

import numpy as np
import pytest

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.pipeline.blending.features import MIN_SHARE, ScoreScales, blend_features, feature_names
from segue.pipeline.candidates.builtin_sources import FixedListConfig, FixedListSource, RepeatSource
from segue.pipeline.candidates.candidate_set import RRF_CONSTANT, generate_candidates
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.config import SourceConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.ranked_list import NO_SOURCE

SIZE = 12
DAY_US = 86_400_000_000
CATALOG = Catalog("abcdefghijk")


def random_sources(seed):
    """Three sources with random scores, some items unknown to the second, the third only for long histories."""
    rng = np.random.default_rng(seed)

    class Fixed:
        name, size = "fixed", SIZE

        def __init__(self):
            self.scores_V = rng.normal(size=SIZE).astype(np.float32)

        def scores(self, histories):
            return np.tile(self.scores_V, (len(histories), 1))

        def arrays(self):
            return {}

    sources = [Fixed(), Fixed(), Fixed()]
    sources[1].scores_V[2:6] = -np.inf
    configs = [
        SourceConfig("fixed", name="one", num_candidates=4),
        SourceConfig("fixed", name="two", num_candidates=6),
        SourceConfig("fixed", name="three", num_candidates=3, min_events=2),
    ]
    return [CandidateSource(scorer, config) for scorer, config in zip(sources, configs, strict=True)]


def by_hand(sources, history, exclude, allowed_V, max_candidates):
    """item -> its rank in each source's list, in the order of fusion."""
    places = {}
    for s, source in enumerate(sources):
        if not source.serves(Sequences.from_lists([history]))[0]:
            continue
        scores = source.scorer.scores(Sequences.from_lists([history]))[0]
        free = [i for i in range(1, SIZE) if i not in exclude and allowed_V[i] and np.isfinite(scores[i])]
        for place, item in enumerate(
            sorted(free, key=lambda i: (-scores[i], i))[: source.config.num_candidates], start=1
        ):
            places.setdefault(item, [0] * len(sources))[s] = place
    fused = {item: sum(1 / (RRF_CONSTANT + p) for p in own if p) for item, own in places.items()}
    return [(item, places[item]) for item in sorted(places, key=lambda i: (-fused[i], i))[:max_candidates]]


@pytest.mark.parametrize("seed", range(6))
def test_the_merge_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    sources = random_sources(seed)
    histories = [rng.integers(1, SIZE, n).tolist() for n in (0, 1, 2, 5)]
    exclude = [row[:1] for row in histories]
    allowed_V = rng.random(SIZE) > 0.2
    candidates = generate_candidates(
        sources,
        Sequences.from_lists(histories),
        7,
        exclude=Sequences.from_lists(exclude),
        allowed_V=allowed_V,
    )
    for b, history in enumerate(histories):
        want = by_hand(sources, history, exclude[b], allowed_V, 7)
        own = candidates.items_BC[b][candidates.items_BC[b] != PAD]
        assert own.tolist() == [item for item, _ in want]
        assert candidates.ranks_BCS[b, : len(own)].tolist() == [places for _, places in want]
        assert (candidates.items_BC[b, len(own) :] == PAD).all()
        for s, source in enumerate(sources):
            scores = source.scorer.scores(Sequences.from_lists([history]))[0]
            np.testing.assert_array_equal(candidates.source_scores_BCS[b, : len(own), s], scores[own])


def test_included_items_are_always_candidates():
    sources = random_sources(0)
    histories = Sequences.from_lists([[1], []])
    candidates = generate_candidates(sources, histories, 3, include=Sequences.from_lists([[11, 10], [9]]))
    assert set(candidates.items_BC[0, :2].tolist()) == {10, 11}
    assert candidates.items_BC[1, 0] == 9
    plain = generate_candidates(sources, histories, 12)
    where = plain.items_BC[0].tolist()
    for item, places in zip(candidates.items_BC[0].tolist(), candidates.ranks_BCS[0].tolist(), strict=True):
        assert places == (plain.ranks_BCS[0, where.index(item)].tolist() if item in where else [0, 0, 0])


def test_an_items_source_is_the_one_with_its_best_rank():
    first = CandidateSource(
        FixedListSource.fit(Sequences.from_lists([]), CATALOG, FixedListConfig(items=("a", "b"))), SourceConfig("one")
    )
    second = CandidateSource(
        FixedListSource.fit(Sequences.from_lists([]), CATALOG, FixedListConfig(items=("b", "c"))), SourceConfig("two")
    )
    candidates = generate_candidates(
        [first, second], Sequences.from_lists([[]]), 9, include=Sequences.from_lists([[7]])
    )
    assert candidates.items_BC.tolist() == [[7, 2, 1, 3]]
    ranked = candidates.ranked_list(0, np.array([0.0, 1.0, 3.0, 2.0]))
    assert ranked.items_C.tolist() == [1, 3, 2, 7]
    assert [ranked.source_name(i) for i in range(4)] == ["one", "two", "two", None]
    assert ranked.source_C[3] == NO_SOURCE
    assert ranked.source_ranks_CS.tolist() == [[1, 0], [0, 2], [2, 1], [0, 0]]


def test_features_by_hand():
    log = Sequences.from_lists([[1, 2, 2], [2, 3]], [[0, DAY_US, 9 * DAY_US], [2 * DAY_US, 10 * DAY_US]])
    statistics = ItemStatistics.fit(log, CATALOG)
    sources = [
        CandidateSource(RepeatSource(SIZE, 0.5), SourceConfig("again", num_candidates=5, min_events=1)),
        CandidateSource(FixedListSource(np.array([3, 2, 5]), SIZE), SourceConfig("list", num_candidates=2)),
    ]
    histories = Sequences.from_lists([[2, 3, 2], []])
    candidates = generate_candidates(sources, histories, 9)
    scales = ScoreScales(np.array([True, False]), np.array([1.0, 0.5], dtype=np.float32))
    features_BCF = blend_features(candidates, histories, statistics, scales)
    assert features_BCF.shape[2] == len(feature_names(candidates.sources))
    of = dict(
        zip(feature_names(candidates.sources), features_BCF[0, candidates.items_BC[0].tolist().index(3)], strict=True)
    )
    best = 1 + 0.25  # of item 2
    assert of["again level"] == pytest.approx(np.log(0.5 / best + MIN_SHARE), rel=1e-5)
    assert of["again rank"] == pytest.approx(-np.log(2))
    assert of["list level"] == 0.0
    assert of["list rank"] == 0.0
    assert of["popularity"] == pytest.approx(np.log(2))
    assert of["age"] == 0.0
    assert of["repeats"] == pytest.approx(np.log(2))
    assert of["repeat recency"] == pytest.approx(0.5)
    assert of["events"] == pytest.approx(np.log(4))
    two = dict(
        zip(feature_names(candidates.sources), features_BCF[0, candidates.items_BC[0].tolist().index(2)], strict=True)
    )
    assert two["list level"] == pytest.approx((2 / 3 - 1) / 0.5, rel=1e-5)
    assert two["age"] == pytest.approx(np.log(10))
    assert two["repeats"] == pytest.approx(np.log(3))
    assert two["repeat recency"] == 1.0
    empty = dict(zip(feature_names(candidates.sources), features_BCF[1, 0], strict=True))
    assert (empty["again level"], empty["again rank"]) == (0.0, 0.0)


def test_recent_events_are_the_newest_tenth():
    items, times = [1] * 18 + [2] * 2, [i * DAY_US for i in range(20)]
    statistics = ItemStatistics.fit(Sequences.from_lists([items], [times]), Catalog("abc"))
    assert statistics.recent_V[2] == pytest.approx(np.log(3 / 1.2))
    assert statistics.recent_V[1] == pytest.approx(np.log(1 / 2.8))
    assert statistics.recent_V[3] == 0
    untimed = ItemStatistics.fit(Sequences.from_lists([items]), Catalog("abc"))
    assert not untimed.recent_V.any()
    assert not untimed.age_V.any()


def test_scores_that_are_never_negative_are_counts():
    sources = random_sources(1)
    sources.append(CandidateSource(RepeatSource(SIZE, 0.5), SourceConfig("again")))
    scales = ScoreScales.fit(generate_candidates(sources, Sequences.from_lists([[1, 2, 3], [4]]), 12))
    assert scales.log_S.tolist() == [False, False, False, True]
    assert scales.spread_S[3] == 1.0
    assert scales.spread_S[0] > 0
