"""What a business asks of one placement: which items may be shown, which are favored, pinned, counted.

Shape letters: C candidates, V catalog size with PAD.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.time_units import DAY_US
from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import BooleanColumn, NumberColumn
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.list_builder import SlotPolicy, best_candidate, build_list
from segue.pipeline.placements.quotas import Quota, Quotas
from segue.pipeline.ranked_list import RankedList


@dataclass(frozen=True)
class Pin:
    """An item at a fixed place, whatever its score, where it may be shown at all."""

    item: str
    """Its id."""
    position: int
    """Its place, from 1."""

    def __post_init__(self) -> None:
        if self.position < 1:
            raise ValueError(f"A pin's position is a place from 1, got {self.position} for item '{self.item}'.")


@dataclass(frozen=True)
class Boost:
    """A factor on the scores of the items that a filter lets through."""

    filter: str
    """Which items."""
    factor: float
    """Above 1 they rise, below 1 they fall."""

    def __post_init__(self) -> None:
        if self.factor <= 0:
            raise ValueError(f"A boost's factor must be above 0, got {self.factor} for the filter '{self.filter}'.")


@dataclass(frozen=True)
class Freshness:
    """A factor of 1 + weight for an item whose first event is now, falling to 1 with its age."""

    weight: float
    """How much a brand-new item gains: 1 doubles its score."""
    half_life_days: float = 14.0
    """After so many days the gain is half."""

    def __post_init__(self) -> None:
        for name in ("weight", "half_life_days"):
            if getattr(self, name) <= 0:
                raise ValueError(f"freshness.{name} must be above 0, got {getattr(self, name)}.")


@dataclass(frozen=True)
class RulesConfig:
    """The rules of one placement."""

    filter: str = ""
    """Only items that it lets through are shown: category == "tea" and price < 20. Empty: all."""
    exclude: tuple[str, ...] = ()
    """Ids of items that are never shown."""
    in_stock: str | None = None
    """A column: only items where it is true or above 0 are shown; 'none': stock is not asked about."""
    exclude_seen: bool = True
    """Whether items of the person's history are left out."""
    exclude_shown: bool = False
    """Whether items that were lately shown to the person are left out."""
    pins: tuple[Pin, ...] = ()
    """Items at fixed places. A pin never brings back what the rules above leave out."""
    boosts: tuple[Boost, ...] = ()
    """Factors on scores."""
    quotas: tuple[Quota, ...] = ()
    """How many of a kind a list may or must hold. They give way where it would otherwise be short."""
    freshness: Freshness | None = None
    """A gain for new items; 'none': age does not matter."""
    popularity_damping: float = 0.0
    """Scores are divided by (1 + events) to this power; 0: popularity is left as it is."""

    def __post_init__(self) -> None:
        for name in ("position", "item"):
            values = [getattr(pin, name) for pin in self.pins]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"Two pins name the {name} {twice!r}; each place and each item can be pinned once.")
        if self.popularity_damping < 0:
            raise ValueError(f"popularity_damping must be at least 0, got {self.popularity_damping}.")


class Rules:
    """The rules of one placement over one catalog; filters are compiled once."""

    def __init__(self, config: RulesConfig, item_data: ItemData, filters: Filters | None = None) -> None:
        """ValueError for a filter, a column that is wrong. ``filters`` may be shared between placements."""
        self.config = config
        self._item_data = item_data
        self._filters = filters or Filters(item_data.columns)
        self._allowed_V = self._always_allowed()
        self._factor_V = self._factors()
        self.quotas = Quotas(config.quotas, self._filters)
        pinned = item_data.catalog.to_indices([pin.item for pin in config.pins]).tolist()
        self.pins = {pin.position - 1: item for pin, item in zip(config.pins, pinned, strict=True) if item != PAD}
        """The items' indices by place, from 0."""
        self.notes = self._notes()
        """What is suspicious but not wrong, as sentences."""

    def _always_allowed(self) -> np.ndarray:
        """What no request can change: filter, exclusions, stock."""
        allowed_V = self._filters.mask(self.config.filter).copy()
        allowed_V[self._item_data.catalog.to_indices(self.config.exclude)] = False
        if self.config.in_stock is not None:
            column = self._item_data.columns[self.config.in_stock]
            if not isinstance(column, BooleanColumn | NumberColumn):
                raise ValueError(
                    f"in_stock names the column '{self.config.in_stock}', which is neither true or false nor a number."
                )
            with np.errstate(invalid="ignore"):
                allowed_V &= column.values_V > 0
        return allowed_V

    def _factors(self) -> np.ndarray:
        """float64 [V]: boosts and damping together."""
        factor_V = (1.0 + self._item_data.counts_V) ** -self.config.popularity_damping
        for boost in self.config.boosts:
            factor_V[self._filters.mask(boost.filter)] *= boost.factor
        return factor_V

    def _notes(self) -> tuple[str, ...]:
        catalog = self._item_data.catalog
        unknown = [
            item for item in (*self.config.exclude, *(pin.item for pin in self.config.pins)) if item not in catalog
        ]
        notes = [f"The catalog does not know the item '{item}' that a rule names." for item in unknown]
        filters = [self.config.filter, *(boost.filter for boost in self.config.boosts)]
        filters += [quota.filter for quota in self.config.quotas if quota.filter is not None]
        notes += [f"No item passes the filter '{f}'." for f in filters if not self._filters.mask(f).any()]
        return tuple(notes)

    def allowed_items(
        self,
        history: Sequence[int] | np.ndarray,
        *,
        impressions: Sequence[int] | np.ndarray = (),
        exclude: Sequence[int] | np.ndarray = (),
        filter: str = "",
    ) -> np.ndarray:
        """What may be shown to somebody with this history, bool [V]: to be asked before any top-k is taken.

        ``shown`` are items shown to the person lately, ``exclude`` and ``filter`` what this one request leaves out
        besides. ValueError where the request's filter is wrong.
        """
        allowed_V = self._allowed_V & self._filters.mask(filter) if filter else self._allowed_V.copy()
        allowed_V[np.asarray(exclude, dtype=np.int64)] = False
        if self.config.exclude_seen:
            allowed_V[np.asarray(history, dtype=np.int64)] = False
        if self.config.exclude_shown:
            allowed_V[np.asarray(impressions, dtype=np.int64)] = False
        return allowed_V

    def rescore(self, ranked: RankedList, *, now_us: int) -> RankedList:
        """Boosts, freshness and popularity damping: new scores, best first.

        A factor multiplies a score; one below 0 it divides, so that a boost always raises. Factors mean most where
        scores are probabilities or sums of 1 / rank.
        """
        config = self.config
        if not (config.boosts or config.freshness or config.popularity_damping):
            return ranked
        factor_C = self._factor_V[ranked.items_C]
        if config.freshness is not None:
            age_days_C = np.maximum(
                (now_us - self._item_data.first_us_V[ranked.items_C].astype(np.float64)) / DAY_US, 0.0
            )
            factor_C = factor_C * (
                1.0 + config.freshness.weight * 0.5 ** (age_days_C / config.freshness.half_life_days)
            )
        scores_C = ranked.scores_C
        return ranked.rescored(np.where(scores_C >= 0, scores_C * factor_C, scores_C / factor_C))

    def build_list(
        self,
        ranked: RankedList,
        k: int,
        allowed_V: np.ndarray,
        *,
        fallback: FallbackChain,
        policy: SlotPolicy = best_candidate,
    ) -> RankedList:
        """The final list under this placement's pins and quotas, as ``arrange.arrange``."""
        return build_list(ranked, k, allowed_V, fallback=fallback, pins=self.pins, quotas=self.quotas, policy=policy)
