"""How a log is to be understood where guessing would not do, and what reading did with each row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from segue.data.readers.timestamps import TimeUnit


@dataclass(frozen=True)
class ReadOptions:
    """How a log is to be understood where guessing would not do."""

    format: str = "auto"
    """csv, tsv, jsonl, parquet, arrow, recbole, sequences, sessions, pairs, prefixes; auto: by the file's ending."""
    columns: Mapping[str, str] | None = None
    """Our name -> the log's column, for what is not guessed right."""
    time_unit: TimeUnit = "auto"
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
        if self.time_unit not in get_args(TimeUnit):
            raise ValueError(
                f"There is no unit of time '{self.time_unit}'. Known units: {', '.join(get_args(TimeUnit))}; "
                "for times that are text, give time_format."
            )
        if self.rejected is not None and not Path(self.rejected).absolute().parent.is_dir():
            raise ValueError(f"The rows set aside cannot go to {self.rejected}: there is no such folder.")
