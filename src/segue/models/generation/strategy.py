"""Strategies of list generation: names and settings.

After Volodkevich et al. 2024, "Autoregressive Generation Strategies for Top-K Sequential Recommendations".
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import numpy as np

from segue.config.names import normalize_name
from segue.config.ranges import Range, check_ranges
from segue.models.generation.sampling import sample_items

StrategyName = Literal["top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"]


@dataclass(frozen=True)
class Strategy:
    """Strategy of list generation, with the settings of its search or its sampling."""

    name: StrategyName = "reciprocal-rank"
    """'top-k': the best items of one softmax, without generation; 'greedy': the best item at each step; 'beam': the
    most probable list of a beam search; 'sample': one sampled list; 'reciprocal-rank' and 'relevance': aggregates of
    many sampled lists."""
    num_samples: Annotated[int, Range(ge=1)] = 30
    """Number of sampled lists that are aggregated for each history."""
    beam_width: Annotated[int, Range(ge=1)] = 10
    """Number of lists that a beam search keeps."""
    temperature: Annotated[float, Range(gt=0)] = 0.6
    """Divisor of the log-probabilities before sampling, above 0. 1 samples each item with the probability that the
    model states, a smaller value prefers the best items, a larger one evens out."""
    top_k: Annotated[int | None, Range(ge=1)] = 20
    """Number of best items that may be sampled; 'none': all."""
    top_p: Annotated[float | None, Range(gt=0, le=1)] = None
    """Least probability of the best items that may be sampled, above 0 and at most 1; 'none': all items."""
    discount: Annotated[float, Range(ge=0)] = 1.0
    """Exponent d of the weight rank ** -d in an aggregate: 0 weighs all ranks alike, 1 gives reciprocal ranks."""
    allow_repeats: bool = False
    """Allow an item to appear in a list more than once."""

    def __post_init__(self) -> None:
        if self.name not in get_args(StrategyName):
            raise ValueError(
                f"There is no strategy '{self.name}'. Known strategies: {', '.join(get_args(StrategyName))}."
            )
        check_ranges(self)

    def sample(self, scores_RV: np.ndarray, uniform_RC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sample items with the temperature, ``top_k`` and ``top_p`` of this strategy; see ``sample_items``.

        Args:
            scores_RV: log-probabilities, float [R, V]; -inf for items that must not appear.
            uniform_RC: uniform numbers in [0, 1), one for each sampled item.

        Returns:
            (items int32 [R, C], probability of each to be sampled float64 [R, C]).
        """
        return sample_items(scores_RV, uniform_RC, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)


PUBLISHED: dict[str, dict[str, Any]] = {
    "sample": {"temperature": 1.0, "top_k": None},
    "relevance": {"temperature": 0.7, "top_k": None, "discount": 0.0},
}
"""Published settings of a strategy that differ from the defaults; the defaults are those of 'reciprocal-rank'."""


def find_strategy(strategy: Strategy | str, **values: Any) -> Strategy:
    """Return a strategy with its published settings and the given ones.

    Args:
        strategy: strategy name, where case does not count and '_' and '-' are alike; or a strategy to change.
        values: settings of ``Strategy`` that replace its own; those of None do not.

    Raises:
        ValueError: the name is unknown, or a setting is out of range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if isinstance(strategy, Strategy):
        return replace(strategy, **given)
    canonical: Any = normalize_name(strategy)
    return Strategy(**{"name": canonical, **PUBLISHED.get(canonical, {}), **given})
