"""Rejected rows: rows that cannot be events, their reasons, and the file that lists them."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.readers.formats.raw_table import MAX_TEXT_CHARS, ROW, RejectedRow
from segue.data.readers.ids import invalid_id_reason, is_valid_id
from segue.data.readers.timestamps import LATEST_US

if TYPE_CHECKING:
    import polars as pl

IDS = ("user_id", "item_id", "session_id")
NO_TIME = "timestamp is missing or no time between 1970 and 2200"
FUTURE = "timestamp lies in the future"
OTHER_OF_LINE = "another event of the line is invalid"


def has_invalid_cell(cells: "Mapping[str, pl.Series]", latest_us: int = LATEST_US) -> "pl.Series":
    """Return the bool mask of rows that may be invalid.

    A vectorized filter without false negatives: ``reject_rows`` checks the few rows that remain.

    Args:
        cells: role -> converted column.
        latest_us: latest valid timestamp, UTC microseconds.
    """
    valid, *others = (is_valid_id(cells[role]) for role in IDS if role in cells)
    for other in others:
        valid &= other
    if "timestamp" in cells:
        times = cells["timestamp"]
        valid &= times.is_not_null() & (times >= 0) & (times <= latest_us)
    return ~valid.fill_null(False)


def reject_rows(
    suspects: "pl.DataFrame",
    columns: Mapping[str, str],
    cells: "Mapping[str, pl.Series]",
    mixed: Mapping[int, str],
    latest_us: int = LATEST_US,
) -> list[RejectedRow]:
    """Return the suspect rows that are invalid, each with its first reason.

    Args:
        suspects: raw columns of the suspect rows, and ROW.
        columns: role -> raw column.
        cells: role -> converted column of the suspect rows.
        mixed: row number -> reason, of rows whose id has the rarer type of a column with two types.
        latest_us: latest valid timestamp, UTC microseconds.
    """
    row_numbers = suspects[ROW].to_list()
    reasons: list[str | None] = [mixed.get(row) for row in row_numbers]
    for role in IDS:
        if role in cells:
            original = suspects[columns[role]]
            missing = (original.fill_nan(None) if original.dtype.is_float() else original).is_null().to_list()
            for i, text in enumerate(cells[role].to_list()):
                reasons[i] = reasons[i] or invalid_id_reason(text, role, missing[i])
    for i, time_us in enumerate(cells["timestamp"].to_list() if "timestamp" in cells else ()):
        if time_us is None or not 0 <= time_us <= LATEST_US:
            reasons[i] = reasons[i] or NO_TIME
        elif time_us > latest_us:
            reasons[i] = reasons[i] or FUTURE
    texts = (",".join("" if v is None else str(v) for v in row) for row in _plain_rows(suspects.drop(ROW)))
    return [
        RejectedRow(row, reason, text[:MAX_TEXT_CHARS])
        for row, reason, text in zip(row_numbers, reasons, texts, strict=True)
        if reason is not None
    ]


def _plain_rows(frame: "pl.DataFrame") -> "list[tuple[Any, ...]]":
    """Return the rows as Python values; spans of time and nested dates that Python lacks are numbers or left out."""
    import polars as pl
    import polars.selectors as cs

    try:
        return frame.rows()
    except (OverflowError, ValueError, pl.exceptions.PanicException):
        return frame.select(cs.exclude(cs.nested(), cs.object())).with_columns(cs.temporal().to_physical()).rows()


def others_of_lines(rows: "pl.Series", invalid: Iterable[RejectedRow]) -> list[RejectedRow]:
    """Return the valid events of lines with an invalid event, in formats with several events a line.

    Args:
        rows: line of each event of these lines.
        invalid: the invalid events.
    """
    others = Counter(rows.to_list()) - Counter(rejected.row for rejected in invalid)
    return [RejectedRow(row, OTHER_OF_LINE, "") for row in others.elements()]


def count_by_reason(rejected: Iterable[RejectedRow]) -> dict[str, int]:
    """Count rejected rows by reason, the most frequent first."""
    counts: dict[str, int] = {}
    for row in rejected:
        counts[row.reason] = counts.get(row.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def warn_of_future(rejected: Iterable[RejectedRow]) -> list[str]:
    """Return a sentence about the rows of the future, with the first of them; none without any."""
    rows = sorted(row for row in rejected if row.reason == FUTURE)
    if not rows:
        return []
    verbs = "row lies in the future and is" if len(rows) == 1 else "rows lie in the future and are"
    return [f"{len(rows):,} {verbs} set aside; the first is row {rows[0].row}: {rows[0].text[:80]}"]


def write_rejected_rows(path: Path, rejected: Iterable[RejectedRow]) -> None:
    """Write rejected rows as CSV with row, reason, text, by row; only the header without any.

    Args:
        path: file to write.
        rejected: rows in any order.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "reason", "text"])
        writer.writerows(sorted(rejected))
