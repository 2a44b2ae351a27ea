"""Text formats of published benchmark logs. They have an order and no times, and their format must be named.

::

    sequences    7 a b a        user 7 interacted with a, then b, then a again
    pairs        7 a            user 7 interacted with a; the next line may be another user
    sessions     a b            a session without an id: its line number is its id
    prefixes     a b<TAB>c      a test case: history a b, target c
"""

from pathlib import Path
from typing import TYPE_CHECKING

from segue.data.readers.formats.raw_table import ROW, RawTable, RejectedRow, is_undecodable, open_text, to_printable

if TYPE_CHECKING:
    import polars as pl


def read_sequences(path: Path) -> RawTable:
    """Read one user per line, oldest item first. A line without items is rejected."""
    import polars as pl

    lines = _read_lines(path, "sequences")
    return _with_user_ids(lines, pl.col("parts").list.len() >= 2, "a user without items")


def read_pairs(path: Path) -> RawTable:
    """Read one event per line, each user's in order. A line without two fields is rejected."""
    import polars as pl

    lines = _read_lines(path, "pairs")
    return _with_user_ids(lines, pl.col("parts").list.len() == 2, "not two fields")


def read_sessions(path: Path) -> RawTable:
    """Read one session per line, oldest item first."""
    return RawTable(_with_line_numbers(_read_lines(path, "sessions")), ordered=True)


def read_prefixes(path: Path) -> RawTable:
    """Read one test case per line; its label is the last item. A line without a TAB or with two labels is rejected."""
    import polars as pl

    lines = _read_lines(path, "prefixes")
    is_case = pl.col("line").str.contains(r"^\S.*\t[ ]*\S+$")
    rejected = _reject(lines.filter(~is_case), "not 'items, TAB, one label'")
    return RawTable(_with_line_numbers(lines.filter(is_case)), rejected, ordered=True, is_labeled_test=True)


def _read_lines(path: Path, format: str) -> "pl.DataFrame":
    """Return the lines that are not blank, with columns ROW, line, parts."""
    import polars as pl

    with open_text(path) as file:
        text = file.read()
    if is_undecodable(text) or "\x00" in text:
        raise ValueError(f"{path} is not text, so it cannot be read as {format}.")
    lines = pl.DataFrame({"line": text.split("\n")}).with_row_index(ROW, offset=1)
    lines = lines.with_columns(pl.col("line").str.strip_chars()).filter(pl.col("line") != "")
    return lines.with_columns(pl.col("line").str.replace_all(r"\s+", " ").str.split(" ").alias("parts"))


def _with_user_ids(lines: "pl.DataFrame", is_valid: "pl.Expr", reason: str) -> RawTable:
    """Return the events of lines that begin with the user id."""
    import polars as pl

    rows = lines.filter(is_valid).select(
        ROW, pl.col("parts").list.first().alias("user_id"), pl.col("parts").list.slice(1).alias("item_id")
    )
    return RawTable(rows.explode("item_id"), _reject(lines.filter(~is_valid), reason), ordered=True)


def _with_line_numbers(lines: "pl.DataFrame") -> "pl.DataFrame":
    """Return the events of lines that hold items only; user and session id are the line number."""
    import polars as pl

    return number_lines(lines.select(ROW, pl.col("parts").alias("item_id")).explode("item_id"))


def number_lines(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return the events of lines without ids, with the number of the line as user and session id."""
    import polars as pl

    key = pl.col(ROW).cast(pl.String)
    return frame.select(ROW, key.alias("user_id"), key.alias("session_id"), "item_id")


def _reject(lines: "pl.DataFrame", reason: str) -> list[RejectedRow]:
    return [RejectedRow(row, reason, to_printable(text)) for row, text in lines.select(ROW, "line").iter_rows()]
