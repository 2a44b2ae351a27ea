"""Does the order of events tell anything here? Shuffle each history, ask again, and see what is lost.

After Klenitskiy et al. 2024, "Does It Look Sequential? An Analysis of Datasets for Evaluation of Sequential
Recommendations"; unlike there, the model is not trained anew on shuffled histories, only asked with them.
"""

from dataclasses import dataclass, replace

import numpy as np

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.evaluate import evaluate
from segue.evaluation.metrics import ndcg
from segue.models.scorer import Scorer


@dataclass(frozen=True)
class OrderSensitivity:
    """What a model lost when it no longer knew the order of the newest events."""

    in_order: float
    """NDCG@k with histories as they are."""
    shuffled: float
    """NDCG@k with each history shuffled."""
    interval: tuple[float, float]
    """95 % interval of ``drop``, by resampling people; how good the model is in order is taken as it was measured."""
    cases: int
    """How many cases both numbers are means over."""

    @property
    def drop(self) -> float:
        """The share of NDCG@k that was lost; about 0 where order tells nothing. 0 for a model that is never right."""
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
    """Ranks the same targets after each history as it is and shuffled, both cut to the newest ``length`` events.

    The model must be one that reads order (Markov, co-visit, a network): for any other the answer is no drop.
    """
    recent = replace(cases, histories=cases.histories.tail(max_length))
    mixed = replace(recent, histories=shuffle_histories(recent.histories, rng))
    plain, other = (evaluate(scorer, asked, exclude_seen=exclude_seen, ks=(k,)) for asked in (recent, mixed))
    gain_N, left_N = ndcg(plain.ranks, k), ndcg(other.ranks, k)
    in_order = float(gain_N.mean())
    _, low, high = paired_difference(gain_N, left_N, plain.groups, rng)
    scale = in_order or 1.0
    return OrderSensitivity(in_order, float(left_N.mean()), (low / scale, high / scale), len(gain_N))


def shuffle_histories(sequences: Sequences, rng: np.random.Generator) -> Sequences:
    """Each row's items in random order, times and contexts where they were; rows that share events are parted first."""
    flat = sequences.to_contiguous()
    row_N, _ = flat.positions()
    order_N = np.lexsort((rng.random(len(row_N)), row_N))
    return replace(flat, items=flat.items[order_N])
