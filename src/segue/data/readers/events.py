"""Event log reader: a file or a table to an ``EventLog``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import split_by_config
from segue.data.preprocessing import PreprocessingConfig, preprocess
from segue.data.read_report import ReadReport
from segue.data.readers import rejected_rows, timestamps
from segue.data.readers.column_roles import assign_column_roles
from segue.data.readers.data_frames import read_data_frame
from segue.data.readers.formats import guess_format, read_raw
from segue.data.readers.ids import ids_to_text
from segue.data.readers.options import ReadOptions
from segue.data.readers.raw_table import ROW, RawTable, RejectedRow

if TYPE_CHECKING:
    import polars as pl

from segue.data.event_log import EventLog


def read_events(source: Any, *, format: str = "auto", **options: Any) -> EventLog:
    """A log from a file, or from a Polars, pandas or Arrow table.

    Options are the fields of ``ReadOptions`` (columns, time_unit, time_format, where, strict, rejected) and of ``Trim``
    (session_gap_s, min_user_events, min_item_events, drop_repeats). ValueError, in one sentence, for what is no log:
    missing, empty, without the needed columns, without a good row.

    >>> import polars as pl
    >>> shop = pl.DataFrame({"customer": [1, 1, 2], "sku": ["a", "b", "a"], "date": ["2024-05-01"] * 3})
    >>> read_events(shop).report.lines()[0]
    'the table: 3 rows read, 3 events kept.'
    """
    shares = split_by_config({"format": format, **options}, {"read": ReadOptions, "trim": PreprocessingConfig})
    chosen, wanted = ReadOptions(**shares["read"]), PreprocessingConfig(**shares["trim"])
    if isinstance(source, str | Path):
        path = Path(source)
        kind = guess_format(path) if chosen.format == "auto" else chosen.format
        return preprocess(_build(read_raw(path, kind), str(path), kind, chosen), wanted)
    return preprocess(_build(read_data_frame(source), "the table", "table", chosen), wanted)


def _build(raw: RawTable, source: str, kind: str, options: ReadOptions) -> EventLog:
    """Raw columns -> a log: the condition, then ids and times, then what is left."""
    import polars as pl

    rows_read = raw.frame.height + len(raw.rejected)
    columns, notes = assign_column_roles([c for c in raw.frame.columns if c != ROW], options.columns)
    frame = raw.frame if options.where is None else _where(raw.frame, options.where, columns)
    left_out = raw.frame.height - frame.height
    ready, more, has_times = _columns(frame, columns, raw.ordered, options)
    mixed = {
        place: why for role in rejected_rows.IDS for place, why in raw.mixed.get(columns.get(role, ""), {}).items()
    }
    suspect = rejected_rows.has_invalid_cell(ready) | frame[ROW].is_in(list(mixed))
    aside = rejected_rows.reject_rows(
        frame.filter(suspect), columns, {role: column.filter(suspect) for role, column in ready.items()}, mixed
    )
    others = [c for c in frame.columns if c != ROW and c not in columns.values() and c not in ready]
    kept = pl.DataFrame([series.alias(role) for role, series in ready.items()] + [frame[c] for c in others])
    if aside:
        kept = kept.filter(~frame[ROW].is_in([row for row, _, _ in aside]))
    refused = [*raw.rejected, *aside]
    path = _settle(refused, source, options)
    if kept.height == 0:
        raise ValueError(f"{source} has no usable row; {rows_read} were read.{_why_none(refused, left_out)}")
    report = ReadReport(
        source,
        kind,
        columns,
        tuple(dict.fromkeys([*raw.notes, *notes, *more])),
        rows_read,
        rejected_rows.count_by_reason(refused),
        left_out,
        path,
    )
    return EventLog(kept, has_times, report, raw.is_labeled_test)


def _why_none(refused: list[RejectedRow], left_out: int) -> str:
    told = f" {left_out} were left out by the condition." if left_out else ""
    if refused:
        row, reason, _ = min(refused)
        told += f" The first: {reason} (row {row})."
        if reason == rejected_rows.NO_TIME:
            told += " Times of another form are read with time_format, for example %d/%m/%Y %H:%M."
    return told


def _settle(refused: list[RejectedRow], source: str, options: ReadOptions) -> str | None:
    """Writes the refused rows where that was asked; ValueError where there shall be none."""
    path = None if options.rejected is None else Path(options.rejected)
    if path is not None:
        rejected_rows.write_rejected_rows(path, refused)
    if refused and options.strict:
        row, reason, _ = min(refused)
        raise ValueError(f"{source} row {row}: {reason}. {len(refused)} such rows; leave out strict to set them aside.")
    return None if path is None else str(path)


def _where(frame: "pl.DataFrame", condition: str, columns: Mapping[str, str]) -> "pl.DataFrame":
    """The rows that meet the condition. A text file has texts only, so that "Quantity > 0" could not be asked of it:
    columns without an id that hold nothing but numbers are compared as numbers then."""
    import polars as pl

    ids = {columns[role] for role in rejected_rows.IDS if role in columns}
    try:
        wanted = pl.sql_expr(condition)
        try:
            met = frame.select(wanted).to_series()
        except pl.exceptions.PolarsError:
            texts = [c for c in frame.columns if frame[c].dtype == pl.String and c not in ids]
            met = frame.with_columns(_number(frame[c]) for c in texts).select(wanted).to_series()
    except pl.exceptions.PolarsError as error:
        cause = str(error).splitlines()[0].removesuffix(".")
        raise ValueError(f"The condition '{condition}' does not work on this log: {cause}.") from None
    if met.dtype != pl.Boolean or len(met) != frame.height:
        raise ValueError(f"The condition '{condition}' is not true or false for each row; write for example price > 0.")
    return frame.filter(met)


def _number(column: "pl.Series") -> "pl.Series":
    import polars as pl

    number = column.cast(pl.Float64, strict=False)
    return number if number.null_count() == column.null_count() else column


def _columns(
    frame: "pl.DataFrame", columns: Mapping[str, str], ordered: bool, options: ReadOptions
) -> "tuple[dict[str, pl.Series], list[str], bool]":
    """(our columns in our types, sentences about guesses, whether there are times)."""
    import polars as pl

    ready: dict[str, pl.Series] = {}
    notes: list[str] = []
    for role in rejected_rows.IDS:
        if role in columns:
            ready[role], more = ids_to_text(frame[columns[role]], role)
            notes += more
    has_times = not ordered and "timestamp" in columns
    if has_times:
        column = frame[columns["timestamp"]]
        ready["timestamp"], note = timestamps.to_microseconds(column, options.time_unit, options.time_format)
        notes.append(note)
    else:
        ready["timestamp"] = pl.Series(np.arange(frame.height, dtype=np.int64))
        if not ordered:
            notes.append("There is no time column; the file's order is taken as the order of events.")
    for role, dtype in (("event", pl.String), ("value", pl.Float64)):
        if role in columns:
            ready[role] = frame[columns[role]].cast(dtype, strict=False)
    return ready, notes, has_times
