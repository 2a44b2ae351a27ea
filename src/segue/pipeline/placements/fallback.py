"""What fills a list when nothing better is left: demand now, demand ever, and at last the catalog's own order.

Shape letters: V catalog size with PAD.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.models.top_k import order_by_score_then_index
from segue.pipeline.ranked_list import PlacementReason, RankedList

CATALOG_STEP = "catalog"


@dataclass(frozen=True)
class FallbackStep:
    """One rung: a name, and items best first."""

    name: str
    items: np.ndarray
    """int32."""
    scores: np.ndarray
    """float64; -inf where the order is no score's."""

    def remaining(self, allowed_V: np.ndarray, *, exclude: np.ndarray, max_items: int | None = None) -> RankedList:
        """The step's allowed items but those of ``without``, as a list of at most ``most``."""
        open_V = allowed_V.copy()
        open_V[exclude] = False
        keep = np.flatnonzero(open_V[self.items])[:max_items]
        return RankedList.from_items(
            self.items[keep], self.scores[keep], sources=(self.name,), reason=PlacementReason.FILLED
        )


class FallbackChain:
    """The steps of the fallback, each tried when the ones before have no more to give; the last holds every item."""

    def __init__(self, scores: Mapping[str, np.ndarray], size: int) -> None:
        """``demand`` are scores [V] by step name, in the order the steps are tried, for example trend and popularity:
        an item without demand (0 or less) is left to the steps after."""
        steps = [_step(name, np.asarray(scores_V, dtype=np.float64)) for name, scores_V in scores.items()]
        everything = np.arange(PAD + 1, size, dtype=np.int32)
        self.steps = (*steps, FallbackStep(CATALOG_STEP, everything, np.full(len(everything), -np.inf)))


def _step(name: str, scores_V: np.ndarray) -> FallbackStep:
    wanted = np.flatnonzero(scores_V > 0)
    wanted = wanted[wanted != PAD]
    items = wanted[order_by_score_then_index(scores_V[wanted])]
    return FallbackStep(name, items.astype(np.int32), scores_V[items])
