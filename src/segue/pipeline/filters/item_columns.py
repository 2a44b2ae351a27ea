"""Item features as typed numpy columns over the catalog, for filters, quotas and diversification.

Shape letters: V catalog size with PAD, N values of all items' lists, C items.
"""

import difflib
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segue.config.flag_words import flag_words
from segue.data.catalog import Catalog
from segue.data.read_report import shorten_list

NO_CODE = -1
"""Code of a missing value, and of a value that no item has."""
ITEM_ID = "item_id"


@dataclass(frozen=True)
class NumberColumn:
    """One number per item."""

    values_V: np.ndarray
    """float64; NaN: missing."""

    @property
    def is_known(self) -> np.ndarray:
        """bool [V]: the item has a value."""
        return ~np.isnan(self.values_V)


@dataclass(frozen=True)
class BooleanColumn:
    """One truth value per item."""

    values_V: np.ndarray
    """int8: 1, 0, or NO_CODE for a missing value."""

    @property
    def is_known(self) -> np.ndarray:
        """bool [V]: the item has a value."""
        return self.values_V != NO_CODE


@dataclass(frozen=True)
class TextColumn:
    """One text per item, as an index in the sorted distinct texts."""

    codes_V: np.ndarray
    """int32; NO_CODE: missing."""
    values: tuple[str, ...]
    """Distinct texts, sorted."""

    @property
    def is_known(self) -> np.ndarray:
        """bool [V]: the item has a value."""
        return self.codes_V != NO_CODE

    def truth_values(self) -> BooleanColumn | None:
        """Return the column as truth values if its texts are flag words, as 有货 and 缺货; None for other texts."""
        true_words = flag_words(self.values).get(True)
        if true_words is None:
            return None
        truth = np.array([*(value in true_words for value in self.values), NO_CODE], dtype=np.int8)
        return BooleanColumn(truth[self.codes_V])

    def items_with(self, code: int) -> np.ndarray:
        """Return the items with this value, bool [V]; none for NO_CODE."""
        return (self.codes_V == code) & (code != NO_CODE)

    def value_pairs(self, items_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (row in ``items_C``, code) of every value of these items."""
        codes_C = self.codes_V[items_C]
        row = np.flatnonzero(codes_C != NO_CODE)
        return row, codes_C[row]


@dataclass(frozen=True)
class ListColumn:
    """A list of distinct texts per item."""

    offsets: np.ndarray
    """int64 [V + 1]: item i has ``codes_N[offsets[i]:offsets[i + 1]]``."""
    codes_N: np.ndarray
    values: tuple[str, ...]
    """Distinct texts, sorted."""
    is_known: np.ndarray
    """bool [V]: True for an empty list, False for a missing one."""

    def items_with(self, code: int) -> np.ndarray:
        """Return the items with this value in their list, bool [V]."""
        holder_N = np.searchsorted(self.offsets, np.flatnonzero(self.codes_N == code), side="right") - 1
        out_V = np.zeros(len(self.is_known), dtype=bool)
        out_V[holder_N] = code != NO_CODE
        return out_V

    def value_pairs(self, items_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (row in ``items_C``, code) of every value of these items."""
        count_C = self.offsets[items_C + 1] - self.offsets[items_C]
        row = np.repeat(np.arange(len(items_C)), count_C)
        shift = np.repeat(self.offsets[items_C] - (np.cumsum(count_C) - count_C), count_C)
        return row, self.codes_N[shift + np.arange(len(row))]


ItemColumn = NumberColumn | BooleanColumn | TextColumn | ListColumn
TYPE_NAMES: dict[type, str] = {
    NumberColumn: "numbers",
    BooleanColumn: "true or false",
    TextColumn: "text",
    ListColumn: "lists of texts",
}
"""Type of a column in messages."""


def code_of(column: TextColumn | ListColumn, value: str) -> int:
    """Return the index of a value in a column; NO_CODE for a value that no item has.

    Args:
        column: texts or lists of texts.
        value: the text.
    """
    at = bisect_left(column.values, value)
    return at if at < len(column.values) and column.values[at] == value else NO_CODE


def as_truth_values(column: ItemColumn) -> ItemColumn:
    """Return a column of flag words, as yes and no, as truth values; any other column unchanged."""
    truth_values = column.truth_values() if isinstance(column, TextColumn) else None
    return column if truth_values is None else truth_values


class ItemColumns:
    """Columns of the items by name, ``item_id`` among them. PAD is missing in every column."""

    def __init__(self, catalog: Catalog, columns: Mapping[str, ItemColumn]) -> None:
        self.size = catalog.size
        self._columns = {ITEM_ID: _texts([None, *catalog.ids]), **columns}

    @classmethod
    def from_items(cls, items: Mapping[str, Mapping[str, Any]], catalog: Catalog) -> "ItemColumns":
        """Build the columns of an items table.

        A column of numbers only is a number column; of lists, a list column; of truth values, also as "true" and
        "false", a boolean column; any other one is text. A missing value and NaN are missing.

        Args:
            items: item id -> column -> value, as of ``ItemTable.for_catalog`` or of an artifact.
            catalog: the items; others are ignored.
        """
        cells: dict[str, list[Any]] = {}
        for item, row in items.items():
            if item in catalog:
                index = int(catalog.to_indices([item])[0])
                for name, value in row.items():
                    if name not in cells:
                        cells[name] = [None] * catalog.size
                    cells[name][index] = value
        return cls(catalog, {name: _column(values) for name, values in cells.items() if name != ITEM_ID})

    @classmethod
    def from_columns(cls, columns: Mapping[str, ItemColumn], size: int) -> "ItemColumns":
        """Return the columns of a mapping that holds ``item_id`` too.

        Args:
            columns: name -> column of ``size`` items, PAD among them.
            size: V, catalog size with PAD.
        """
        out = cls.__new__(cls)
        out.size, out._columns = size, dict(columns)
        return out

    @property
    def names(self) -> list[str]:
        """Names of the columns, in the order of the table."""
        return list(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> ItemColumn:
        """Return a column. ValueError with the nearest name for an unknown one."""
        if name not in self._columns:
            raise ValueError(self.unknown_column_message(name))
        return self._columns[name]

    def unknown_column_message(self, name: str) -> str:
        """Return the sentence about an unknown column, with the nearest name."""
        close = difflib.get_close_matches(name, self._columns, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"The columns: {shorten_list(self.names)}."
        return f"The items have no column '{name}'. {hint}"


def _column(cells: list[Any]) -> ItemColumn:
    known = [cell for cell in cells if cell is not None]
    if all(isinstance(cell, bool) or cell in ("true", "false") for cell in known):
        return BooleanColumn(
            np.array([NO_CODE if cell is None else cell in (True, "true") for cell in cells], dtype=np.int8)
        )
    if all(type(cell) in (int, float) for cell in known):
        numbers = np.array([math.nan if cell is None else float(cell) for cell in cells])
        return NumberColumn(np.where(np.isfinite(numbers), numbers, math.nan))
    if all(isinstance(cell, list | tuple) for cell in known):
        return _lists(cells)
    return _texts([None if cell is None else str(cell) for cell in cells])


def _texts(cells: list[str | None]) -> TextColumn:
    values = tuple(sorted({cell for cell in cells if cell is not None}))
    code = {value: i for i, value in enumerate(values)}
    return TextColumn(np.array([NO_CODE if cell is None else code[cell] for cell in cells], dtype=np.int32), values)


def _lists(cells: list[Any]) -> ListColumn:
    rows = [[] if cell is None else list(dict.fromkeys(str(part) for part in cell)) for cell in cells]
    values = tuple(sorted({part for row in rows for part in row}))
    code = {value: i for i, value in enumerate(values)}
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    codes_N = np.array([code[part] for row in rows for part in row], dtype=np.int32)
    return ListColumn(offsets, codes_N, values, np.array([cell is not None for cell in cells], dtype=bool))
