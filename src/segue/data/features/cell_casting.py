"""Casts of single cells, for the event contexts of a request: ``cast_column`` without polars."""

import json
from collections.abc import Mapping
from typing import Any

from segue.data.features.column_types import ColumnType
from segue.data.features.number_text import parse_number, parse_vector


def cast_cell(value: Any, column_type: ColumnType) -> Any:
    """Cast one value to a column type; None for a missing or invalid value.

    >>> cast_cell("tv ", "category"), cast_cell("3.5", "number"), cast_cell("a | b", "list")
    ('tv', 3.5, ['a', 'b'])

    Args:
        value: plain value of a request.
        column_type: type of the column.
    """
    if value is None:
        return None
    text = _text(value)
    if column_type == "number":
        return _finite(value) if isinstance(value, int | float) else parse_number(text)
    if column_type == "vector":
        return parse_vector(text)
    if column_type == "list":
        parts = _json(text) if text.startswith("[") else None
        if isinstance(parts, list):
            return [str(part) for part in parts]
        return [part.strip() for part in text.replace(";", "|").split("|")]
    return text.strip()


def cast_row(values: Mapping[str, Any], column_types: Mapping[str, ColumnType]) -> dict[str, Any]:
    """Cast the values of some columns, as ``EventContexts`` stores a row; missing values are left out.

    Args:
        values: column -> plain value.
        column_types: columns to cast and their types.
    """
    cells = {name: cast_cell(values.get(name), type_) for name, type_ in column_types.items()}
    return {name: cell for name, cell in cells.items() if cell is not None}


def _finite(value: float) -> float | None:
    """Return a number as float; None for one beyond the largest, of a JSON body as long as a request may be."""
    try:
        return float(value)
    except OverflowError:
        return None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
