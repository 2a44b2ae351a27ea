"""Changes of single cells in item columns, and new items behind the others: columns with them, the old ones unchanged.

Shape letters: V catalog size with PAD, N values of all items' lists, U changed items.
"""

import math
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segue.config.flag_words import MAX_WORDS, flag_words
from segue.pipeline.filters.item_columns import (
    ITEM_ID,
    NO_CODE,
    TYPE_NAMES,
    BooleanColumn,
    ItemColumn,
    ItemColumns,
    ListColumn,
    NumberColumn,
    TextColumn,
)

_HINTS = {
    ("numbers", "text"): " Write it without quotes.",
    ("numbers", "true or false"): " Write 1 or 0.",
    ("true or false", "a number"): " Write true or false.",
    ("true or false", "text"): " Write true or false.",
    ("text", "a number"): " Write it in quotes.",
    ("lists of texts", "text"): " Write it in brackets.",
}
"""(Type of the column, type of the value) -> remedy."""


def check_cell(columns: ItemColumns, name: str, value: Any) -> None:
    """Check that a column can hold a value; None, a missing value, fits every column.

    Args:
        columns: the items' columns.
        name: name of the column.
        value: plain value: text, number, truth value, list or None.

    Raises:
        ValueError: an unknown column, or a value of another type than the column's.
    """
    column = columns[name]
    if value is None:
        return
    if isinstance(column, NumberColumn):
        fits = type(value) in (int, float) and abs(value) <= sys.float_info.max
    elif isinstance(column, BooleanColumn):
        fits = isinstance(value, bool) or (isinstance(value, str) and bool(flag_words([value])))
    elif isinstance(column, ListColumn):
        fits = isinstance(value, list)
    else:
        fits = isinstance(value, str)
    if not fits:
        holds, given = TYPE_NAMES[type(column)], _type_name(value)
        hint = _HINTS.get((holds, given), "")
        raise ValueError(f"Column '{name}' holds {holds}, but the value is {given}.{hint}")
    if isinstance(column, TextColumn) and _is_other_word(column, value):
        raise ValueError(
            f"Column '{name}' holds the flags {', '.join(column.values)}: '{value}' is neither true nor false."
        )


def _is_other_word(column: TextColumn, value: str) -> bool:
    """Return whether a text would make texts of a column of flag words, which a rule may read as stock."""
    if not 0 < len(column.values) <= MAX_WORDS or value in column.values:
        return False
    return bool(flag_words(column.values)) and not flag_words([*column.values, value])


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "text"


def row_of(columns: ItemColumns, index: int) -> dict[str, Any]:
    """Return the known values of one item by column, without ``item_id``.

    Args:
        columns: the items' columns.
        index: item index.
    """
    cells = {name: _cell(columns[name], index) for name in columns.names if name != ITEM_ID}
    return {name: cell for name, cell in cells.items() if cell is not None}


def _cell(column: ItemColumn, index: int) -> Any:
    if not column.is_known[index]:
        return None
    if isinstance(column, NumberColumn):
        return float(column.values_V[index])
    if isinstance(column, BooleanColumn):
        return bool(column.values_V[index])
    if isinstance(column, TextColumn):
        return column.values[column.codes_V[index]]
    return [column.values[code] for code in column.codes_N[column.offsets[index] : column.offsets[index + 1]].tolist()]


def update_columns(
    columns: ItemColumns, rows: Mapping[int, Mapping[str, Any]], new_ids: Sequence[str] = ()
) -> ItemColumns:
    """Return the columns with changed cells and new items; a value that its column cannot hold is missing.

    Args:
        columns: the items' columns, which stay unchanged.
        rows: item index -> column -> value, None for a missing one. Columns that the items lack are ignored.
        new_ids: ids of items that follow the others; their cells are in ``rows`` or missing.
    """
    size = columns.size + len(new_ids)
    changed: dict[str, dict[int, Any]] = {name: {} for name in columns.names}
    for index, row in rows.items():
        for name, value in row.items():
            if name in changed and name != ITEM_ID:
                changed[name][index] = value if _fits(columns, name, value) else None
    changed[ITEM_ID] = dict(enumerate(new_ids, start=columns.size))
    return ItemColumns.from_columns(
        {name: _updated(columns[name], cells, size) for name, cells in changed.items()}, size
    )


def _fits(columns: ItemColumns, name: str, value: Any) -> bool:
    try:
        check_cell(columns, name, value)
    except ValueError:
        return False
    return True


def _updated(column: ItemColumn, cells: Mapping[int, Any], size: int) -> ItemColumn:
    if not cells and len(column.is_known) == size:
        return column
    if isinstance(column, TextColumn):
        return _updated_text(column, cells, size)
    if isinstance(column, ListColumn):
        return _updated_lists(column, cells, size)
    missing = math.nan if isinstance(column, NumberColumn) else NO_CODE
    values_V = _extended(column.values_V, size, missing)
    for index, value in cells.items():
        values_V[index] = missing if value is None else _number_of(value)
    return type(column)(values_V)


def _number_of(value: float | str) -> float:
    """Return a number or flag as a number; a word such as 有货 as 1 or 0."""
    return float(bool(flag_words([value]).get(True))) if isinstance(value, str) else float(value)


def _extended(array_V: np.ndarray, size: int, filler: float) -> np.ndarray:
    return np.concatenate([array_V, np.full(size - len(array_V), filler, dtype=array_V.dtype)])


def _with_values(values: tuple[str, ...], codes: np.ndarray, texts: set[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the sorted values with new texts among them, and the codes of the old ones in it."""
    new_texts = sorted(text for text in texts if (at := bisect_left(values, text)) == len(values) or values[at] != text)
    if not new_texts:
        return values, codes.copy()
    positions = np.array([bisect_left(values, text) for text in new_texts])
    shift = np.searchsorted(positions, codes, side="right").astype(codes.dtype)
    return tuple(sorted([*values, *new_texts])), np.where(codes == NO_CODE, NO_CODE, codes + shift).astype(codes.dtype)


def _updated_text(column: TextColumn, cells: Mapping[int, Any], size: int) -> TextColumn:
    values, codes_V = _with_values(column.values, column.codes_V, {cell for cell in cells.values() if cell is not None})
    codes_V = _extended(codes_V, size, NO_CODE)
    for index, cell in cells.items():
        codes_V[index] = NO_CODE if cell is None else bisect_left(values, cell)
    return TextColumn(codes_V, values)


def _updated_lists(column: ListColumn, cells: Mapping[int, Any], size: int) -> ListColumn:
    parts = {index: list(dict.fromkeys(str(part) for part in cell or ())) for index, cell in cells.items()}
    values, codes_N = _with_values(column.values, column.codes_N, {part for row in parts.values() for part in row})
    holder_N = np.repeat(np.arange(len(column.is_known)), np.diff(column.offsets))
    kept_N = ~np.isin(holder_N, list(cells))
    new_codes = [bisect_left(values, part) for row in parts.values() for part in row]
    new_holders = np.repeat(np.array(list(parts), dtype=np.int64), [len(row) for row in parts.values()])
    holders = np.concatenate([holder_N[kept_N], new_holders])
    codes = np.concatenate([codes_N[kept_N], np.array(new_codes, dtype=codes_N.dtype)])
    order = np.argsort(holders, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(holders, minlength=size))]).astype(np.int64)
    is_known = _extended(column.is_known, size, False)
    for index, cell in cells.items():
        is_known[index] = cell is not None
    return ListColumn(offsets, codes[order].astype(np.int32), values, is_known)
