"""Fallback items for a list with too few candidates: rising items, popular items, at last the catalog in its order.

Shape letters: V catalog size with PAD.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.models.top_k import order_by_score_then_index
from segue.pipeline.ranked_list import PlacementReason, RankedList

CATALOG_STEP = "catalog"
"""Name of the last step."""


@dataclass(frozen=True)
class FallbackStep:
    """One step of the fallback: a name, and items best first."""

    name: str
    items: np.ndarray
    """int32."""
    scores: np.ndarray
    """float64; -inf where the order is not by score."""

    def remaining(self, allowed_V: np.ndarray, *, exclude: np.ndarray, max_items: int | None = None) -> RankedList:
        """Return the allowed items of the step as a list.

        Args:
            allowed_V: bool, items that may be listed.
            exclude: item indices to leave out.
            max_items: largest length; None: no limit.
        """
        open_V = allowed_V.copy()
        open_V[exclude] = False
        keep = np.flatnonzero(open_V[self.items])[:max_items]
        return RankedList.from_items(
            self.items[keep], self.scores[keep], sources=(self.name,), reason=PlacementReason.FILLED
        )


class FallbackChain:
    """Steps of the fallback; each is used when those before are exhausted. The last holds every item."""

    def __init__(self, scores: Mapping[str, np.ndarray], size: int) -> None:
        """Sort the items of each step.

        Args:
            scores: step name -> score of each item [V], in the order of the steps. Items with a score of 0 or less are
                left to the next steps.
            size: catalog size with PAD.
        """
        steps = [_step(name, np.asarray(scores_V, dtype=np.float64)) for name, scores_V in scores.items()]
        everything = np.arange(PAD + 1, size, dtype=np.int32)
        self.steps = (*steps, FallbackStep(CATALOG_STEP, everything, np.full(len(everything), -np.inf)))


def _step(name: str, scores_V: np.ndarray) -> FallbackStep:
    scored = np.flatnonzero(scores_V > 0)
    scored = scored[scored != PAD]
    items = scored[order_by_score_then_index(scores_V[scored])]
    return FallbackStep(name, items.astype(np.int32), scores_V[items])
