"""Sampled click examples: eligible candidates, their frequencies, and no item without earlier events."""

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


def make_examples(log: Sequences, **settings: object) -> tuple[SampledExamples, ItemHistories]:
    histories = ItemHistories.from_sequences(log, V)
    scorer = CoVisit.fit(log, V, CoVisitConfig())
    config = CandidateSamplingConfig(num_popular=2, num_hard=2, num_retrieved=6)
    return SampledExamples(all_positions(log), histories, scorer, config, **settings), histories  # type: ignore[arg-type]


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_candidates_have_earlier_events_and_are_not_the_target(log: Sequences, exclude_seen: bool) -> None:
    examples, histories = make_examples(log, exclude_seen=exclude_seen)
    cases = examples.draw(np.random.default_rng(1))
    assert 100 < len(cases) < len(all_positions(log))
    assert cases.labels_BC.sum(axis=1).tolist() == [1] * len(cases)
    for b in range(len(cases)):
        target, *others = cases.candidates_BC[b].tolist()
        candidates = [item for item in others if item]
        assert target not in candidates
        assert (
            histories.counts(np.array([target, *candidates]), np.full(1 + len(candidates), cases.times_B[b])).min() > 0
        )
        if exclude_seen:
            assert not set(cases.histories.take([b]).to_lists()[0]) & {target, *candidates}
    assert (cases.candidates_BC[:, 1:] != 0).mean() > 0.8


def test_hard_candidates_are_ranked_highest_by_the_scorer(log: Sequences) -> None:
    examples, _ = make_examples(log)
    cases = examples.draw(np.random.default_rng(1))
    scores = CoVisit.fit(log, V, CoVisitConfig()).scores(cases.histories)
    scores[:, 0] = -np.inf
    first = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    for b, hard in enumerate(cases.candidates_BC[:, 3:].tolist()):
        assert {item for item in hard if item} <= set(first[b].tolist())
        assert len({item for item in hard if item}) == sum(item != 0 for item in hard)


def test_popular_candidates_are_sampled_in_proportion_to_their_events(log: Sequences) -> None:
    """Shares over many draws for one case at the end of the log, against the counts of all events before it."""
    history = Sequences.from_lists([[1]], [[0]])
    many = Sequences(history.items, history.times, np.zeros(20_000, np.int64), np.ones(20_000, np.int64))
    cases = EvaluationCases(many, np.full(20_000, 3, np.int32), np.zeros(20_000, np.int64), np.full(20_000, 400), {})
    histories = ItemHistories.from_sequences(log, V)
    examples = SampledExamples(cases, histories, None, CandidateSamplingConfig(num_popular=1, num_hard=0))
    counts_sampled = np.bincount(examples.draw(np.random.default_rng(2)).candidates_BC[:, 1], minlength=V)[1:]
    counts = histories.counts(np.arange(1, V), np.full(V - 1, 400)).astype(float)
    counts[2] = 0  # the target
    np.testing.assert_allclose(counts_sampled / counts_sampled.sum(), counts / counts.sum(), atol=0.02)


def test_without_a_retrieval_model_all_candidates_are_sampled_by_popularity(log: Sequences) -> None:
    examples = SampledExamples(
        all_positions(log),
        ItemHistories.from_sequences(log, V),
        None,
        CandidateSamplingConfig(num_popular=1, num_hard=1),
    )
    assert examples.draw(np.random.default_rng(3)).candidates_BC.shape == (len(examples), 3)


def test_equal_seeds_give_equal_examples(log: Sequences) -> None:
    examples, _ = make_examples(log)
    first, second, third = (examples.draw(np.random.default_rng(seed)).candidates_BC for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_contains_items_equals_a_loop(log: Sequences) -> None:
    items = np.random.default_rng(4).integers(0, V, (len(log), 3))
    slow = [[item in row for item in queried] for row, queried in zip(log.to_lists(), items.tolist(), strict=True)]
    assert contains_items(log, items).tolist() == slow


def test_impossible_settings_and_logs_are_refused_with_a_sentence() -> None:
    row = Sequences.from_lists([[1, 2]], [[0, 1]])
    with pytest.raises(ValueError) as error:
        SampledExamples(all_positions(row), ItemHistories.from_sequences(row, V), None, CandidateSamplingConfig())
    assert str(error.value) == (
        "None of the 1 targets has an event before its query time: there is nothing to train on."
    )
    with pytest.raises(ValueError) as error:
        CandidateSamplingConfig(num_popular=0, num_hard=0)
    assert str(error.value) == "num_popular or num_hard must be at least 1, got 0 and 0."
    with pytest.raises(ValueError) as error:
        CandidateSamplingConfig(num_retrieved=0)
    assert str(error.value) == "num_retrieved must be at least 1, got 0."
    with pytest.raises(ValueError) as error:
        CandidateSamplingConfig(num_hard=-1)
    assert str(error.value) == "num_hard must be at least 0, got -1."
    with pytest.raises(ValueError) as error:
        CandidateSamplingConfig(newest_share=1.0)
    assert str(error.value) == "newest_share must be above 0 and below 1, got 1.0."
