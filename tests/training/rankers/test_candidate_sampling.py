"""Cases drawn from a log: what may be a negative, how often, and that nothing unknown is asked."""

import numpy as np
import pytest

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.data.splits.targets import all_positions
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.rankers.item_histories import ItemHistories
from segue.training.rankers.candidate_sampling import CandidateSamplingConfig, SampledExamples, contains_items

V = 15


@pytest.fixture(scope="module")
def log() -> Sequences:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 12, 60)
    weight = np.arange(1, V) / np.arange(1, V).sum()
    rows = [rng.choice(V - 1, n, p=weight) + 1 for n in lengths]
    return Sequences.from_lists(rows, [np.sort(rng.integers(0, 500, n)) for n in lengths])


def drawn(log: Sequences, **settings: object) -> tuple[SampledExamples, ItemHistories]:
    past = ItemHistories.from_sequences(log, V)
    scorer = CoVisit.fit(log, V, CoVisitConfig())
    config = CandidateSamplingConfig(num_popular=2, num_hard=2, num_retrieved=6)
    return SampledExamples(all_positions(log), past, scorer, config, **settings), past  # type: ignore[arg-type]


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_only_what_was_known_and_not_the_target_is_asked(log: Sequences, exclude_seen: bool) -> None:
    draw, past = drawn(log, exclude_seen=exclude_seen)
    cases = draw.draw(np.random.default_rng(1))
    assert 100 < len(cases) < len(all_positions(log))
    assert cases.labels_BC.sum(axis=1).tolist() == [1] * len(cases)
    for b in range(len(cases)):
        target, *others = cases.candidates_BC[b].tolist()
        asked = [item for item in others if item]
        assert target not in asked
        assert past.counts(np.array([target, *asked]), np.full(1 + len(asked), cases.times_B[b])).min() > 0
        if exclude_seen:
            assert not set(cases.histories.take([b]).to_lists()[0]) & {target, *asked}
    assert (cases.candidates_BC[:, 1:] != 0).mean() > 0.8


def test_hard_ones_are_what_the_scorer_ranks_first(log: Sequences) -> None:
    draw, _ = drawn(log)
    cases = draw.draw(np.random.default_rng(1))
    scores = CoVisit.fit(log, V, CoVisitConfig()).scores(cases.histories)
    scores[:, 0] = -np.inf
    first = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    for b, hard in enumerate(cases.candidates_BC[:, 3:].tolist()):
        assert {item for item in hard if item} <= set(first[b].tolist())
        assert len({item for item in hard if item}) == sum(item != 0 for item in hard)


def test_popular_ones_come_as_often_as_they_had_been_taken(log: Sequences) -> None:
    """A case at the end, asked many times: shares against the counts of all events before it."""
    history = Sequences.from_lists([[1]], [[0]])
    moments = np.full(1, 400)
    many = Sequences(history.items, history.times, np.zeros(20_000, np.int64), np.ones(20_000, np.int64))
    cases = EvaluationCases(
        many, np.full(20_000, 3, np.int32), np.zeros(20_000, np.int64), np.repeat(moments, 20_000), {}
    )
    past = ItemHistories.from_sequences(log, V)
    draw = SampledExamples(cases, past, None, CandidateSamplingConfig(num_popular=1, num_hard=0))
    found = np.bincount(draw.draw(np.random.default_rng(2)).candidates_BC[:, 1], minlength=V)[1:]
    counts = past.counts(np.arange(1, V), np.full(V - 1, 400)).astype(float)
    counts[2] = 0  # the target
    np.testing.assert_allclose(found / found.sum(), counts / counts.sum(), atol=0.02)


def test_without_a_retrieving_model_all_are_popular_ones(log: Sequences) -> None:
    draw = SampledExamples(
        all_positions(log),
        ItemHistories.from_sequences(log, V),
        None,
        CandidateSamplingConfig(num_popular=1, num_hard=1),
    )
    assert draw.draw(np.random.default_rng(3)).candidates_BC.shape == (len(draw), 3)


def test_equal_seeds_draw_equal_cases(log: Sequences) -> None:
    draw, _ = drawn(log)
    first, second, third = (draw.draw(np.random.default_rng(seed)).candidates_BC for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_holds_equals_the_slow_way(log: Sequences) -> None:
    items = np.random.default_rng(4).integers(0, V, (len(log), 3))
    slow = [[item in row for item in asked] for row, asked in zip(log.to_lists(), items.tolist(), strict=True)]
    assert contains_items(log, items).tolist() == slow


def test_what_cannot_be_drawn_is_said() -> None:
    one = Sequences.from_lists([[1, 2]], [[0, 1]])
    with pytest.raises(ValueError) as error:
        SampledExamples(all_positions(one), ItemHistories.from_sequences(one, V), None, CandidateSamplingConfig())
    assert str(error.value) == "Of 1 cases none asks for an item that was known before: nothing to learn."
    with pytest.raises(ValueError) as error:
        CandidateSamplingConfig(num_popular=0, num_hard=0)
    assert str(error.value) == "num_popular and num_hard must not be negative, and one of them above 0, got 0 and 0."
    with pytest.raises(ValueError) as error:
        CandidateSamplingConfig(num_retrieved=0)
    assert str(error.value) == "num_retrieved and max_positives must be at least 1, got 0 and 200000."
    with pytest.raises(ValueError) as error:
        CandidateSamplingConfig(newest_share=1.0)
    assert str(error.value) == "newest must be a share between 0 and 1, got 1.0."
