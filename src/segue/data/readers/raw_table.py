"""What a file gave before it is understood: columns as they were, the place of each row, and what was no row at all."""

import gzip
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

ROW = "__row__"
"""The column that holds where a row came from: the line of a text file, else the row number; both from 1."""
MAX_TEXT_CHARS = 500
"""Characters of a bad row that are written down."""

RejectedRow = tuple[int, str, str]
"""(row, reason, text) of a row that is set aside."""


@dataclass
class RawTable:
    """``frame`` with a ROW column; ``rejected``: what is no row at all."""

    frame: "pl.DataFrame"
    rejected: list[RejectedRow] = field(default_factory=list)
    ordered: bool = False
    """The format has an order but no times."""
    notes: list[str] = field(default_factory=list)
    """Guesses about the file, as sentences."""
    mixed: dict[str, dict[int, str]] = field(default_factory=dict)
    """Columns that mix numbers with texts and stand here as text: place -> reason of the rows with a rarer kind. As
    an id, 1 and "1" would be one from here on, so such rows are refused where the column holds ids."""
    is_labeled_test: bool = False
    """The last event of each row is the label of a fixed test set."""


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, gunzipped where the name says so."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def open_text(path: Path) -> io.TextIOBase:
    """UTF-8 text with its line ends; a byte that is no UTF-8 comes through as a lone surrogate."""
    return io.TextIOWrapper(open_bytes(path), "utf-8-sig", errors="surrogateescape", newline="")


def is_undecodable(text: str) -> bool:
    """Whether text holds a lone surrogate: bytes that were no UTF-8, or an escape that is no character."""
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def to_printable(text: str) -> str:
    """Text that can be written anywhere, and not too much of it."""
    return text[:MAX_TEXT_CHARS].rstrip("\r\n").encode("utf-8", "backslashreplace").decode()[:MAX_TEXT_CHARS]
