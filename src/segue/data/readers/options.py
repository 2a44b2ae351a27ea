"""Options of the event log reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from segue.data.readers.formats.encodings import check_encoding
from segue.data.readers.timestamps import LATEST_US, TimeForm, TimeUnit, check_zone


@dataclass(frozen=True)
class ReadOptions:
    """Format, columns and times of a log, for sources that the reader would guess wrong."""

    format: str = "auto"
    """csv, tsv, jsonl, json, parquet, arrow, recbole, sequences, sessions, pairs or prefixes; auto: by the suffix of
    the file."""
    columns: Mapping[str, str] | None = None
    """Role (``user_id``, ``item_id`` ...) -> column of the log; none: roles are guessed from names. ``timestamp`` may
    be two columns, ``DATE+TIME``. The column "none" declines a role: no column has it."""
    encoding: str = "auto"
    """Encoding of a text file, such as gb18030, big5, latin-1 or utf-16; auto: by its byte order mark, else UTF-8 or
    GB18030 by its bytes."""
    header: Literal["first-line", "none"] = "first-line"
    """First line of a csv or tsv file: first-line: it names the columns; none: it is a row, and the columns are
    column_1, column_2 ..."""
    time_unit: TimeUnit = "auto"
    """Unit of numeric times: s, ms, us, ns; auto: guessed by size."""
    time_format: str | None = None
    """Format of times whose text does not begin with the year, such as %d/%m/%Y %H:%M (chrono syntax); none: year
    first."""
    time_zone: str = "UTC"
    """Zone of times that name none, such as Asia/Shanghai (IANA name)."""
    where: str | None = None
    """Filter expression on the log's own columns, such as ``price > 0`` (see ``filter_rows``). Other rows are filtered
    out and counted; none: all rows."""
    events: tuple[str, ...] | None = None
    """Event types to keep, such as click and buy, by the column ``event``. Other rows are filtered out and counted;
    none: all types."""
    strict: bool = False
    """Refuse a log with a bad row, instead of rejecting the row."""
    allow_loss: bool = False
    """Read a log of which more than 20 % of the rows are rejected, instead of refusing it."""
    rejected: str | Path | None = None
    """CSV file to write rejected rows to: row, reason, text; none: not written."""
    latest_us: int = LATEST_US
    """Latest valid timestamp, UTC microseconds: a later row is rejected as one of the future."""

    def __post_init__(self) -> None:
        if self.time_unit not in get_args(TimeUnit):
            raise ValueError(
                f"There is no unit of time '{self.time_unit}'. Known units: {', '.join(get_args(TimeUnit))}; "
                "for times that are text, give time_format."
            )
        if isinstance(self.events, str) or (self.events is not None and not self.events):
            raise ValueError(f"events is a list of event types, such as click and buy, not {self.events!r}.")
        check_zone(self.time_zone)
        check_encoding(self.encoding)
        if self.header not in ("first-line", "none"):
            raise ValueError(f"The header is first-line or none, not '{self.header}'.")
        if self.rejected is not None and not Path(self.rejected).absolute().parent.is_dir():
            raise ValueError(f"The rejected rows cannot be written to {self.rejected}: there is no such folder.")

    def time_form(self, column: str | None) -> TimeForm:
        """Return the form of the times, whose column is ``column``; None: the log has none."""
        return TimeForm(column, self.time_unit, self.time_format, self.time_zone)
