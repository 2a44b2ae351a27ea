"""Numbers in text form, as shops and spreadsheets write them: ``￥57.99``, ``５７``, ``1,299.11``, ``4,5``, ``NA``."""

import json
import math
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MISSING_WORDS = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "\\n", "-", "--", "?", "无", "未知", "缺失"}
)
"""Words for a missing value, in lower case."""
_CURRENCY = r"^(?:[¥￥$€£₩₽]|rmb|cny|usd|eur|gbp)?\s*(-?[\d.,'’\s]*\d)\s*(?:[¥￥$€£₩₽]|元|rmb|cny|usd|eur|gbp)?$"
_DECIMAL_COMMA = r"^-?(?:\d+|\d{1,3}(?:\.\d{3})+),(?:\d{1,2}|\d{4,})$"
_ANY_COMMA = r"^-?\d+,\d+$"
_POINTS_AND_COMMA = r"^-?\d{1,3}(?:\.\d{3})+,\d+$"
_COMMAS_AND_POINT = r"^-?\d{1,3}(?:,\d{3})+(?:\.\d+)?$"


_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII)


def parse_number(text: str) -> float | None:
    """Convert one text to a number, as ``parse_numbers`` does for a column of that text; None for no finite number."""
    cell = unicodedata.normalize("NFKC", text).strip().lower()
    if cell in MISSING_WORDS:
        return None
    if not _PLAIN.fullmatch(cell):
        match = re.search(_CURRENCY, cell)
        cell = re.sub(r"['’\s]", "", match[1]) if match else ""
        if re.search(_DECIMAL_COMMA, cell):
            cell = cell.replace(".", "").replace(",", ".")
        elif re.search(_COMMAS_AND_POINT, cell):
            cell = cell.replace(",", "")
    number = float(cell) if _PLAIN.fullmatch(cell) else math.inf
    return number if math.isfinite(number) else None


def parse_vector(text: str) -> list[float] | None:
    """Convert one text to floats: ``[0.5, 1]``, or ``0.5 1`` as in RecBole; None for another text."""
    try:
        parts = json.loads(text) if text.lstrip().startswith("[") else text.replace(",", " ").split()
        return [float(part) for part in parts] or None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def parse_numbers(text: "pl.Series") -> "tuple[pl.Series, pl.Series]":
    """Convert texts to numbers.

    A comma is a decimal comma if one of the column is surely one (``4,5``); otherwise it separates thousands.

    Args:
        text: texts; null: missing.

    Returns:
        float64, null for a missing value and for a text that is no finite number; and the bool mask of the latter.
    """
    import polars as pl

    cells = text.str.strip_chars()
    missing = cells.is_null() | cells.str.to_lowercase().is_in(list(MISSING_WORDS))
    numbers = cells.cast(pl.Float64, strict=False)
    rest = numbers.is_null() & ~missing
    if rest.any():
        plain = (
            cells.filter(rest)
            .str.normalize("NFKC")
            .str.to_lowercase()
            .str.extract(_CURRENCY)
            .str.replace_all(r"['’\s]", "")
        )
        if plain.str.contains(_DECIMAL_COMMA).any() and not plain.str.contains(r"\d,\d{3}\.\d").any():
            has_decimal_comma = plain.str.contains(_ANY_COMMA) | plain.str.contains(_POINTS_AND_COMMA)
            commas = plain.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
            plain = pl.select(pl.when(has_decimal_comma).then(commas).otherwise(plain)).to_series()
        thousands = plain.str.contains(_COMMAS_AND_POINT)
        joined = plain.str.replace_all(",", "", literal=True)
        plain = pl.select(pl.when(thousands).then(joined).otherwise(plain)).to_series()
        numbers = numbers.scatter(rest.arg_true(), plain.cast(pl.Float64, strict=False))
    numbers = pl.select(pl.when(numbers.is_finite() & ~missing).then(numbers)).to_series()
    return numbers.alias(text.name), numbers.is_null() & ~missing
