"""Quotas: upper and lower limits for items of a type in a list, counted while the list is built.

Shape letters: V catalog size with PAD.
"""

from dataclasses import dataclass

import numpy as np

from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import TYPE_NAMES, ListColumn, TextColumn


@dataclass(frozen=True)
class Quota:
    """Limits for items with a value of a column, or for items that pass a filter."""

    column: str | None = None
    """Column: ``at_most`` items of each of its values, where an item of several values counts for each; 'none': see
    filter."""
    filter: str | None = None
    """Filter expression of the counted items; 'none': see column."""
    at_most: int | None = None
    """Largest number of these items, at least 1; 'none': no upper limit."""
    at_least: int | None = None
    """Smallest number of these items, from 0 to at_most, with a filter only; 'none': no lower limit."""

    def __post_init__(self) -> None:
        if (self.column is None) == (self.filter is None):
            raise ValueError("A quota counts either the values of a column or the items that pass a filter: name one.")
        if self.at_most is None and self.at_least is None:
            raise ValueError(f"The quota on {self._described} has neither at_most nor at_least.")
        if self.column is not None and self.at_least is not None:
            raise ValueError(
                f"The quota on {self._described} requires at least {self.at_least} of every value, which no list can "
                "hold: name one value with a filter."
            )
        at_least, at_most = self.at_least or 0, self.at_most
        if at_least < 0 or (at_most is not None and (at_most < 1 or at_most < at_least)):
            raise ValueError(
                f"The quota on {self._described} must have at_most of at least 1 and at_least between 0 and at_most, "
                f"got at_most {at_most} and at_least {self.at_least}."
            )

    @property
    def _described(self) -> str:
        return f"column '{self.column}'" if self.column is not None else f"the filter '{self.filter}'"


class Quotas:
    """Compiled quotas of one placement."""

    def __init__(self, quotas: tuple[Quota, ...], filters: Filters) -> None:
        """Compile the filters of the quotas.

        Args:
            quotas: settings.
            filters: compiler of the filters.

        Raises:
            ValueError: a wrong filter, an unknown column, or one without values to count.
        """
        self.value_limits = [
            (_countable(quota, filters), quota.at_most or 0) for quota in quotas if quota.column is not None
        ]
        masks = [(filters.mask(quota.filter), quota) for quota in quotas if quota.filter is not None]
        self.upper_limits = [(mask_V, quota.at_most) for mask_V, quota in masks if quota.at_most is not None]
        self.lower_limits = [(mask_V, quota.at_least) for mask_V, quota in masks if quota.at_least]
        self.size = filters.columns.size

    def __bool__(self) -> bool:
        return bool(self.value_limits or self.upper_limits or self.lower_limits)

    def start(self) -> "QuotaCounter":
        """Return the counter of an empty list."""
        return QuotaCounter(self)


class QuotaCounter:
    """Counts of a growing list against its quotas."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self.is_closed_V = np.zeros(quotas.size, dtype=bool)
        """bool: items that an upper limit excludes now."""
        self._values: list[dict[int, int]] = [{} for _ in quotas.value_limits]
        self._most = [0] * len(quotas.upper_limits)
        self._least = [at_least for _, at_least in quotas.lower_limits]

    def add(self, item: int) -> None:
        """Count an item of the list."""
        for (column, at_most), counts in zip(self._quotas.value_limits, self._values, strict=True):
            for code in column.value_pairs(np.array([item]))[1].tolist():
                counts[code] = counts.get(code, 0) + 1
                if counts[code] == at_most:
                    self.is_closed_V |= column.items_with(code)
        for i, (mask_V, at_most) in enumerate(self._quotas.upper_limits):
            self._most[i] += bool(mask_V[item])
            if self._most[i] == at_most:
                self.is_closed_V |= mask_V
        for i, (mask_V, _) in enumerate(self._quotas.lower_limits):
            self._least[i] -= bool(mask_V[item])

    @property
    def num_required(self) -> int:
        """Number of positions that the lower limits still require, as if no item served two of them."""
        return sum(max(0, missing) for missing in self._least)

    def required_items(self) -> np.ndarray:
        """Return the items that serve an unmet lower limit, bool [V]."""
        out_V = np.zeros(self._quotas.size, dtype=bool)
        for (mask_V, _), missing in zip(self._quotas.lower_limits, self._least, strict=True):
            if missing > 0:
                out_V |= mask_V
        return out_V


def _countable(quota: Quota, filters: Filters) -> TextColumn | ListColumn:
    assert quota.column is not None
    column = filters.columns[quota.column]
    if not isinstance(column, TextColumn | ListColumn):
        raise ValueError(
            f"A quota counts the values of column '{quota.column}', which holds {TYPE_NAMES[type(column)]}: "
            "only text and lists have values to count; use a filter."
        )
    return column
