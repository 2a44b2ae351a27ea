"""Cases for a ranker from a log without impressions: what came next, against items drawn instead of it.

Shape letters: B cases, C candidates, R retrieved items, N flat events, V catalog size with PAD.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemHistories
from segue.models.scorer import Scorer
from segue.models.top_k import order_by_score_then_index, top_k

TRIES = 4
"""A drawn item that may not be asked is drawn again so often; then the place stays empty."""
BLOCK = 512


@dataclass(frozen=True)
class CandidateSamplingConfig:
    """Which events of a log are asked for, and what each is compared with."""

    max_positives: int = 200_000
    """Events that are asked for, at most; drawn once."""
    newest_share: float = 0.2
    """The newest share of each person's events is asked for; item vectors and retrieval learn from the others."""
    num_popular: int = 1
    """Items of events drawn from all those before the moment, so that an item comes as often as it had been taken."""
    num_hard: int = 1
    """Items drawn from what a retrieving model would have shown."""
    num_retrieved: int = 50
    """How much it would have shown."""

    def __post_init__(self) -> None:
        if self.num_popular < 0 or self.num_hard < 0 or self.num_popular + self.num_hard < 1:
            raise ValueError(
                "num_popular and num_hard must not be negative, and one of them above 0, "
                f"got {self.num_popular} and {self.num_hard}."
            )
        if self.num_retrieved < 1 or self.max_positives < 1:
            raise ValueError(
                "num_retrieved and max_positives must be at least 1, "
                f"got {self.num_retrieved} and {self.max_positives}."
            )
        if not 0 < self.newest_share < 1:
            raise ValueError(f"newest_share must be a share between 0 and 1, got {self.newest_share}.")


class ExampleSource(Protocol):
    """Where a net's cases come from: fresh ones, or the same again, for each epoch."""

    interactions: ItemHistories
    """What the cases know of items, each up to its own moment."""

    def __len__(self) -> int: ...

    def draw(self, rng: np.random.Generator) -> ClickExamples: ...


class FixedExamples:
    """Cases that a log itself holds: impressions."""

    def __init__(self, cases: ClickExamples, interactions: ItemHistories) -> None:
        self.cases = cases
        self.interactions = interactions

    def __len__(self) -> int:
        return len(self.cases)

    def draw(self, rng: np.random.Generator) -> ClickExamples:
        """All of them; nothing is drawn."""
        return self.cases


class SampledExamples:
    """Cases whose negatives are drawn afresh each time they are asked for.

    Only items that somebody had come to before the moment are asked, targets too: a catalog knows no others then, and
    a first event would otherwise give its target away. With ``exclude_seen`` nothing of the history is.
    """

    def __init__(
        self,
        cases: EvaluationCases,
        interactions: ItemHistories,
        scorer: Scorer | None,
        config: CandidateSamplingConfig,
        *,
        exclude_seen: bool = False,
    ) -> None:
        assert cases.times is not None
        known_B = interactions.counts(cases.targets, cases.times) > 0
        if exclude_seen:
            known_B &= ~contains_items(cases.histories, cases.targets[:, None])[:, 0]
        if not known_B.any():
            raise ValueError(f"Of {len(cases)} cases none asks for an item that was known before: nothing to learn.")
        self.cases = cases.take(known_B)
        self.interactions = interactions
        self.config = config
        self.exclude_seen = exclude_seen
        order = np.argsort(interactions.times_N, kind="stable")
        self._items_N = (np.searchsorted(interactions.offsets, order, side="right") - 1).astype(np.int32)
        assert self.cases.times is not None
        self._before_B = np.searchsorted(interactions.times_N[order], self.cases.times)
        self._retrieved_BR = np.zeros((len(self.cases), 0), dtype=np.int32)
        if scorer is not None and config.num_hard:
            self._retrieved_BR = self._retrieve(scorer)

    def __len__(self) -> int:
        return len(self.cases)

    def draw(self, rng: np.random.Generator) -> ClickExamples:
        """The target first, then the popular ones, then the hard ones; PAD where nothing could be drawn. The popular
        ones take the place of hard ones where there is no retrieving model."""
        hard = self.config.num_hard if self._retrieved_BR.shape[1] else 0
        popular_BC = self._popular(rng, self.config.num_popular + self.config.num_hard - hard)
        candidates_BC = np.concatenate([self.cases.targets[:, None], popular_BC, self._hard(rng, hard)], axis=1)
        labels_BC = np.zeros(candidates_BC.shape, dtype=bool)
        labels_BC[:, 0] = True
        assert self.cases.times is not None
        return ClickExamples(self.cases.histories, self.cases.times, candidates_BC, labels_BC, self.cases.groups)

    def _popular(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """int32 [B, count]."""
        out_BC = np.full((len(self), count), PAD, dtype=np.int32)
        for _ in range(TRIES):
            open_BC = out_BC == PAD
            if not open_BC.any():
                break
            place_BC = (rng.random(out_BC.shape) * self._before_B[:, None]).astype(np.int64)
            drawn_BC = self._items_N[np.minimum(place_BC, self._before_B[:, None] - 1)]
            out_BC = np.where(open_BC, np.where(self._may_be_asked(drawn_BC), drawn_BC, PAD), out_BC)
        return out_BC

    def _hard(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """int32 [B, count], distinct."""
        if count == 0:
            return np.zeros((len(self), 0), dtype=np.int32)
        key_BR = np.where(self._retrieved_BR != PAD, rng.random(self._retrieved_BR.shape), -1.0)
        chosen_BC = order_by_score_then_index(key_BR)[:, :count]
        return np.take_along_axis(self._retrieved_BR, chosen_BC, axis=1)

    def _retrieve(self, scorer: Scorer) -> np.ndarray:
        """int32 [B, R]: what the model ranks first for each history, without what may not be asked."""
        parts = []
        for start in range(0, len(self), BLOCK):
            histories = self.cases.histories.take(slice(start, start + BLOCK))
            seen = histories if self.exclude_seen else None
            parts.append(top_k(scorer.scores(histories), self.config.num_retrieved, exclude=seen)[0])
        found_BR = np.concatenate(parts)
        assert self.cases.times is not None
        moments_P = np.repeat(self.cases.times, found_BR.shape[1])
        known_BR = (self.interactions.counts(found_BR.ravel(), moments_P) > 0).reshape(found_BR.shape)
        return np.where(known_BR & (found_BR != self.cases.targets[:, None]), found_BR, PAD)

    def _may_be_asked(self, items_BC: np.ndarray) -> np.ndarray:
        other_BC: np.ndarray = items_BC != self.cases.targets[:, None]
        return other_BC & ~contains_items(self.cases.histories, items_BC) if self.exclude_seen else other_BC


def contains_items(histories: Sequences, items_BC: np.ndarray) -> np.ndarray:
    """bool [B, C]: whether row b of the histories has the item."""
    row_N, where_N = histories.positions()
    items_N = histories.items[where_N].astype(np.int64)
    width = max(int(items_N.max(initial=0)), int(items_BC.max(initial=0))) + 1
    keys = np.append(np.unique(row_N * width + items_N), np.iinfo(np.int64).max)
    wanted_BC = np.arange(len(items_BC))[:, None] * width + items_BC
    found_BC: np.ndarray = keys[np.searchsorted(keys, wanted_BC)] == wanted_BC
    return found_BC
