"""Counts and notes of one reading: rows kept, rejected, filtered out, removed by preprocessing."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from segue.data.log_description import LogDescription

MAX_NAMES = 20
"""Names that a message lists."""
MAX_NAME_CHARS = 200
"""Characters of a name that a message lists."""
WARNING = "WARNING: "
"""Begin of a line that warns."""


def shorten_list(names: Iterable[str]) -> str:
    """Join at most MAX_NAMES names for a message, each in one line and shortened; the others are counted."""
    names = list(names)
    rest = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(" ".join(name[:MAX_NAME_CHARS].split()) or name for name in names[:MAX_NAMES]) + rest


@dataclass(frozen=True)
class ReadReport:
    """Account of the rows of one reading: each is kept, rejected, filtered out, or removed by preprocessing."""

    source: str
    """Path of the file, or "the table"."""
    format: str
    """Format that was read; "table" for a data frame."""
    columns: dict[str, str]
    """Role of a column (``user_id``, ``item_id`` ...) -> its name in the source."""
    notes: tuple[str, ...]
    """Guesses of the reader, each as a sentence."""
    rows_read: int
    rejected: dict[str, int]
    """Number of rejected rows by reason."""
    filtered_out: int = 0
    """Number of rows that did not meet the condition ``where``."""
    rejected_path: str | None = None
    """File of the rejected rows; None: not written."""
    removed: dict[str, int] = field(default_factory=dict)
    """Number of valid events that preprocessing removed, by reason."""
    warnings: tuple[str, ...] = ()
    """Sentences about lost rows and suspicious ids, which lines() marks."""
    description: LogDescription = field(default_factory=LogDescription)
    """Options and columns that the log was read with."""

    @property
    def kept(self) -> int:
        """Number of events of the log."""
        return self.rows_read - sum(self.rejected.values()) - self.filtered_out - sum(self.removed.values())

    def lines(self) -> list[str]:
        """Return the report as sentences."""
        suffix = "" if self.format == "table" else f" as {self.format}"
        out = [f"{self.source}: {self.rows_read:,} rows read{suffix}, {self.kept:,} events kept.", *self.notes]
        if self.filtered_out:
            out.append(f"{self.filtered_out:,} rows filtered out by the condition.")
        out += [f"{count:,} rows rejected: {reason}." for reason, count in self.rejected.items()]
        if self.rejected and self.rejected_path:
            out.append(f"The rejected rows are in {self.rejected_path}.")
        out += [f"{count:,} events removed: {reason}." for reason, count in self.removed.items()]
        return out + [f"{WARNING}{warning}" for warning in self.warnings]

    def with_note(self, note: str | None = None, *, removed: int = 0, reason: str = "") -> Self:
        """Return the report after one more preprocessing step.

        Args:
            note: sentence about the step; None: no sentence.
            removed: number of events that the step removed.
            reason: reason under which they are counted.
        """
        notes = self.notes if note is None else (*self.notes, note)
        counts = {**self.removed, reason: self.removed.get(reason, 0) + removed} if removed else self.removed
        return replace(self, notes=notes, removed=counts)
