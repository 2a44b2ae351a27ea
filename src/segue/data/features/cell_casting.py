"""One cell of a table as its column's kind: what ``kinds.as_kind`` makes of a column, for a request. No polars."""

import json
import re
from collections.abc import Mapping
from typing import Any

from segue.data.features.column_types import ColumnType

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def cast_cell(value: Any, kind: ColumnType) -> Any:
    """The value as such a cell; None for a missing one, and for one that is none of its kind.

    >>> as_cell("tv ", "category"), as_cell("3.5", "number"), as_cell("a | b", "list"), as_cell("much", "number")
    ('tv', 3.5, ['a', 'b'], None)
    """
    if value is None:
        return None
    text = _text(value)
    if kind == "number":
        return float(value) if isinstance(value, int | float) else _number(text)
    if kind == "vector":
        found = _json(text)
        return found if isinstance(found, list) else None
    if kind == "list":
        found = _json(text) if text.startswith("[") else None
        if isinstance(found, list):
            return [str(part) for part in found]
        return [part.strip() for part in text.replace(";", "|").split("|")]
    return text.strip()


def cast_row(values: Mapping[str, Any], kinds: Mapping[str, ColumnType]) -> dict[str, Any]:
    """The cells of these columns, as ``Contexts`` keeps a row: what is missing is left out."""
    cells = {name: cast_cell(values.get(name), kind) for name, kind in kinds.items()}
    return {name: cell for name, cell in cells.items() if cell is not None}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
