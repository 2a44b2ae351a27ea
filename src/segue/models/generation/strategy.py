"""How a list of the next items is written: the strategies' names and numbers.

After Volodkevich et al. 2024, "Autoregressive Generation Strategies for Top-K Sequential Recommendations".
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from segue.config.names import normalize_name
from segue.models.generation.sampling import sample_items

StrategyName = Literal["top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"]


@dataclass(frozen=True)
class Strategy:
    """How a list is written."""

    kind: StrategyName = "reciprocal-rank"
    """top-k: the best of one softmax, nothing is written; greedy: always the best; beam: the likeliest list of those
    kept; sample: one drawn list; reciprocal-rank and relevance: many drawn lists, added up."""
    num_samples: int = 30
    """Lists drawn for each history and added up."""
    beam_width: int = 10
    """Lists that a beam search keeps."""
    temperature: float = 0.6
    """Scores are divided by this before a draw."""
    top_k: int | None = 20
    """Only the best so many may be drawn; nothing: all."""
    top_p: float | None = None
    """Only the best that together have this share of the probability may be drawn; nothing: all."""
    discount: float = 1.0
    """Of what is added up, that of step r counts r ** -discount: 0 all steps alike, 1 reciprocal ranks, a large number
    hardly more than the first step."""
    allow_repeats: bool = False
    """Whether one list may hold an item twice."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(StrategyName):
            raise ValueError(
                f"There is no strategy '{self.kind}'. Known strategies: {', '.join(get_args(StrategyName))}."
            )
        for name in ("num_samples", "beam_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
        if self.discount < 0:
            raise ValueError(f"discount must not be negative, got {self.discount}.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}.")

    def draw(self, scores_RV: np.ndarray, uniform_RC: np.ndarray) -> np.ndarray:
        """int32 [R, C] items."""
        return sample_items(scores_RV, uniform_RC, temperature=self.temperature, top=self.top_k, mass=self.top_p)


PUBLISHED: dict[str, dict[str, Any]] = {
    "sample": {"temperature": 1.0, "top_k": None},
    "relevance": {"temperature": 0.7, "top_k": None, "discount": 0.0},
}
"""Where a strategy's settings differ from the defaults, which are those of the paper's reciprocal-rank aggregation."""


def find_strategy(kind: str, **values: Any) -> Strategy:
    """A strategy by its name, '_' and '-' alike, with the paper's settings where none are given."""
    plain: Any = normalize_name(kind)
    return Strategy(**{"kind": plain, **PUBLISHED.get(plain, {}), **values})
