"""Columns in the types that filter expressions know: numbers, true or false, text, times, lists of texts."""

from typing import TYPE_CHECKING, Literal

from segue.config.flag_words import flag_words
from segue.data.features.number_text import parse_numbers
from segue.data.features.plain_cells import to_plain

if TYPE_CHECKING:
    import polars as pl

ConditionType = Literal["numbers", "true or false", "text", "times", "lists of texts"]


def typed_column(series: "pl.Series") -> "tuple[pl.Series, ConditionType]":
    """Return a column in one of the types that expressions know; NaN becomes null, a time becomes microseconds."""
    import polars as pl

    series = to_plain(series)
    dtype = series.dtype
    if dtype == pl.Boolean:
        return series, "true or false"
    if dtype.is_numeric():
        return (series.fill_nan(None) if dtype.is_float() else series), "numbers"
    if dtype in (pl.Date, pl.Datetime):
        return series.dt.epoch("us"), "times"
    if dtype == pl.List:
        return series.cast(pl.List(pl.String), strict=False), "lists of texts"
    return (series if dtype == pl.String else series.cast(pl.String, strict=False)), "text"


def to_numbers(series: "pl.Series") -> "pl.Series | None":
    """Return a column of texts as numbers, also with currencies and decimal commas; None if a text is no number."""
    numbers, invalid = parse_numbers(series)
    words_only = numbers.null_count() == len(numbers) > series.null_count()
    return None if invalid.any() or words_only else numbers


def to_truth_values(series: "pl.Series") -> "pl.Series | None":
    """Return a column of "true" and "false", or of other flag words, as truth values; None for other texts."""
    distinct = series.drop_nulls().unique().to_list()
    if not distinct:
        return series == "true"
    true_words = flag_words(distinct).get(True)
    return None if true_words is None else series.is_in(true_words)
