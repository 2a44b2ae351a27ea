"""Weights of an ensemble: above the best single model, and near 0 for a model without information."""

from collections.abc import Sequence

import numpy as np

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.evaluate import evaluate
from segue.models.ensemble import Ensemble
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.workflows.ensemble_weights import (
    PRIOR_DECAYS,
    PRIOR_WEIGHTS,
    best_on_grid,
    best_prior,
    best_prior_weight,
    choose_weights,
)

SIZE = 41


class Noisy:
    """Scorer of the true next item plus noise of its own; scores are above 0."""

    name = "markov"
    size = SIZE

    def __init__(self, seed: int, truth: float) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.random((SIZE, SIZE))
        self.table[np.arange(SIZE - 1), np.arange(1, SIZE)] += truth

    def scores(self, histories: Sequences) -> np.ndarray:
        return np.exp(2 * self.table[[int(row[-1]) for row in histories]]).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


def cases() -> EvaluationCases:
    items = np.arange(1, SIZE - 1)
    histories = Sequences.from_lists([[int(i)] for i in items])
    return EvaluationCases(histories, (items + 1).astype(np.int32), items.astype(np.int64), None, {})


def quality(members: list[tuple[Noisy, float]]) -> float:
    evaluation = evaluate(Ensemble(members), cases(), exclude_seen=True, ks=(10,))  # type: ignore[arg-type]
    return float(evaluation.values("ndcg", 10).mean())


def test_an_ensemble_is_better_than_its_best_member() -> None:
    scorers = [Noisy(seed, 0.5) for seed in range(3)]
    weights = choose_weights(scorers, cases(), exclude_seen=True)
    assert all(weight > 0 for weight in weights)
    assert quality(list(zip(scorers, weights, strict=True))) > max(quality([(s, 1.0)]) for s in scorers) + 0.05


def test_a_model_without_information_gets_little_weight() -> None:
    scorers = [Noisy(0, 2.0), Noisy(1, 0.0)]
    weights = choose_weights(scorers, cases(), exclude_seen=True)
    assert weights[0] == 1.0
    assert weights[1] < 0.5
    assert quality(list(zip(scorers, weights, strict=True))) >= quality([(scorers[0], 1.0)])


class Votes(Noisy):
    """Scorer with overconfident scores: those of the better half to the power of 8, 0 for the others."""

    def scores(self, histories: Sequences) -> np.ndarray:
        scores = super().scores(histories)
        return np.where(scores >= np.median(scores, axis=1, keepdims=True), scores**8, 0.0).astype(np.float32)


def test_an_ensemble_is_never_worse_than_a_member() -> None:
    """Likelihood alone gave overconfident scores almost no weight, and lost to them."""
    for seed in range(4):
        scorers = [Noisy(seed, 0.2), Votes(seed + 10, 1.0)]
        weights = choose_weights(scorers, cases(), exclude_seen=True)
        together = quality(list(zip(scorers, weights, strict=True)))
        assert together >= max(quality([(scorer, 1.0)]) for scorer in scorers) - 1e-9


def test_equal_inputs_give_equal_weights() -> None:
    scorers = [Noisy(seed, 0.5) for seed in range(3)]
    assert choose_weights(scorers, cases(), exclude_seen=False) == choose_weights(scorers, cases(), exclude_seen=False)


def test_without_cases_all_weights_are_one() -> None:
    """A log that is too small for validation cases used to divide by zero."""
    assert choose_weights([Noisy(0, 1.0), Noisy(1, 1.0)], cases().take(slice(0, 0)), exclude_seen=True) == [1.0, 1.0]


def test_a_grid_is_extended_while_its_edge_is_best() -> None:
    cases: list[tuple[float, float, list[float]]] = [
        (2.0, 2.0, [1.0, 2.0, 3.0]),
        (9.0, 8.0, [1.0, 2.0, 3.0, 5.0, 8.0, 20.0, 40.0]),
        (0.3, 0.25, [1.0, 2.0, 3.0, 0.5, 0.25]),
        (99.0, 40.0, [1.0, 2.0, 3.0, 5.0, 8.0, 20.0, 40.0]),
    ]
    for peak, best, wanted in cases:
        tried: list[float] = []

        def qualities(values: Sequence[float], peak: float = peak, tried: list[float] = tried) -> list[float]:
            tried.extend(values)
            return [-abs(value - peak) for value in values]

        found = best_on_grid(qualities, (1.0, 2.0, 3.0), ((0.5,), (0.25,)), ((5.0, 8.0), (20.0, 40.0)))
        assert (found, tried) == (best, wanted)
    assert best_on_grid(lambda values: [1.0] * len(values), (1.0, 2.0), ((0.5,),), ((3.0,),)) == 1.0


class Loud(Noisy):
    """Network of noise whose scores are far larger than those of a co-visitation model."""

    name = "sasrec"

    def scores(self, histories: Sequences) -> np.ndarray:
        return (60 * self.table[[int(row[-1]) for row in histories]]).astype(np.float32)


def test_the_weight_of_the_prior_does_not_end_at_the_edge_of_its_grid() -> None:
    """A weight of 5 leaves the noise of a loud network above a prior that knows the rule."""
    walks = Sequences.from_lists([[(start + step) % (SIZE - 1) + 1 for step in range(6)] for start in range(SIZE - 1)])
    prior = best_prior(walks, SIZE, cases(), False)
    assert prior is not None
    weight = best_prior_weight(Loud(0, 0.0), prior, cases(), False)
    assert weight > max(PRIOR_WEIGHTS)

    def at(weight: float) -> float:
        scorer = WithCovisitationPrior(Loud(0, 0.0), prior, weight)
        return evaluate(scorer, cases(), exclude_seen=False, ks=(10,)).metrics["ndcg@10"]

    assert at(weight) > at(max(PRIOR_WEIGHTS)) + 0.02


def test_the_decay_of_the_prior_does_not_end_at_the_edge_of_its_grid() -> None:
    """Each event has one successor. That of the event before the newest one is more frequent, and not the target."""
    frequent, rare = range(1, 11), range(21, 31)
    rows = [[i, i + 10] for i in frequent] * 70 + [[i, i + 10] for i in rare] * 10
    histories = Sequences.from_lists([[i, j] for i in frequent for j in rare])
    targets = np.array([j + 10 for _ in frequent for j in rare], np.int32)
    few = EvaluationCases(histories, targets, np.arange(len(targets)), None, {})
    prior = best_prior(Sequences.from_lists(rows), SIZE, few, False)
    assert prior is not None
    assert prior.decay < min(PRIOR_DECAYS)
