"""CSV, TSV and RecBole's .inter: Polars for a file without faults, a row-by-row reader for any other.

Both return the same rows. The Polars path is used only if checks exclude that Polars misreads the file.
"""

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segue.data.read_report import shorten_list
from segue.data.readers.formats.raw_table import (
    ROW,
    RawTable,
    RejectedRow,
    is_undecodable,
    is_unprintable,
    open_bytes,
    open_text,
    to_printable,
)

if TYPE_CHECKING:
    import polars as pl

BLOCK = 20_000
"""Number of rows held as Python objects at a time."""
RECBOLE_TYPES = ("token", "token_seq", "float", "float_seq")
"""Types of columns in a header of RecBole's."""
MAX_ROW_LINES = 200
"""Number of lines that a quoted row may span; a quotation mark open for longer is a fault."""


@dataclass(frozen=True)
class _Layout:
    """Layout of a delimited file."""

    path: Path
    separator: str
    quoted: bool
    columns: list[str]
    skipped_lines: int = 0
    """Lines before the table: blank ones, and ``sep=;``, which spreadsheets write."""
    names_separator: bool = False
    """One of them names the separator."""
    has_header: bool = True

    @property
    def lines_before(self) -> int:
        """Number of lines before the first row."""
        return self.skipped_lines + self.has_header


class _Record(NamedTuple):
    """Parsed row of a file."""

    line: int
    fields: list[str]
    text: str
    fault: str | None
    """Reason to reject the row; None: it fits the header."""


def read_recbole(path: Path) -> RawTable:
    """Read a tab-separated file with a typed header, ``user_id:token``, and without quotation."""
    raw = read_delimited(path, separator="\t", quoted=False)
    lists = [c for c in raw.frame.columns if c.endswith(("_list:token_seq", "_list:float_seq"))]
    if lists:
        raise ValueError(
            f"{path}: column '{lists[0].split(':')[0]}' holds the history of each row, as in RecBole's augmented "
            "benchmark files, which would count events several times: use the file with one event a row."
        )
    typed = (c.split(":") for c in raw.frame.columns if c.count(":") == 1)
    raw.column_types = {name: type_ for name, type_ in typed if type_ in RECBOLE_TYPES}
    raw.frame = raw.frame.rename({c: c.split(":")[0] for c in raw.frame.columns if ":" in c})
    return raw


def read_delimited(path: Path, *, separator: str, quoted: bool = True, header: bool = True) -> RawTable:
    """Read a table with or without a header.

    Args:
        path: file to read.
        separator: separator of the fields; for ",", a first line without commas is also split at ``;``, TAB or ``|``,
            and ``sep=;`` as the first line is followed.
        quoted: fields may be quoted.
        header: the first line names the columns; False: they are column_1, column_2 ...

    Raises:
        ValueError: the first line is no header of at least two columns.
    """
    (skipped, named), notes = _lines_before_table(path), []
    separator = named or separator
    columns = _first_row(path, separator, quoted, skipped)
    if len(columns) < 2 and separator == ",":
        separators = (other for other in ";\t|" if len(_first_row(path, other, quoted, skipped)) > 1)
        separator = next(separators, separator)
        columns, notes = _first_row(path, separator, quoted, skipped), [f"Fields are separated by {separator!r}."]
    if len(columns) < 2:
        raise ValueError(f"{path} has one column only; is it separated by {separator!r}?")
    if header:
        notes += _check_header(path, columns)
    else:
        columns = [f"column_{i}" for i in range(1, len(columns) + 1)]
    layout = _Layout(path, separator, quoted, columns, skipped, named is not None, header)
    raw = _read_with_polars(layout) or _read_row_by_row(layout)
    raw.notes += notes
    return raw


def _read_with_polars(layout: _Layout) -> RawTable | None:
    """Return None if Polars fails or may have misread the file."""
    import polars as pl

    try:
        with open_bytes(layout.path) as file:
            frame = pl.read_csv(
                file if layout.path.suffix.lower() == ".gz" or is_unprintable(layout.path) else layout.path,
                separator=layout.separator,
                infer_schema=False,
                quote_char='"' if layout.quoted else None,
                has_header=layout.has_header,
                skip_lines=layout.skipped_lines,
                row_index_name=ROW,
                row_index_offset=layout.lines_before + 1,
                glob=False,
            )
    except pl.exceptions.PolarsError:
        return None
    if not layout.has_header and frame.width == len(layout.columns) + 1:
        frame.columns = [ROW, *layout.columns]
    if frame.columns[1:] != layout.columns or _may_be_misread(layout, frame):
        return None
    texts = pl.col(pl.String)
    if any(frame.select((texts == "").any()).row(0)):  # an empty quoted field is missing
        frame = frame.with_columns(pl.when(texts != "").then(texts).name.keep())
    return RawTable(frame)


def _lines_before_table(path: Path) -> tuple[int, str | None]:
    """Return the number of lines before the table, and the separator that one of them, ``sep=;``, names."""
    with open_text(path) as text:
        filled = ((i, line.rstrip("\r\n")) for i, line in enumerate(islice(text, MAX_ROW_LINES)) if line.strip("\r\n"))
        blank, first = next(filled, (0, ""))
        if len(first) != 5 or not first.startswith("sep="):
            return blank, None
        return next(filled, (blank + 1, ""))[0], first[4]


def _first_row(path: Path, separator: str, quoted: bool, skipped: int) -> list[str]:
    with open_text(path) as text:
        try:
            row = next(_reader(islice(text, skipped, skipped + MAX_ROW_LINES), separator, quoted), [])
        except csv.Error:
            row = ["\x00"]
    if any(is_undecodable(name) or "\x00" in name for name in row):
        raise ValueError(
            f"{path} is not a table of text in UTF-8: its first line cannot be read. Name its encoding, such as "
            "--encoding gb18030, utf-16-le or latin-1."
        )
    return row


def _check_header(path: Path, columns: list[str]) -> list[str]:
    """Return a sentence about a header that looks like data. ValueError for two equal names."""
    duplicates = sorted(name for name, count in Counter(columns).items() if count > 1)
    if duplicates:
        raise ValueError(
            f"{path} has two columns named '{shorten_list(duplicates[:1])}'; rename one in its first line."
        )
    number = next((name for name in columns if re.fullmatch(r"-?\d+([.,]\d+)?", name.strip())), None)
    if number is None:
        return []
    return [f"The first line is read as the header, and holds the number {number}: without a header, use header none."]


def _reader(lines: Iterable[str], separator: str, quoted: bool) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)


def _may_be_misread(layout: _Layout, frame: "pl.DataFrame") -> bool:
    """Return True if Polars may have misread the file without an error.

    Polars parses a quotation mark within a field in its own way, numbers a quoted row of two lines as one line, reads
    a lone carriage return as a character, accepts an empty field behind the last one of the file, and fills a short
    row (a blank line, a truncated file) with nulls. It drops the text of a quotation that is still open at the end of
    the file; the number of quotation marks is then odd. A short row ends in a null. If there are such rows, the file
    must have the separators of full rows exactly, and no quotation mark.
    """
    import polars as pl

    has_quote = pl.col(pl.String).str.contains_any(['"', "\n"]).any()
    if frame.height == 0 or any(frame.select(has_quote).row(0)):
        return True
    separators = quotes = lone_returns = 0
    last = b""
    with open_bytes(layout.path) as file:
        while block := file.read(1 << 20):
            separators += block.count(layout.separator.encode())
            quotes += block.count(b'"')
            lone_returns += block.count(b"\r") - (last + block).count(b"\r\n")
            last = block[-1:]
    has_short_row = frame[frame.columns[-1]].null_count() > 0 and (
        quotes > 0 or separators != (frame.width - 2) * (frame.height + layout.has_header) + layout.names_separator
    )
    return has_short_row or quotes % 2 == 1 or lone_returns > 0 or last == layout.separator.encode()


def _read_row_by_row(layout: _Layout) -> RawTable:
    """Read row by row; a row that does not fit the header is rejected with its line and text."""
    import polars as pl

    rejected: list[RejectedRow] = []
    with open_text(layout.path) as text:
        lines = islice(text, layout.skipped_lines, None)
        records = _records(lines, layout.separator, layout.quoted, len(layout.columns), layout.skipped_lines + 1)
        if layout.has_header:
            next(records)
        valid = _valid_rows(records, rejected)
        blocks = [_block([], layout.columns)]
        while block := list(islice(valid, BLOCK)):
            blocks.append(_block(block, layout.columns))
    return RawTable(pl.concat(blocks), rejected)


def _valid_rows(records: Iterable[_Record], rejected: list[RejectedRow]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, fields) of the rows that fit the header; the others go to ``rejected``."""
    for record in records:
        reason = record.fault or ("not UTF-8" if is_undecodable(record.text) else None)
        if reason is None:
            yield record.line, record.fields
        else:
            rejected.append(RejectedRow(record.line, reason, to_printable(record.text)))


def _block(rows: list[tuple[int, list[str]]], header: list[str]) -> "pl.DataFrame":
    import polars as pl

    columns = {name: [fields[i] or None for _, fields in rows] for i, name in enumerate(header)}
    lines = [line for line, _ in rows]
    return pl.DataFrame({ROW: lines, **columns}, schema={ROW: pl.UInt32, **dict.fromkeys(header, pl.String)})


def _records(text: Iterable[str], separator: str, quoted: bool, width: int, line: int = 1) -> Iterator[_Record]:
    """Yield the rows, without blank lines. ``line`` is the number of the first line.

    A row that spans lines and has a wrong number of fields, or never ends, has an open quotation mark. Only its first
    line is faulty; reading continues with the second.
    """
    source, ahead = iter(text), deque[str]()
    while True:
        lines: list[str] = []
        reader = _reader(_recorded(chain(_popped(ahead), source), lines), separator, quoted)
        while True:
            fault = None
            try:
                fields = next(reader, [])
            except csv.Error as error:
                fields, fault = [], f"broken row: {error}"
            if not lines:
                return
            if fault is None and len(fields) != width:
                fault = f"{len(fields)} fields instead of {width}"
            if len(lines) > 1 and (fault is not None or not _is_closed(lines, separator)):
                ahead.extendleft(reversed(lines[1:]))
                yield _Record(line, fields, lines[0], "a quotation mark that is never closed")
                line += 1
                break  # the reader is past the row; a new one begins with the second line
            if any(part.strip("\r\n") for part in lines):
                yield _Record(line, fields, "".join(lines), fault)
            line += len(lines)
            if len(lines) == MAX_ROW_LINES:
                break  # a row of the maximum length has exhausted its reader
            lines.clear()


def _is_closed(lines: list[str], separator: str) -> bool:
    """Return True if a row that spans lines ends with its quotation, and not only because the lines end."""
    try:
        return len(list(csv.reader(lines, delimiter=separator, strict=True))) == 1
    except csv.Error:
        return False


def _popped(lines: deque[str]) -> Iterator[str]:
    while lines:
        yield lines.popleft()


def _recorded(lines: Iterable[str], into: list[str]) -> Iterator[str]:
    """Yield the lines and append each to ``into``, up to the maximum of one row."""
    for line in lines:
        into.append(line)
        yield line
        if len(into) >= MAX_ROW_LINES:
            return
