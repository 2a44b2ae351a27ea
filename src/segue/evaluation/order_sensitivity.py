"""Order sensitivity: the loss of accuracy when the events of each history are shuffled.

After Klenitskiy et al. 2024, "Does It Look Sequential? An Analysis of Datasets for Evaluation of Sequential
Recommendations"; differs: the model is not trained again on shuffled histories.

>>> from segue.data.datasets.synthetic import ring_sequences
>>> from segue.models.counting.markov import Markov, MarkovConfig
>>> rng = np.random.default_rng(0)
>>> walks = ring_sequences(rng, users=100, items=12, length=6)
>>> markov = Markov.fit(walks, 13, MarkovConfig())
>>> targets = walks.items[walks.stops - 1]
>>> cases = EvaluationCases(walks.prefixes(walks.lengths - 1), targets, np.arange(100), None, {})
>>> result = order_sensitivity(markov, cases, rng, exclude_seen=False, k=1)
>>> round(result.in_order, 2), result.drop > 0.5
(1.0, True)
"""

from dataclasses import dataclass, replace

import numpy as np

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.evaluate import evaluate
from segue.models.scorer import Scorer


@dataclass(frozen=True)
class OrderSensitivity:
    """NDCG@k with histories in order and shuffled."""

    in_order: float
    """NDCG@k with the histories in order."""
    shuffled: float
    """NDCG@k with each history shuffled."""
    interval: tuple[float, float]
    """95 % bootstrap interval of ``drop`` over users, for a fixed ``in_order``."""
    cases: int
    """Number of cases in both means."""

    @property
    def drop(self) -> float:
        """Return the relative loss of NDCG@k; about 0 without information in the order, 0 for an NDCG of 0."""
        return 0.0 if self.in_order == 0 else 1.0 - self.shuffled / self.in_order


def order_sensitivity(
    scorer: Scorer,
    cases: EvaluationCases,
    rng: np.random.Generator,
    *,
    exclude_seen: bool,
    k: int = 10,
    max_length: int = 200,
) -> OrderSensitivity:
    """Evaluate a model on histories in order and shuffled, both cut to the newest events.

    Args:
        scorer: a model that uses the order of events (Markov, co-visitation, a network); the drop of any other is 0.
        cases: histories and targets.
        rng: generator of the shuffles and of the bootstrap.
        exclude_seen: do not rank items of the history.
        k: cutoff of NDCG.
        max_length: number of newest events to keep.
    """
    recent = replace(cases, histories=cases.histories.tail(max_length))
    shuffled = replace(recent, histories=shuffle_histories(recent.histories, rng))
    plain, other = (evaluate(scorer, part, exclude_seen=exclude_seen, ks=(k,)) for part in (recent, shuffled))
    gain_N, left_N = plain.values("ndcg", k), other.values("ndcg", k)
    in_order = float(gain_N.mean())
    _, low, high = paired_difference(gain_N, left_N, plain.groups, rng)
    scale = in_order or 1.0
    return OrderSensitivity(in_order, float(left_N.mean()), (low / scale, high / scale), len(gain_N))


def shuffle_histories(sequences: Sequences, rng: np.random.Generator) -> Sequences:
    """Return each row with its items in random order; timestamps and contexts keep their positions.

    Args:
        sequences: the rows; rows that share events are copied apart first.
        rng: generator of the orders.
    """
    flat = sequences.to_contiguous()
    row_N, _ = flat.positions()
    order_N = np.lexsort((rng.random(len(row_N)), row_N))
    return replace(flat, items=flat.items[order_N])
