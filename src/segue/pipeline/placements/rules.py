"""Rules of a placement: filters, exclusions, pins, boosts, quotas, freshness and popularity damping.

Shape letters: C candidates, V catalog size with PAD.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from segue.config.purchase_events import PURCHASE_EVENTS
from segue.config.ranges import Range, check_ranges
from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.models.top_k import SeenRule, seen_items
from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import BooleanColumn, NumberColumn, as_truth_values
from segue.pipeline.item_statistics import ItemData
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.list_builder import SlotPolicy, best_candidate, build_list
from segue.pipeline.placements.quotas import Quota, Quotas
from segue.pipeline.ranked_list import RankedList

PURCHASES = "purchases"
"""Name in ``exclude_seen`` for all event types that mean a purchase."""


@dataclass(frozen=True)
class Pin:
    """Item at a fixed position, regardless of its score, if it is allowed."""

    item: str
    """Item id."""
    position: Annotated[int, Range(ge=1)]
    """Position in the list, from 1."""

    def __post_init__(self) -> None:
        try:
            check_ranges(self)
        except ValueError as error:
            raise ValueError(f"The pin of item '{self.item}': {error}") from None


@dataclass(frozen=True)
class Boost:
    """Factor on the scores of items that pass a filter."""

    filter: str
    """Filter expression."""
    factor: Annotated[float, Range(gt=0)]
    """Factor above 0; above 1 raises an item, below 1 lowers it."""

    def __post_init__(self) -> None:
        try:
            check_ranges(self)
        except ValueError as error:
            raise ValueError(f"The boost of the filter '{self.filter}': {error}") from None


@dataclass(frozen=True)
class Freshness:
    """Score factor 1 + weight for an item whose first event is now, falling to 1 with its age."""

    weight: Annotated[float, Range(gt=0)]
    """Gain of a new item, above 0; 1 doubles its score."""
    half_life_days: Annotated[float, Range(gt=0)] = 14.0
    """Age at which the gain is half, in days, above 0."""

    def __post_init__(self) -> None:
        try:
            check_ranges(self)
        except ValueError as error:
            raise ValueError(f"freshness.{error}") from None


@dataclass(frozen=True)
class RulesConfig:
    """Rules of one placement."""

    filter: str = ""
    """Filter expression of the items that may be recommended: category == "tea" and price < 20. Empty: all."""
    exclude: tuple[str, ...] = ()
    """Ids of items that are never recommended."""
    in_stock: str | None = None
    """Column that must be true or above 0; 'none': stock does not matter."""
    exclude_seen: bool | Literal["last"] | tuple[str, ...] = True
    """Leave out items of the user's history: true, false, "last" for the last item only, or event types, as
    ["purchases"]: items with an event of these types, and the last item. "purchases" stands for all types that mean a
    purchase."""
    exclude_shown: bool = False
    """Leave out items that were recently recommended to the user; needs a server of one process."""
    pins: tuple[Pin, ...] = ()
    """Items at fixed positions. A pin never brings back an item that another rule leaves out."""
    boosts: tuple[Boost, ...] = ()
    """Factors on scores."""
    quotas: tuple[Quota, ...] = ()
    """Limits for items of a type in the list. They give way where the list would be short."""
    freshness: Freshness | None = None
    """Gain of new items; 'none': age does not matter."""
    popularity_damping: Annotated[float, Range(ge=0)] = 0.0
    """Exponent of (1 + events) that scores are divided by, at least 0; 0: no damping."""

    def __post_init__(self) -> None:
        for name in ("position", "item"):
            values = [getattr(pin, name) for pin in self.pins]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"Two pins name the {name} {twice!r}; each position and each item can be pinned once.")
        if self.exclude_seen == ():
            raise ValueError('exclude_seen needs at least one event type, or "last".')
        check_ranges(self)

    @property
    def seen_rule(self) -> SeenRule:
        """``exclude_seen`` with the event types that mean a purchase in place of "purchases"."""
        if not isinstance(self.exclude_seen, tuple) or PURCHASES not in self.exclude_seen:
            return self.exclude_seen
        return (*(name for name in self.exclude_seen if name != PURCHASES), *PURCHASE_EVENTS)


class Rules:
    """Compiled rules of one placement over one catalog."""

    def __init__(self, config: RulesConfig, item_data: ItemData, filters: Filters | None = None) -> None:
        """Compile the rules.

        Args:
            config: settings.
            item_data: catalog, columns, counts and first events of the items.
            filters: compiler of the filters, shared between placements; None: a new one.

        Raises:
            ValueError: a wrong filter or an unknown column.
        """
        self.config = config
        self._item_data = item_data
        self._filters = filters or Filters(item_data.columns)
        self.excluded_items = item_data.catalog.to_indices(config.exclude)
        """int32: indices of the excluded ids, PAD for an unknown one."""
        self.always_allowed_V = self._always_allowed()
        """bool [V]: items that filter, exclusions and stock allow, read-only."""
        self._factor_V = self._factors()
        self.quotas = Quotas(config.quotas, self._filters)
        pinned = item_data.catalog.to_indices([pin.item for pin in config.pins]).tolist()
        self.pins = {pin.position - 1: item for pin, item in zip(config.pins, pinned, strict=True) if item != PAD}
        """Position from 0 -> item index."""
        self.notes = self._notes()
        """Sentences about suspicious rules that are not wrong."""

    def _always_allowed(self) -> np.ndarray:
        """Return the items that filter, exclusions and stock allow, bool [V]."""
        allowed_V = self.mask_of(self.config.filter).copy()
        allowed_V[self.excluded_items] = False
        stock_V = self.stock_mask()
        return allowed_V if stock_V is None else allowed_V & stock_V

    def mask_of(self, filter: str) -> np.ndarray:
        """Return the items that pass a filter, bool [V], read-only. ValueError for a wrong filter."""
        return self._filters.mask(filter)

    def stock_mask(self) -> np.ndarray | None:
        """Return the items in stock, bool [V]; None where stock does not matter. ValueError for a wrong column."""
        if self.config.in_stock is None:
            return None
        column = as_truth_values(self._item_data.columns[self.config.in_stock])
        if not isinstance(column, BooleanColumn | NumberColumn):
            raise ValueError(
                f"in_stock names the column '{self.config.in_stock}', which is neither true or false nor a number."
            )
        with np.errstate(invalid="ignore"):
            return column.values_V > 0

    def _factors(self) -> np.ndarray:
        """Return boosts times popularity damping, float64 [V]."""
        factor_V = (1.0 + self._item_data.counts_V) ** -self.config.popularity_damping
        for boost in self.config.boosts:
            factor_V[self._filters.mask(boost.filter)] *= boost.factor
        return factor_V

    def _notes(self) -> tuple[str, ...]:
        catalog = self._item_data.catalog
        unknown = [
            item for item in (*self.config.exclude, *(pin.item for pin in self.config.pins)) if item not in catalog
        ]
        notes = [f"The catalog does not hold the item '{item}' that a rule names." for item in unknown]
        filters = [self.config.filter, *(boost.filter for boost in self.config.boosts)]
        filters += [quota.filter for quota in self.config.quotas if quota.filter is not None]
        notes += [f"No item passes the filter '{f}'." for f in filters if not self._filters.mask(f).any()]
        positions = {item: position + 1 for position, item in self.pins.items() if not self.always_allowed_V[item]}
        notes += [
            f"The pin of '{catalog.ids[item - 1]}' at position {position} is never shown: the filter, the exclusions "
            "or the stock of the placement leave it out."
            for item, position in positions.items()
        ]
        return tuple(notes)

    def seen_items(self, histories: Sequences, exclude_seen: SeenRule | None = None) -> Sequences | None:
        """Return the items of each history that its list must not contain, row b for row b; None for no items.

        Args:
            histories: B histories.
            exclude_seen: rule of the request in place of the placement's; None: the placement's.
        """
        return seen_items(histories, self.config.seen_rule if exclude_seen is None else exclude_seen)

    def allowed_items(
        self,
        history: Sequences | Sequence[int] | np.ndarray,
        *,
        exclude_seen: SeenRule | None = None,
        impressions: Sequence[int] | np.ndarray = (),
        exclude: Sequence[int] | np.ndarray = (),
        filter: str = "",
    ) -> np.ndarray:
        """Return the items that may be recommended for a history, bool [V], to apply before the top-k selection.

        Args:
            history: one row, or its item indices.
            exclude_seen: rule of the request for seen items; None: the placement's.
            impressions: items recently recommended to the user.
            exclude: items that this request leaves out.
            filter: filter expression of this request, in addition to the placement's.

        Raises:
            ValueError: a wrong filter.
        """
        allowed_V = (
            self.always_allowed_V & self._filters.request_mask(filter) if filter else self.always_allowed_V.copy()
        )
        allowed_V[np.asarray(exclude, dtype=np.int64)] = False
        row = history if isinstance(history, Sequences) else Sequences.from_lists([np.asarray(history).tolist()])
        seen = self.seen_items(row, exclude_seen)
        if seen is not None:
            allowed_V[seen.items[seen.starts[0] : seen.stops[0]]] = False
        if self.config.exclude_shown:
            allowed_V[np.asarray(impressions, dtype=np.int64)] = False
        return allowed_V

    def rescore(self, ranked: RankedList, *, now_us: int) -> RankedList:
        """Return the list with boosts, freshness and popularity damping, best first.

        A factor multiplies a score and divides a negative one, so that a boost always raises. Factors mean most for
        scores that are probabilities or sums of 1 / rank.

        Args:
            ranked: the ranked list.
            now_us: time of the request, UTC microseconds.
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
        """Build the final list under this placement's pins and quotas; see ``list_builder.build_list``.

        Args:
            ranked: candidates, best first.
            k: largest length of the list.
            allowed_V: bool, items that may be listed.
            fallback: steps that fill the list.
            policy: selects the item of each position without a pin.
        """
        return build_list(ranked, k, allowed_V, fallback=fallback, pins=self.pins, quotas=self.quotas, policy=policy)
