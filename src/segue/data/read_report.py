"""Counts and notes of one reading: rows kept, rejected, filtered out, removed by preprocessing."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self


def shorten_list(names: Iterable[str]) -> str:
    """Names for a message, not more than can be read."""
    every = list(names)
    return ", ".join(every[:20]) + (f" and {len(every) - 20} more" if len(every) > 20 else "")


@dataclass(frozen=True)
class ReadReport:
    """What reading did: each row read was kept, set aside, left out, or trimmed."""

    source: str
    format: str
    columns: dict[str, str]
    """Our name -> the log's column."""
    notes: tuple[str, ...]
    """Every guess, as a sentence."""
    rows_read: int
    rejected: dict[str, int]
    """Rows set aside, by reason."""
    filtered_out: int = 0
    """Rows that did not meet ``where``."""
    rejected_path: str | None = None
    removed: dict[str, int] = field(default_factory=dict)
    """Good events that were taken out because it was asked, by reason."""

    @property
    def kept(self) -> int:
        """Events of the log."""
        return self.rows_read - sum(self.rejected.values()) - self.filtered_out - sum(self.removed.values())

    def lines(self) -> list[str]:
        """For people."""
        kind = "" if self.format == "table" else f" as {self.format}"
        out = [f"{self.source}: {self.rows_read:,} rows read{kind}, {self.kept:,} events kept.", *self.notes]
        if self.filtered_out:
            out.append(f"{self.filtered_out:,} rows left out by the condition.")
        out += [f"{count:,} rows set aside: {reason}." for reason, count in self.rejected.items()]
        if self.rejected and self.rejected_path:
            out.append(f"The rows set aside are in {self.rejected_path}.")
        out += [f"{count:,} events taken out: {reason}." for reason, count in self.removed.items()]
        return out

    def with_note(self, note: str | None = None, *, taken_out: int = 0, reason: str = "") -> Self:
        """The report after one more step."""
        notes = self.notes if note is None else (*self.notes, note)
        trimmed = {**self.removed, reason: self.removed.get(reason, 0) + taken_out} if taken_out else self.removed
        return replace(self, notes=notes, removed=trimmed)
