"""How a log is to be understood where guessing would not do, and what reading did with each row."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, get_args

from segue.data.times import Unit


@dataclass(frozen=True)
class ReadOptions:
    """How a log is to be understood where guessing would not do."""

    format: str = "auto"
    """csv, tsv, jsonl, parquet, arrow, recbole, sequences, sessions, pairs, prefixes; auto: by the file's ending."""
    columns: Mapping[str, str] | None = None
    """Our name -> the log's column, for what is not guessed right."""
    time_unit: Unit = "auto"
    """Of numbers: s, ms, us, ns; auto: guessed by size."""
    time_format: str | None = None
    """Of text that is not ISO 8601, for example %d/%m/%Y %H:%M."""
    where: str | None = None
    """A condition in SQL on the log's own columns; other rows are left out and counted."""
    strict: bool = False
    """Refuse a log with a bad row instead of setting the row aside."""
    rejected: str | Path | None = None
    """Where bad rows are written, as CSV: row, reason, text."""

    def __post_init__(self) -> None:
        if self.time_unit not in get_args(Unit):
            raise ValueError(
                f"There is no unit of time '{self.time_unit}'. Known units: {', '.join(get_args(Unit))}; "
                "for times that are text, give time_format."
            )
        if self.rejected is not None and not Path(self.rejected).absolute().parent.is_dir():
            raise ValueError(f"The rows set aside cannot go to {self.rejected}: there is no such folder.")


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
    left_out: int = 0
    """Rows that did not meet ``where``."""
    rejected_path: str | None = None
    trimmed: dict[str, int] = field(default_factory=dict)
    """Good events that were taken out because it was asked, by reason."""

    @property
    def kept(self) -> int:
        """Events of the log."""
        return self.rows_read - sum(self.rejected.values()) - self.left_out - sum(self.trimmed.values())

    def lines(self) -> list[str]:
        """For people."""
        kind = "" if self.format == "table" else f" as {self.format}"
        out = [f"{self.source}: {self.rows_read:,} rows read{kind}, {self.kept:,} events kept.", *self.notes]
        if self.left_out:
            out.append(f"{self.left_out:,} rows left out by the condition.")
        out += [f"{count:,} rows set aside: {reason}." for reason, count in self.rejected.items()]
        if self.rejected and self.rejected_path:
            out.append(f"The rows set aside are in {self.rejected_path}.")
        out += [f"{count:,} events taken out: {reason}." for reason, count in self.trimmed.items()]
        return out

    def noting(self, note: str | None = None, *, taken_out: int = 0, reason: str = "") -> Self:
        """The report after one more step."""
        notes = self.notes if note is None else (*self.notes, note)
        trimmed = {**self.trimmed, reason: self.trimmed.get(reason, 0) + taken_out} if taken_out else self.trimmed
        return replace(self, notes=notes, trimmed=trimmed)
