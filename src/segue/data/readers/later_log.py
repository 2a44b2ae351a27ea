"""Later logs of a model: read as its training log was, where the file is like that log, and as it is where not.

A file of ``segue clean`` or ``segue export`` has the columns ``user_id``, ``item_id`` ..., in UTF-8, with UTC times. So
a column that is missing is looked for by the name of its role, and its options of times, encoding or header then give
way. Every such difference is reported.
"""

import zlib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segue.config.expressions import columns_of
from segue.data.log_description import LogDescription
from segue.data.read_report import shorten_list
from segue.data.readers.column_roles import NO_COLUMN
from segue.data.readers.formats.encodings import is_utf8_instead
from segue.data.readers.formats.file_formats import TEXT_FORMATS, guess_format
from segue.data.readers.formats.files import find_files
from segue.data.readers.formats.raw_table import ROW, RawTable, open_bytes
from segue.data.readers.log_options import suffix_of
from segue.data.readers.options import ReadOptions
from segue.data.readers.row_filter import filter_rows

if TYPE_CHECKING:
    import polars as pl

NEEDED = ("user_id", "item_id", "timestamp")
"""Roles whose column a later log must have."""
EXPORTED = ("event_id", "source", "context")
"""Columns that only a file of ``segue export`` has."""
_ZONED_TIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$"
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(ReadOptions)}
_TIME_OPTIONS = ("time_unit", "time_format", "time_zone")


def complete_options(like: LogDescription, source: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the options for a file: those given, and those of the description that hold for this file.

    Args:
        like: description of the training log.
        source: path or table to read.
        given: options of the caller; they come before those of the description.

    Returns:
        Options of ``read_events``, and sentences about described options that do not hold for the file.
    """
    options = {**like.options, **given, "columns": {**like.columns, **(given.get("columns") or {})}}
    if not isinstance(source, str | Path):
        return options, []
    path, notes = Path(source), []
    own_format = _format_by_suffix(path)
    is_own = own_format in ("csv", "tsv") and _has_own_header(path)
    if "format" not in given and own_format is not None and (is_own or suffix_of(path) != like.suffix):
        options.pop("format", None)
    format = options.get("format", own_format)
    if "header" not in given and (is_own or format not in ("csv", "tsv")):
        options.pop("header", None)
    encoding = like.options.get("encoding")
    if encoding is not None and "encoding" not in given:
        if format not in TEXT_FORMATS:
            del options["encoding"]
        elif all(is_utf8_instead(file.path, encoding) for file in find_files(path)):
            del options["encoding"]
            notes.append(f"{path.name} is not in {encoding}, unlike the log of the training: it is UTF-8.")
    return options, notes


def _format_by_suffix(path: Path) -> str | None:
    try:
        return guess_format(path)
    except ValueError:
        return None


def _has_own_header(path: Path) -> bool:
    """Return whether the first line of a table holds the names ``user_id`` and ``item_id``."""
    try:
        with open_bytes(find_files(path)[0].path) as file:
            first = file.readline(10_000)
    except (OSError, EOFError, zlib.error):  # damaged: the reader of the format states it
        return False
    return b"user_id" in first and b"item_id" in first


def fit_columns(
    like: LogDescription, raw: RawTable, options: ReadOptions, given: Mapping[str, Any]
) -> tuple[RawTable, ReadOptions]:
    """Find the described columns in a later log.

    Args:
        like: description of the training log.
        raw: raw columns of the later log.
        options: options of ``complete_options``.
        given: options of the caller.

    Returns:
        The log with the column names of the training log, and the options that hold for it.

    Raises:
        ValueError: the log has no column for the user, the item or the time, or lacks a column of the condition.
    """
    found = _find_columns(like, raw, dict(options.columns or {}), given.get("columns") or {})
    renamed = found.renamed
    raw = replace(
        raw,
        frame=raw.frame.rename(renamed),
        notes=[*raw.notes, *found.notes],
        mixed_type_rows={renamed.get(name, name): rows for name, rows in raw.mixed_type_rows.items()},
        nested_columns=frozenset(renamed.get(name, name) for name in raw.nested_columns),
    )
    options = replace(options, columns=found.columns)
    if "timestamp" in renamed or _has_zoned_times(raw.frame, found.columns.get("timestamp"), options.time_format):
        own = [name for name in _TIME_OPTIONS if name not in given]
        if "time_zone" in own and _name_zones(raw.frame[found.columns["timestamp"]]):
            own.remove("time_zone")  # it is not needed for the times, and the times of a condition are in it
        options = replace(options, **{name: _DEFAULTS[name] for name in own})
    return _fit_condition(raw, options, given, renamed)


class _LaterColumns(NamedTuple):
    """Columns of a later log that stand for the described ones."""

    columns: dict[str, str]
    """Role -> column, after the renaming."""
    renamed: dict[str, str]
    """Column of the later log, named like its role -> column of the training log."""
    notes: list[str]


def _find_columns(
    like: LogDescription, raw: RawTable, columns: dict[str, str], own: Mapping[str, str]
) -> _LaterColumns:
    """Find the column of each described role; ``columns``: described and given ones, ``own``: given ones."""
    renamed: dict[str, str] = {}
    notes: list[str] = []
    names = raw.frame.columns
    for role, column in like.columns.items():
        if role in own or column == NO_COLUMN or _has_column(raw.frame, column):
            continue
        if role in names and column in renamed.values():
            columns[role] = role
        elif role in names:
            renamed[role] = column
        elif role == "user_id" and column == like.columns.get("session_id") and "session_id" in names:
            del columns[role]  # a user is a session, as at training
        elif role in NEEDED and not (raw.ordered and role == "timestamp"):
            raise ValueError(
                f"The log has no column '{column}' for {role}, as the log of the training had: name the column, for "
                f"example {role}=NAME. Its columns: {shorten_list(name for name in names if name != ROW)}."
            )
        else:
            del columns[role]
            notes.append(f"The log has no column '{column}' for {role}, unlike that of the training.")
    if renamed:
        listed = ", ".join(f"'{role}' for '{column}'" for role, column in renamed.items())
        notes.append(f"The log has Segue's own column names: {listed}.")
    notes += [] if "session_id" in own else _decline_blank_sessions(raw, columns, renamed)
    return _LaterColumns(columns, renamed, notes)


def _decline_blank_sessions(raw: RawTable, columns: dict[str, str], renamed: Mapping[str, str]) -> list[str]:
    """Decline a session column with blanks, whose rows would be rejected, and return a sentence about it."""
    column = columns.get("session_id", NO_COLUMN)
    name = "session_id" if "session_id" in renamed else column
    if column == columns.get("user_id") or name not in raw.frame.columns or not raw.frame[name].null_count():
        return []
    columns["session_id"] = NO_COLUMN
    return [f"Column '{name}' is blank in {raw.frame[name].null_count():,} rows and is not read as session_id."]


def _fit_condition(
    raw: RawTable, options: ReadOptions, given: Mapping[str, Any], renamed: Mapping[str, str]
) -> tuple[RawTable, ReadOptions]:
    """Leave the condition out for a server's events and for formats without further columns."""
    if raw.ordered and "events" not in given:
        options = replace(options, events=None)
    if options.where is None or "where" in given:
        return raw, options
    missing = [name for name in columns_of(options.where) if name not in raw.frame.columns]
    if not missing:
        _check_condition(raw, options, renamed)
        return raw, options
    if not raw.ordered and not set(EXPORTED) <= set(raw.frame.columns):
        raise ValueError(
            f"The log has no column '{missing[0]}', which the condition of the training names ({options.where}): write "
            "--where none (in Python where=None) to read it without, or another condition."
        )
    note = f"The condition of the training ({options.where}) is not applied: this log has no '{missing[0]}'."
    return replace(raw, notes=[*raw.notes, note]), replace(options, where=None)


def _check_condition(raw: RawTable, options: ReadOptions, renamed: Mapping[str, str]) -> None:
    """Refuse a condition on times that this log holds in another form than that of the training."""
    assert options.where is not None
    renamed_times = renamed.get("timestamp")
    if renamed_times not in columns_of(options.where):
        return
    try:
        filter_rows(raw.frame.head(1), options.where, times=options.time_form(renamed_times))
    except ValueError as error:
        raise ValueError(
            f"The condition of the training does not fit the times of this log; give another --where, or --where none "
            f"(in Python where=None). {error}"
        ) from None


def _has_column(frame: "pl.DataFrame", column: str) -> bool:
    """Return whether a frame has a column, or both parts of ``DATE+TIME``."""
    return column in frame.columns or ("+" in column and all(part in frame.columns for part in column.split("+", 1)))


def _has_zoned_times(frame: "pl.DataFrame", column: str | None, pattern: str | None) -> bool:
    """Return whether texts name their zone in ISO 8601 and do not have the pattern of the training log."""
    import polars as pl

    if pattern is None or column not in frame.columns or frame[column].dtype != pl.String:
        return False
    texts = frame[column].drop_nulls().head(1000)
    return _name_zones(texts) and bool(texts.str.to_datetime(pattern, strict=False).is_null().all())


def _name_zones(times: "pl.Series") -> bool:
    """Return whether times, of the first 1,000 cells of text, name their zone."""
    import polars as pl

    if times.dtype == pl.String:
        texts = times.drop_nulls().head(1000)
        return len(texts) > 0 and bool(texts.str.contains(_ZONED_TIME).all())
    return isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None
