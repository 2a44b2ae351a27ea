"""The text files of the papers: an order and no times, so that each must be named; nothing in them says what they are.

```
sequences    7 a b a        person 7 took a, then b, then a again
pairs        7 a            person 7 took a; the next line may be another person
sessions     a b            a session without a name: its line number is its name
prefixes     a b<TAB>c      a test case: after a and b came c
```
"""

from pathlib import Path
from typing import TYPE_CHECKING

from segue.data.readers.raw_table import ROW, RawTable, is_undecodable, open_text, to_printable

if TYPE_CHECKING:
    import polars as pl


def read_sequences(path: Path) -> RawTable:
    """One person a line, oldest item first. A line without items is set aside."""
    import polars as pl

    line = _lines(path, "sequences")
    return _named(line, pl.col("parts").list.len() >= 2, "a person without items")


def read_pairs(path: Path) -> RawTable:
    """One event a line, each person's in order."""
    import polars as pl

    line = _lines(path, "pairs")
    return _named(line, pl.col("parts").list.len() == 2, "not two fields")


def read_sessions(path: Path) -> RawTable:
    """One session a line, oldest item first."""
    return RawTable(_numbered(_lines(path, "sessions")), ordered=True)


def read_prefixes(path: Path) -> RawTable:
    """One case a line; its label is the last item. A line without a TAB or with two labels is set aside."""
    import polars as pl

    line = _lines(path, "prefixes")
    right = pl.col("line").str.contains(r"^\S.*\t[ ]*\S+$")
    rejected = _refused(line.filter(~right), "not 'items, TAB, one label'")
    return RawTable(_numbered(line.filter(right)), rejected, ordered=True, is_labeled_test=True)


def _lines(path: Path, format: str) -> "pl.DataFrame":
    """Lines that are not blank: ROW, line, parts."""
    import polars as pl

    with open_text(path) as file:
        text = file.read()
    if is_undecodable(text) or "\x00" in text:
        raise ValueError(f"{path} is not text, so it cannot be read as {format}.")
    line = pl.DataFrame({"line": text.split("\n")}).with_row_index(ROW, offset=1)
    line = line.with_columns(pl.col("line").str.strip_chars()).filter(pl.col("line") != "")
    return line.with_columns(pl.col("line").str.replace_all(r"\s+", " ").str.split(" ").alias("parts"))


def _named(line: "pl.DataFrame", right: "pl.Expr", reason: str) -> RawTable:
    """Lines that begin with the person."""
    import polars as pl

    rows = line.filter(right).select(
        ROW, pl.col("parts").list.first().alias("user_id"), pl.col("parts").list.slice(1).alias("item_id")
    )
    return RawTable(rows.explode("item_id"), _refused(line.filter(~right), reason), ordered=True)


def _numbered(line: "pl.DataFrame") -> "pl.DataFrame":
    """Lines of items only."""
    import polars as pl

    key = pl.col(ROW).cast(pl.String)
    rows = line.select(ROW, key.alias("user_id"), key.alias("session_id"), pl.col("parts").alias("item_id"))
    return rows.explode("item_id")


def _refused(line: "pl.DataFrame", reason: str) -> list[tuple[int, str, str]]:
    return [(row, reason, to_printable(text)) for row, text in line.select(ROW, "line").iter_rows()]
