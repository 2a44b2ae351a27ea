"""Click examples from a log without impressions: the item of the next event, against sampled candidates.

Shape letters: B examples, C candidates, R retrieved items, N flat events, V catalog size with PAD.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.catalog import PAD
from segue.data.evaluation_cases import EvaluationCases
from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemHistories
from segue.models.scorer import Scorer
from segue.models.top_k import order_by_score_then_index, top_k

TRIES = 4
"""Number of draws per candidate until it is an eligible item; then the position stays PAD."""
BLOCK = 512
"""Number of histories scored at a time."""


@dataclass(frozen=True)
class CandidateSamplingConfig:
    """Targets of the click examples of a log, and the number of sampled candidates of each."""

    max_positives: Annotated[int, Range(ge=1)] = 200_000
    """Maximum number of targets, sampled once."""
    newest_share: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """Share of each user's events, the newest, that are targets; item embeddings and retrieval are fitted on the
    others."""
    num_popular: Annotated[int, Range(ge=0)] = 1
    """Number of candidates sampled from the events before the query time, in proportion to popularity."""
    num_hard: Annotated[int, Range(ge=0)] = 1
    """Number of candidates sampled from the list of a retrieval model."""
    num_retrieved: Annotated[int, Range(ge=1)] = 50
    """Length of that list."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.num_popular + self.num_hard < 1:
            raise ValueError(f"num_popular or num_hard must be at least 1, got {self.num_popular} and {self.num_hard}.")


class ExampleSource(Protocol):
    """Source of the click examples of each epoch."""

    interactions: ItemHistories
    """Interactions of all items, of which an example uses those before its query time."""

    def __len__(self) -> int: ...

    def draw(self, rng: np.random.Generator) -> ClickExamples:
        """Return the examples of one epoch."""
        ...


class FixedExamples:
    """Logged impressions as examples, the same in every epoch."""

    def __init__(self, examples: ClickExamples, interactions: ItemHistories) -> None:
        self.examples = examples
        self.interactions = interactions

    def __len__(self) -> int:
        return len(self.examples)

    def draw(self, rng: np.random.Generator) -> ClickExamples:
        """Return all examples; nothing is sampled."""
        return self.examples


class SampledExamples:
    """Examples whose negatives are sampled anew in each epoch.

    Targets and candidates are items with an event before the query time: the catalog knows no others then, and the
    first event of an item would otherwise give its target away.

    Args:
        cases: histories, targets and query times; those with an unknown target are left out.
        interactions: interactions of all items.
        scorer: retrieval model of the hard negatives; None: all negatives are sampled by popularity.
        config: number of candidates.
        exclude_seen: no item of the history is a target or a candidate.

    Raises:
        ValueError: no target has an event before its query time.
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
            raise ValueError(
                f"None of the {len(cases)} targets has an event before its query time: there is nothing to train on."
            )
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
        """Return the examples of one epoch: target, popular candidates, hard candidates; PAD for a failed draw.

        Without a retrieval model, popular candidates replace the hard ones.
        """
        hard = self.config.num_hard if self._retrieved_BR.shape[1] else 0
        popular_BC = self._popular(rng, self.config.num_popular + self.config.num_hard - hard)
        candidates_BC = np.concatenate([self.cases.targets[:, None], popular_BC, self._hard(rng, hard)], axis=1)
        labels_BC = np.zeros(candidates_BC.shape, dtype=bool)
        labels_BC[:, 0] = True
        assert self.cases.times is not None
        return ClickExamples(self.cases.histories, self.cases.times, candidates_BC, labels_BC, self.cases.groups)

    def _popular(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return candidates sampled by popularity, int32 [B, count]."""
        out_BC = np.full((len(self), count), PAD, dtype=np.int32)
        for _ in range(TRIES):
            open_BC = out_BC == PAD
            if not open_BC.any():
                break
            position_BC = (rng.random(out_BC.shape) * self._before_B[:, None]).astype(np.int64)
            drawn_BC = self._items_N[np.minimum(position_BC, self._before_B[:, None] - 1)]
            out_BC = np.where(open_BC, np.where(self._is_eligible(drawn_BC), drawn_BC, PAD), out_BC)
        return out_BC

    def _hard(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return distinct candidates sampled from the retrieved items, int32 [B, count]."""
        if count == 0:
            return np.zeros((len(self), 0), dtype=np.int32)
        key_BR = np.where(self._retrieved_BR != PAD, rng.random(self._retrieved_BR.shape), -1.0)
        chosen_BC = order_by_score_then_index(key_BR)[:, :count]
        return np.take_along_axis(self._retrieved_BR, chosen_BC, axis=1)

    def _retrieve(self, scorer: Scorer) -> np.ndarray:
        """Return the highest-ranked items of each history, int32 [B, R]; PAD for items that may not be candidates."""
        parts = []
        for start in range(0, len(self), BLOCK):
            histories = self.cases.histories.take(slice(start, start + BLOCK))
            excluded = histories if self.exclude_seen else None
            parts.append(top_k(scorer.scores(histories), self.config.num_retrieved, exclude=excluded)[0])
        items_BR = np.concatenate(parts)
        assert self.cases.times is not None
        times_P = np.repeat(self.cases.times, items_BR.shape[1])
        known_BR = (self.interactions.counts(items_BR.ravel(), times_P) > 0).reshape(items_BR.shape)
        return np.where(known_BR & (items_BR != self.cases.targets[:, None]), items_BR, PAD)

    def _is_eligible(self, items_BC: np.ndarray) -> np.ndarray:
        other_BC: np.ndarray = items_BC != self.cases.targets[:, None]
        return other_BC & ~contains_items(self.cases.histories, items_BC) if self.exclude_seen else other_BC


def contains_items(histories: Sequences, items_BC: np.ndarray) -> np.ndarray:
    """Return True where row b of the histories has the item, bool [B, C].

    Args:
        histories: B histories.
        items_BC: int, catalog indices.
    """
    row_N, position_N = histories.positions()
    items_N = histories.items[position_N].astype(np.int64)
    width = max(int(items_N.max(initial=0)), int(items_BC.max(initial=0))) + 1
    keys = np.append(np.unique(row_N * width + items_N), np.iinfo(np.int64).max)
    wanted_BC = np.arange(len(items_BC))[:, None] * width + items_BC
    contained_BC: np.ndarray = keys[np.searchsorted(keys, wanted_BC)] == wanted_BC
    return contained_BC
