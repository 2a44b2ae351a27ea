"""CSV, TSV and RecBole's .inter: a fast reader for a file without faults, a careful one for any other.

Both give the same rows; the fast one only proves first that there is nothing for the careful one to find.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from segue.data.readers.raw_table import ROW, RawTable, RejectedRow, is_undecodable, open_bytes, open_text, to_printable

if TYPE_CHECKING:
    import polars as pl

BLOCK = 20_000
"""Rows that are Python objects at one time."""
MAX_ROW_CHARS = 200
"""Lines that one quoted row may span; a quotation mark that is open for longer is a fault."""


def read_recbole(path: Path) -> RawTable:
    """Tab-separated with a typed header, ``user_id:token``; quotation marks mean nothing there."""
    raw = read_delimited(path, separator="\t", quoted=False)
    raw.frame = raw.frame.rename({c: c.split(":")[0] for c in raw.frame.columns if ":" in c})
    return raw


def read_delimited(path: Path, *, separator: str, quoted: bool = True) -> RawTable:
    """A table with a header; one that holds no comma may be separated by ``;``, TAB or ``|``. ValueError where its
    first line is no header of two columns at least."""
    header, notes = _header(path, separator, quoted), []
    if len(header) < 2 and separator == ",":
        separator = next((other for other in ";\t|" if len(_header(path, other, quoted)) > 1), separator)
        header, notes = _header(path, separator, quoted), [f"Fields are separated by {separator!r}."]
    if len(header) < 2:
        raise ValueError(f"{path} has one column only; is it separated by {separator!r}?")
    raw = _read_with_polars(path, header, separator, quoted) or _read_row_by_row(path, header, separator, quoted)
    raw.notes += notes
    return raw


def _read_with_polars(path: Path, header: list[str], separator: str, quoted: bool) -> RawTable | None:
    """None where the fast reader fails or may have misread."""
    import polars as pl

    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            infer_schema=False,
            quote_char='"' if quoted else None,
            row_index_name=ROW,
            row_index_offset=2,
        )
    except pl.exceptions.PolarsError:
        return None
    if frame.columns[1:] != header or _may_be_misread(path, frame, separator):
        return None
    texts = pl.col(pl.String)
    if any(frame.select((texts == "").any()).row(0)):  # nothing between quotation marks is nothing
        frame = frame.with_columns(pl.when(texts != "").then(texts).name.keep())
    return RawTable(frame)


def _header(path: Path, separator: str, quoted: bool) -> list[str]:
    with open_text(path) as text:
        try:
            header = next(_reader(islice(text, MAX_ROW_CHARS), separator, quoted), [])
        except csv.Error:
            header = ["\x00"]
    if any(is_undecodable(name) or "\x00" in name for name in header):
        raise ValueError(f"{path} is not a table of text: its first line is no list of column names.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has two columns named '{twice[0]}'; rename one in its first line.")
    return header


def _reader(lines: Iterable[str], separator: str, quoted: bool) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)


def _may_be_misread(path: Path, frame: "pl.DataFrame", separator: str) -> bool:
    """What the fast reader does not tell: it goes its own way after a quotation mark within a field, counts a quoted
    field of two lines as one, takes a lone carriage return for a character, forgives an empty field after the last
    one of the file, and fills a row that ends too early (a blank line, a copy cut short) with nulls. Such a row ends
    in a null; where some do, the file must hold exactly the separators of full rows and no quotation mark."""
    import polars as pl

    odd = pl.col(pl.String).str.contains_any(['"', "\n"]).any()
    if frame.height == 0 or any(frame.select(odd).row(0)):
        return True
    separators = quotes = lone_returns = 0
    last = b""
    with open_bytes(path) as file:
        while block := file.read(1 << 20):
            separators += block.count(separator.encode())
            quotes += block.count(b'"')
            lone_returns += block.count(b"\r") - (last + block).count(b"\r\n")
            last = block[-1:]
    short = frame[frame.columns[-1]].null_count() > 0 and (
        quotes > 0 or separators != (frame.width - 2) * (frame.height + 1)
    )
    return short or lone_returns > 0 or last == separator.encode()


def _read_row_by_row(path: Path, header: list[str], separator: str, quoted: bool) -> RawTable:
    """Row by row: what does not fit is set aside with its line and text, and the rest is kept."""
    import polars as pl

    rejected: list[RejectedRow] = []
    with open_text(path) as text:
        records = _records(text, separator, quoted, len(header))
        next(records)
        good = _good(records, rejected)
        blocks = [_block([], header)]
        while block := list(islice(good, BLOCK)):
            blocks.append(_block(block, header))
    return RawTable(pl.concat(blocks), rejected)


def _good(
    records: Iterable[tuple[int, list[str], str, str | None]], rejected: list[RejectedRow]
) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of the rows that fit; the others go to ``rejected``."""
    for line, fields, whole, trouble in records:
        reason = trouble or ("not UTF-8" if is_undecodable(whole) else None)
        if reason is None:
            yield line, fields
        else:
            rejected.append((line, reason, to_printable(whole)))


def _block(rows: list[tuple[int, list[str]]], header: list[str]) -> "pl.DataFrame":
    import polars as pl

    columns = {name: [fields[i] or None for _, fields in rows] for i, name in enumerate(header)}
    lines = [line for line, _ in rows]
    return pl.DataFrame({ROW: lines, **columns}, schema={ROW: pl.UInt32, **dict.fromkeys(header, pl.String)})


def _records(
    text: Iterable[str], separator: str, quoted: bool, width: int
) -> Iterator[tuple[int, list[str], str, str | None]]:
    """(line, fields, text, what is wrong). A row that spans lines and has a wrong number of fields, or never ends, has
    an open quotation mark: only its first line is to blame, and reading goes on with the second. Blank lines are no
    rows."""
    source, ahead, line = iter(text), deque[str](), 1
    while True:
        taken: list[str] = []
        reader = _reader(_noted(chain(_popped(ahead), source), taken), separator, quoted)
        while True:
            trouble = None
            try:
                fields = next(reader, [])
            except csv.Error as error:
                fields, trouble = [], f"broken row: {error}"
            if not taken:
                return
            if trouble is None and len(fields) != width:
                trouble = f"{len(fields)} fields instead of {width}"
            if len(taken) > 1 and (trouble is not None or not _closed(taken, separator)):
                ahead.extendleft(reversed(taken[1:]))
                yield line, fields, taken[0], "a quotation mark that is never closed"
                line += 1
                break  # the reader has gone too far; a new one begins with the second line
            if any(part.strip("\r\n") for part in taken):
                yield line, fields, "".join(taken), trouble
            line += len(taken)
            if len(taken) == MAX_ROW_CHARS:
                break  # a row of just so many lines has used its reader up
            taken.clear()


def _closed(lines: list[str], separator: str) -> bool:
    """Whether a row that spans lines ends where its quotation ends, and not where the lines do."""
    try:
        return len(list(csv.reader(lines, delimiter=separator, strict=True))) == 1
    except csv.Error:
        return False


def _popped(lines: deque[str]) -> Iterator[str]:
    while lines:
        yield lines.popleft()


def _noted(lines: Iterable[str], into: list[str]) -> Iterator[str]:
    """The lines, each noted; no more than one row may take."""
    for line in lines:
        into.append(line)
        yield line
        if len(into) >= MAX_ROW_CHARS:
            return
