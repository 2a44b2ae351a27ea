"""Event log reader: a file or a table to an ``EventLog``."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segue.config.decode import split_by_config
from segue.data.event_log import EventLog
from segue.data.features.number_text import parse_numbers
from segue.data.log_description import LogDescription
from segue.data.preprocessing import PreprocessingConfig, preprocess
from segue.data.read_report import ReadReport
from segue.data.readers import rejected_rows, sessions, timestamps
from segue.data.readers.column_roles import NO_COLUMN, assign_column_roles
from segue.data.readers.date_and_time import join_date_and_time
from segue.data.readers.event_types import keep_event_types, to_event_types
from segue.data.readers.formats.data_frames import read_data_frame
from segue.data.readers.formats.file_formats import guess_format, read_raw
from segue.data.readers.formats.raw_table import ROW, RawTable, RejectedRow
from segue.data.readers.ids import ids_to_text, warn_of_missing_words
from segue.data.readers.later_log import complete_options, fit_columns
from segue.data.readers.log_options import describe
from segue.data.readers.losses import check_loss
from segue.data.readers.options import ReadOptions
from segue.data.readers.row_filter import filter_rows

if TYPE_CHECKING:
    import polars as pl


def read_events(
    source: Any, *, format: str | None = None, like: LogDescription | None = None, **options: Any
) -> EventLog:
    """Read an event log from a file or a table.

    >>> import polars as pl
    >>> shop = pl.DataFrame({"customer": [1, 1, 2], "sku": ["a", "b", "a"], "date": ["2024-05-01"] * 3})
    >>> read_events(shop).report.lines()[0]
    'the table: 3 rows read, 3 events kept.'

    Args:
        source: path of a file, or a Polars, pandas or Arrow table.
        format: format of the file (see ``ReadOptions.format``); None: that of ``like``, or by its suffix.
        like: description of an earlier log, as a loaded model has it; its options are the defaults. None: no such log.
        options: fields of ``ReadOptions`` (columns, encoding, header, time_unit, time_format, time_zone, where,
            events, strict, allow_loss, rejected, latest_us) and of ``PreprocessingConfig`` (session_gap_s,
            min_user_events, min_item_events, drop_repeats, max_user_item_events).

    Returns:
        The log. Its ``report`` counts the rows and states every guess; bad rows are rejected, each with a reason.

    Raises:
        ValueError: the source is missing, empty, or has no valid row; more than 20 % of its rows are rejected without
            ``allow_loss``; a needed column is missing; an option is invalid.
    """
    given = options if format is None else {"format": format, **options}
    completed, notes = (given, []) if like is None else complete_options(like, source, given)
    parts = split_by_config(completed, {"read": ReadOptions, "preprocess": PreprocessingConfig})
    read_options, preprocessing = ReadOptions(**parts["read"]), PreprocessingConfig(**parts["preprocess"])
    if isinstance(source, str | Path):
        path, name = Path(source), str(source)
        format = guess_format(path) if read_options.format == "auto" else read_options.format
        raw = read_raw(path, format, encoding=read_options.encoding, header=read_options.header != "none")
    else:
        name, format, raw = "the table", "table", read_data_frame(source)
    raw.notes += notes
    if like is not None:
        raw, read_options = fit_columns(like, raw, read_options, given)
        if raw.is_labeled_test:
            preprocessing = PreprocessingConfig(**{n: v for n, v in parts["preprocess"].items() if n in given})
    log = preprocess(_build_log(raw, name, format, read_options), preprocessing)
    description = describe(source, read_options, preprocessing, log.report.description.columns)
    return log.with_frame(log.frame, replace(log.report, description=description))


def _build_log(raw: RawTable, source: str, format: str, options: ReadOptions) -> EventLog:
    """Return the log of raw columns: filter rows, convert ids and times, reject invalid rows."""
    import polars as pl

    rows_read = raw.frame.height + len(raw.rejected)
    raw.frame, chosen, joined_notes = join_date_and_time(raw.frame, options.columns)
    assigned, notes = _assign_roles(raw, chosen)
    columns, blank_notes = sessions.decline_sessions_with_blanks(raw.frame, assigned, chosen)
    guesses = [note for note in notes if not blank_notes or not note.endswith(" is read as session_id.")]
    notes = joined_notes + guesses + blank_notes
    _refuse_nested(raw, columns)
    frame, type_notes = _filter(raw, columns, options)
    notes += type_notes
    filtered_out = raw.frame.height - frame.height
    converted = _convert_columns(frame, columns, raw.ordered, options)
    cells = converted.cells
    mixed = {
        row: reason
        for role in rejected_rows.IDS
        for row, reason in raw.mixed_type_rows.get(columns.get(role, ""), {}).items()
    }
    is_suspect = rejected_rows.has_invalid_cell(cells, options.latest_us) | frame[ROW].is_in(list(mixed))
    suspects = {role: column.filter(is_suspect) for role, column in cells.items()}
    invalid = rejected_rows.reject_rows(frame.filter(is_suspect), columns, suspects, mixed, options.latest_us)
    others = [c for c in frame.columns if c != ROW and c not in columns.values() and c not in cells]
    kept = pl.DataFrame([series.alias(role) for role, series in cells.items()] + [frame[c] for c in others])
    if invalid:
        is_rejected = frame[ROW].is_in([rejected.row for rejected in invalid])
        invalid += rejected_rows.others_of_lines(frame[ROW].filter(is_rejected), invalid)
        kept = kept.filter(~is_rejected)
    kept, shared_notes = sessions.separate_shared_sessions(kept)
    rejected = [*raw.rejected, *invalid]
    rejected_path = _write_or_refuse(rejected, source, options)
    reasons, cause = rejected_rows.count_by_reason(rejected), _cause_of_loss(rejected)
    if kept.height == 0:
        left_out = f" {filtered_out} were filtered out by the condition." if filtered_out else ""
        raise ValueError(f"{source} has no usable row; {rows_read} were read.{left_out}{cause}")
    counted = {reason: count for reason, count in reasons.items() if reason != rejected_rows.FUTURE}
    future = rejected_rows.warn_of_future(rejected)
    loss = check_loss(source, counted, rows_read - filtered_out, allowed=options.allow_loss, cause=cause)
    report = ReadReport(
        source=source,
        format=format,
        columns=columns,
        notes=tuple(dict.fromkeys([*raw.notes, *notes, *converted.notes])),
        rows_read=rows_read,
        rejected=reasons,
        filtered_out=filtered_out,
        rejected_path=rejected_path,
        warnings=(*loss, *future, *converted.warnings, *shared_notes),
        description=LogDescription(columns={**columns, **{r: NO_COLUMN for r in assigned if r not in columns}}),
    )
    return EventLog(kept, converted.has_times, report, raw.is_labeled_test)


def _filter(raw: RawTable, columns: Mapping[str, str], options: ReadOptions) -> "tuple[pl.DataFrame, list[str]]":
    """Return the rows that the condition and the event types keep, and sentences about the types."""
    frame = raw.frame
    if options.where is not None:
        ids = {columns[role] for role in rejected_rows.IDS if role in columns}
        times = options.time_form(None if raw.ordered else columns.get("timestamp"))
        frame = filter_rows(frame, options.where, ids, times)
    if options.events is None:
        return frame, []
    return keep_event_types(frame, columns.get("event"), options.events)


def _assign_roles(raw: RawTable, chosen: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return role -> column, and sentences about the guesses. An error names a missing header."""
    try:
        return assign_column_roles([c for c in raw.frame.columns if c != ROW], chosen)
    except ValueError as error:
        header = [note for note in raw.notes if note.startswith("The first line is read as the header")]
        raise ValueError(" ".join([str(error), *header])) from None


def _refuse_nested(raw: RawTable, columns: Mapping[str, str]) -> None:
    for role, column in columns.items():
        if column in raw.nested_columns:
            raise ValueError(
                f"Column '{column}' holds nested values, so it cannot be {role}: ids are text or numbers. Write its "
                "parts as columns of their own."
            )


def _cause_of_loss(rejected: list[RejectedRow]) -> str:
    if not rejected:
        return ""
    first = min(rejected)
    cause = f" The first: {first.reason} (row {first.row})."
    if first.reason == rejected_rows.NO_TIME:
        cause += " Times of another form are read with time_format, for example %d/%m/%Y %H:%M."
    return cause


def _write_or_refuse(rejected: list[RejectedRow], source: str, options: ReadOptions) -> str | None:
    """Write the rejected rows to the file of the options, and return its path. Raises ValueError with ``strict``."""
    path = None if options.rejected is None else Path(options.rejected)
    if path is not None:
        rejected_rows.write_rejected_rows(path, rejected)
    if rejected and options.strict:
        first = min(rejected)
        raise ValueError(
            f"{source} row {first.row}: {first.reason}. {len(rejected)} such rows; without strict they are rejected."
        )
    return None if path is None else str(path)


class _Converted(NamedTuple):
    """Converted columns of a log."""

    cells: "dict[str, pl.Series]"
    """Role -> column in the type of ``EventLog.frame``."""
    notes: list[str]
    warnings: list[str]
    has_times: bool


def _convert_columns(
    frame: "pl.DataFrame", columns: Mapping[str, str], ordered: bool, options: ReadOptions
) -> _Converted:
    import polars as pl

    cells: dict[str, pl.Series] = {}
    notes: list[str] = []
    warnings: list[str] = []
    for role in rejected_rows.IDS:
        if role in columns:
            cells[role], id_notes = ids_to_text(frame[columns[role]], role)
            notes += id_notes
            if role != "session_id" or columns.get("user_id") != columns[role]:
                warnings += warn_of_missing_words(cells[role], role)
    if {"user_id", "session_id"} <= columns.keys() and columns["user_id"] != columns["session_id"]:
        notes += sessions.fill_guests(cells, frame[columns["user_id"]])
    has_times = not ordered and "timestamp" in columns
    if has_times:
        column = frame[columns["timestamp"]]
        cells["timestamp"], time_notes = timestamps.to_microseconds(
            column, options.time_unit, options.time_format, options.time_zone
        )
        notes += time_notes
    else:
        cells["timestamp"] = pl.Series(np.arange(frame.height, dtype=np.int64))
        if not ordered:
            notes.append("There is no time column; the file's order is read as the order of events.")
    if "event" in columns:
        cells["event"] = to_event_types(frame[columns["event"]])
    if "value" in columns:
        cells["value"], value_notes = _values(frame[columns["value"]])
        notes += value_notes
    return _Converted(cells, notes, warnings, has_times)


def _values(column: "pl.Series") -> "tuple[pl.Series, list[str]]":
    """Return the values as float64, and a sentence about cells that are no numbers."""
    import polars as pl

    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        numbers, invalid = parse_numbers(column.cast(pl.String))
        count = int(invalid.sum())
        example = str(column.filter(invalid)[0]) if count else ""
        note = f"{count:,} cells of '{column.name}' are no numbers, as '{example[:40]}', and are read as missing."
        return numbers, [note] if count else []
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise ValueError(
            f"Column '{column.name}' holds {column.dtype}, so it cannot be the value, which is a number: name another "
            "column for value, or none."
        )
    return column.cast(pl.Float64, strict=False), []
