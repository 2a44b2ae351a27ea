"""Types of feature columns (category, list, number, text, vector): inference and casts."""

import json
from typing import TYPE_CHECKING, Literal

from segue.config.flag_words import flag_words
from segue.data.features.number_text import parse_numbers, parse_vector
from segue.data.features.plain_cells import to_plain

if TYPE_CHECKING:
    import polars as pl

_MAX_INVALID = 0.05
"""Largest share of cells that are no numbers in a column of numbers."""
ColumnType = Literal["category", "list", "number", "text", "vector"]


def infer_column_type(column: "pl.Series") -> ColumnType:
    """Infer the type of a column from its dtype and its cells."""
    import polars as pl

    column = to_plain(column)
    if column.dtype.is_numeric():
        return "number"
    if column.dtype == pl.List:
        return "vector" if column.dtype.inner.is_numeric() and column.dtype.inner.is_float() else "list"  # type: ignore[attr-defined]
    text = column.cast(pl.String).drop_nulls()
    return "category" if len(text) == 0 else _infer_from_text(text)


def _infer_from_text(text: "pl.Series") -> ColumnType:
    numbers, invalid = parse_numbers(text)
    if numbers.is_not_null().any() and int(invalid.sum()) <= _MAX_INVALID * (len(text) - numbers.null_count()):
        return "number"
    if _json_lists(text) is not None or text.str.contains(r"\w\s*[|;]\s*\w").mean() > 0.2:  # type: ignore[operator]
        return "list"
    if flag_words(text.unique()):
        return "category"
    words = text.str.split(" ").list.len().mean()
    return "text" if text.n_unique() > 0.5 * len(text) or float(words) > 4 else "category"  # type: ignore[arg-type]


def describe_column(column: "pl.Series", typed: "pl.Series", column_type: ColumnType) -> str:
    """Return a sentence about the type of a column, with the number of lost cells and one of them.

    Args:
        column: cells of the source.
        typed: the same cells, cast to the type.
        column_type: type of the column.
    """
    import polars as pl

    column = to_plain(column)
    start = f"Column '{column.name}' is read as {column_type}"
    lost = column.filter(typed.is_null() & column.is_not_null())
    if len(lost):
        example = lost.cast(pl.String, strict=False)[0] if lost.dtype.is_nested() is False else lost[0]
        return f"{start}; {len(lost):,} cells have no such value, as {str(example)[:40]!r}."
    if column_type not in ("category", "text") or column.dtype != pl.String:
        return f"{start}."
    numbers, invalid = parse_numbers(column)
    found, words = int(numbers.is_not_null().sum()), int(invalid.sum())
    if found > words > 0:
        example = column.filter(invalid)[0]
        return f"{start}, although most cells are numbers: {words:,} are not, as {example[:40]!r}."
    flags = flag_words(column.drop_nulls().unique()).items()
    if meanings := [f"{', '.join(names)} is {str(value).lower()}" for value, names in flags if names]:
        return f"{start}; in filters {', '.join(meanings)}."
    return f"{start}."


def cast_column(column: "pl.Series", column_type: ColumnType) -> "pl.Series":
    """Cast a column to a type; null for an invalid cell.

    Args:
        column: cells of any dtype.
        column_type: type to cast to.
    """
    import polars as pl

    column = to_plain(column)
    if column_type == "number":
        if column.dtype == pl.List:
            return pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
        is_text = column.dtype in (pl.String, pl.Categorical, pl.Enum)
        return parse_numbers(column.cast(pl.String))[0] if is_text else column.cast(pl.Float64, strict=False)
    if column_type == "list" and column.dtype != pl.List:
        return _split(column)
    if column_type == "vector" and column.dtype != pl.List:
        return _vectors(column.cast(pl.String))
    return column if column.dtype == pl.List else column.cast(pl.String).str.strip_chars()


def _vectors(text: "pl.Series") -> "pl.Series":
    """Convert ``[0.5, 1]`` and ``0.5 1`` to lists of floats; null for a text that holds another part."""
    import polars as pl

    vectors = [None if cell is None else parse_vector(cell) for cell in text.to_list()]
    return pl.Series(text.name, vectors, dtype=pl.List(pl.Float64))


def _split(column: "pl.Series") -> "pl.Series":
    """Split ``"a|b; c"`` or ``'["a", "b", "c"]'`` into ["a", "b", "c"]."""
    import polars as pl

    text = column.cast(pl.String)
    lists = _json_lists(text)
    if lists is not None:
        return pl.Series(column.name, lists, dtype=pl.List(pl.String))
    parts = text.str.replace_all(";", "|", literal=True).str.split("|")
    return parts.list.eval(pl.element().str.strip_chars())


def _json_lists(text: "pl.Series") -> list[list[str] | None] | None:
    """Return the cells as lists if all are JSON lists, else None."""
    if not text.str.starts_with("[").all():
        return None
    try:
        lists = [None if cell is None else json.loads(cell) for cell in text.to_list()]
    except (ValueError, RecursionError):
        return None
    return [None if cell is None else [str(part) for part in cell] for cell in lists]
