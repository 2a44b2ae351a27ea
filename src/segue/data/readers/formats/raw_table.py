"""Raw columns of a source before roles are assigned, with the row numbers and the rows that could not be parsed."""

import gzip
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polars as pl

ROW = "__row__"
"""Column with the row's number in the source: line of a text file, else row number; both from 1."""
MAX_TEXT_CHARS = 500
"""Characters kept of a rejected row."""


class RejectedRow(NamedTuple):
    """Row that cannot be an event."""

    row: int
    """Number of the row in the source, from 1."""
    reason: str
    text: str
    """Text of the row, at most MAX_TEXT_CHARS characters."""


@dataclass
class RawTable:
    """Columns as they are in the source."""

    frame: "pl.DataFrame"
    """Columns of the source, and ROW."""
    rejected: list[RejectedRow] = field(default_factory=list)
    """Rows that could not be parsed."""
    ordered: bool = False
    """True for a format that has an order but no times."""
    notes: list[str] = field(default_factory=list)
    """Guesses about the file, each as a sentence."""
    mixed_type_rows: dict[str, dict[int, str]] = field(default_factory=dict)
    """Columns that mix numbers with texts, stored as text: row number -> reason of the rows with the rarer type.

    As ids, 1 and "1" would merge, so such rows are rejected if the column holds ids."""
    nested_columns: frozenset[str] = frozenset()
    """Columns of JSON objects and lists, stored as their text; they hold no ids."""
    is_labeled_test: bool = False
    """True for a fixed test set: the last event of each row is the target."""
    column_types: dict[str, str] = field(default_factory=dict)
    """Types of columns that a header of RecBole's states: token, token_seq, float, float_seq."""


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading bytes; a file named ``.gz`` is decompressed."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def open_text(path: Path) -> io.TextIOBase:
    """Open a file as UTF-8 text with its line ends; an invalid byte becomes a lone surrogate."""
    return io.TextIOWrapper(open_bytes(path), "utf-8-sig", errors="surrogateescape", newline="")


def is_unprintable(path: Path) -> bool:
    """Return True for a path whose bytes are no UTF-8, which Polars opens as a file object only."""
    return is_undecodable(str(path))


def is_undecodable(text: str) -> bool:
    """Return True for text with a lone surrogate: invalid UTF-8, or an escape of no character."""
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def to_printable(text: str) -> str:
    """Return text with valid characters only, at most MAX_TEXT_CHARS."""
    return text[:MAX_TEXT_CHARS].rstrip("\r\n").encode("utf-8", "backslashreplace").decode()[:MAX_TEXT_CHARS]
