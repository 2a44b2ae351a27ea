"""Event types of a log, such as click and purchase: their column as text, and the rows of some types."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from segue.data.read_report import shorten_list

if TYPE_CHECKING:
    import polars as pl


def to_event_types(column: "pl.Series") -> "pl.Series":
    """Return the event types as text. ValueError for a column of lists, bytes or other values that are no text."""
    import polars as pl

    if isinstance(column.dtype, pl.List | pl.Array | pl.Struct | pl.Object | pl.Binary | pl.Duration):
        raise ValueError(
            f"Column '{column.name}' holds {column.dtype}, so it cannot be the event type, which is text: name another "
            "column for event, or none."
        )
    return column.cast(pl.String, strict=False)


def keep_event_types(
    frame: "pl.DataFrame", column: str | None, types: Collection[str]
) -> "tuple[pl.DataFrame, list[str]]":
    """Return the rows of some event types, and a sentence about a type that no row has.

    Args:
        frame: raw columns of the log.
        column: column of the event type; None: the log has none.
        types: event types to keep.

    Raises:
        ValueError: the log has no column of event types, or it is nested.
    """
    if column is None:
        raise ValueError(
            f"No column of this log is the event type, so only {', '.join(types)} cannot be kept: name it, for example "
            "event=NAME, or keep all types (events none)."
        )
    texts = to_event_types(frame[column]).str.strip_chars()
    known = texts.drop_nulls().unique().sort().to_list()
    absent = [name for name in types if name not in known]
    notes = [f"No row is of the type {shorten_list(absent)}. The types: {shorten_list(known)}."] if absent else []
    return frame.filter(texts.is_in(list(types)).fill_null(False)), notes
