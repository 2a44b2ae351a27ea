"""The event log: who did what and when. Reading loses nothing: a bad row is set aside with its place and a reason."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data import times
from segue.data.catalog import PAD, Catalog
from segue.data.columns import choose
from segue.data.formats import ROW, Raw, guess_format, read_raw
from segue.data.ids import fault, to_text, usable
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    import polars as pl

    from segue.data.cases import Split


IDS = ("user_id", "item_id", "session_id")


@dataclass(frozen=True)
class ReadOptions:
    """How a log is to be understood where guessing would not do."""

    format: str = "auto"
    """csv, tsv, jsonl, parquet, arrow, recbole, sequences, sessions, pairs, prefixes; auto: by the file's ending."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name -> the log's column, for what is not guessed right."""
    time_unit: times.Unit = "auto"
    """Of numbers: s, ms, us, ns; auto: guessed by size."""
    time_format: str | None = None
    """Of text that is not ISO 8601, for example %d/%m/%Y %H:%M."""
    where: str | None = None
    """A condition in SQL on the log's own columns; other rows are left out and counted."""
    strict: bool = False
    """Refuse a log with a bad row instead of setting the row aside."""
    rejected: Path | None = None
    """Where bad rows are written, as CSV: row, reason, text."""


@dataclass(frozen=True)
class ReadReport:
    """What reading did."""

    source: str
    format: str
    notes: tuple[str, ...]
    """Every guess, as a sentence."""
    rows_read: int
    rejected: dict[str, int]
    """Rows set aside, by reason."""
    left_out: int
    """Rows that did not meet ``where``."""
    rejected_path: str | None

    def lines(self) -> list[str]:
        """For people."""
        kept = self.rows_read - sum(self.rejected.values()) - self.left_out
        out = [f"{self.source}: {self.rows_read:,} rows read as {self.format}, {kept:,} events kept.", *self.notes]
        if self.left_out:
            out.append(f"{self.left_out:,} rows left out by the condition.")
        out += [f"{count:,} rows set aside: {reason}." for reason, count in self.rejected.items()]
        if self.rejected_path:
            out.append(f"The rows set aside are in {self.rejected_path}.")
        return out


@dataclass(frozen=True)
class EventLog:
    """Events in file order: ``user_id`` and ``item_id`` text, ``timestamp`` int64 UTC microseconds, and where there
    are such ``session_id``, ``event``, ``value`` and any other columns of the log."""

    frame: "pl.DataFrame"
    has_times: bool
    """False where the log has an order only; ``timestamp`` is then the row's number."""
    report: ReadReport
    labelled: bool = False
    """A fixed test set: the last event of each row is what is asked."""

    def __len__(self) -> int:
        return self.frame.height

    def catalog(self) -> Catalog:
        """All items, sorted as text: neither time nor popularity nor the file's order shows in an index."""
        return Catalog(self.frame["item_id"].unique().sort().to_list())

    def sequences(self, catalog: Catalog, *, by: str = "user") -> tuple[Sequences, list[str]]:
        """(one row a person or session, their ids sorted as text). Events by time, ties in file order; items outside
        the catalogue are PAD. Sessions need a ``session_id`` column; without one each person is one session."""
        key = "session_id" if by == "session" and "session_id" in self.frame.columns else "user_id"
        items = _index(self.frame["item_id"], catalog)
        keys, who = _codes(self.frame[key])
        when = self.frame["timestamp"].to_numpy()
        order = np.lexsort((when, who))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(who, minlength=len(keys)))]).astype(np.int64)
        ordered_times = when[order] if self.has_times else None
        return Sequences.from_offsets(items[order], offsets, ordered_times), keys

    def split(self, protocol: str = "time", **options: Any) -> "Split":
        """Cut for an evaluation; see ``segue.data.split``."""
        from segue.data.split import split

        return split(self, protocol, **options)

    def with_frame(self, frame: "pl.DataFrame") -> "EventLog":
        """The same log with other rows."""
        return replace(self, frame=frame)


def read_events(source: Any, *, format: str = "auto", **options: Any) -> EventLog:
    """A log from a file, or from a Polars, pandas or Arrow table; options are the fields of ``ReadOptions``.

    ValueError, in one sentence, for what is no log: missing, empty, without the needed columns, without a good row.
    """
    chosen = ReadOptions(format=format, **options)
    if isinstance(source, str | Path):
        path = Path(source)
        kind = guess_format(path) if chosen.format == "auto" else chosen.format
        return _build(read_raw(path, kind), str(path), kind, chosen)
    return _build(Raw(_frame(source).with_row_index(ROW, offset=1)), "the table", "table", chosen)


def _frame(source: Any) -> "pl.DataFrame":
    import polars as pl

    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    kind = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    if kind == "pandas.DataFrame":
        return pl.DataFrame({str(name): source[name].to_numpy() for name in source.columns}, strict=False)
    if kind == "pyarrow.Table":
        table = pl.from_arrow(source)
        assert isinstance(table, pl.DataFrame)
        return table
    raise ValueError(f"A log is read from a path or a Polars, pandas or Arrow table, not from {kind}.")


def _build(raw: Raw, source: str, kind: str, options: ReadOptions) -> EventLog:
    """Raw columns -> a log: filter, then ids and times, then what is left."""
    import polars as pl

    frame, rows_read = raw.frame, raw.frame.height + len(raw.rejected)
    columns, notes = choose([c for c in frame.columns if c != ROW], options.columns)
    left_out = 0
    if options.where is not None:
        try:
            frame = frame.filter(pl.sql_expr(options.where))
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"The condition '{options.where}' does not work on this log: {error}.") from None
        left_out = raw.frame.height - frame.height
    ready, more, has_times = _columns(frame, columns, raw.ordered, options)
    notes += [note for note in more if note not in notes]
    suspect = ~_fine(ready)
    aside = _set_aside(frame.filter(suspect), columns, {role: column.filter(suspect) for role, column in ready.items()})
    rejected = [*raw.rejected, *aside]
    report = _report(rejected, rows_read, (source, kind, tuple(notes), left_out), options)
    others = [c for c in frame.columns if c != ROW and c not in columns.values() and c not in ready]
    kept = pl.DataFrame([series.alias(role) for role, series in ready.items()] + [frame[c] for c in others])
    if aside:
        kept = kept.filter(~frame[ROW].is_in([row for row, _, _ in aside]))
    if kept.height == 0:
        first = f" The first: {rejected[0][1]} (row {rejected[0][0]})." if rejected else ""
        raise ValueError(f"{source} has no usable row; {rows_read} were read.{first}")
    return EventLog(kept, has_times, report, raw.labelled)


def _columns(
    frame: "pl.DataFrame", columns: Mapping[str, str], ordered: bool, options: ReadOptions
) -> "tuple[dict[str, pl.Series], list[str], bool]":
    """(our columns in our types, sentences about guesses, whether there are times)."""
    import polars as pl

    ready: dict[str, pl.Series] = {}
    notes: list[str] = []
    for role in IDS:
        if role in columns:
            ready[role], more = to_text(frame[columns[role]], role)
            notes += more
    has_times = not ordered and "timestamp" in columns
    if has_times:
        column = frame[columns["timestamp"]]
        ready["timestamp"], note = times.to_microseconds(column, options.time_unit, options.time_format)
        notes.append(note)
    else:
        ready["timestamp"] = pl.Series(np.arange(frame.height, dtype=np.int64))
        if not ordered:
            notes.append("There is no time column; the file's order is taken as the order of events.")
    for role, dtype in (("event", pl.String), ("value", pl.Float64)):
        if role in columns:
            ready[role] = frame[columns[role]].cast(dtype, strict=False)
    return ready, notes, has_times


def _fine(ready: "Mapping[str, pl.Series]") -> "pl.Series":
    """bool: rows in which nothing needs a closer look."""
    moment = ready["timestamp"]
    fine = moment.is_not_null() & (moment >= 0) & (moment <= times.LATEST_US)
    for role in IDS:
        if role in ready:
            fine &= usable(ready[role])
    return fine.fill_null(False)


def _set_aside(
    suspects: "pl.DataFrame", columns: Mapping[str, str], ready: "Mapping[str, pl.Series]"
) -> list[tuple[int, str, str]]:
    """(row, reason, text) of the suspects that are refused; the first reason found is told."""
    places = suspects[ROW].to_list()
    reasons: list[str | None] = [None] * len(places)
    for role in IDS:
        if role in ready:
            original = suspects[columns[role]]
            missing = (original.fill_nan(None) if original.dtype.is_float() else original).is_null().to_list()
            for i, text in enumerate(ready[role].to_list()):
                reasons[i] = reasons[i] or fault(text, role, missing[i])
    for i, moment in enumerate(ready["timestamp"].to_list()):
        if moment is None or not 0 <= moment <= times.LATEST_US:
            reasons[i] = reasons[i] or "timestamp is missing or no time between 1970 and 2200"
    texts = suspects.drop(ROW).iter_rows()
    return [
        (place, reason, ",".join("" if v is None else str(v) for v in row)[:500])
        for place, reason, row in zip(places, reasons, texts, strict=True)
        if reason is not None
    ]


def _report(
    rejected: list[tuple[int, str, str]],
    rows_read: int,
    about: tuple[str, str, tuple[str, ...], int],
    options: ReadOptions,
) -> ReadReport:
    counts: dict[str, int] = {}
    for _, reason, _ in rejected:
        counts[reason] = counts.get(reason, 0) + 1
    if rejected and options.strict:
        row, reason, _ = min(rejected)
        raise ValueError(
            f"{about[0]} row {row}: {reason}. {len(rejected)} such rows; leave out strict to set them aside."
        )
    path = None
    if rejected and options.rejected is not None:
        with options.rejected.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "reason", "text"])
            writer.writerows(sorted(rejected))
        path = str(options.rejected)
    source, kind, notes, left_out = about
    return ReadReport(source, kind, notes, rows_read, counts, left_out, path)


def _codes(column: "pl.Series") -> tuple[list[str], np.ndarray]:
    """(distinct texts sorted, int64 code of each row)."""
    import polars as pl

    distinct = column.unique().sort()
    codes = column.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int64)
    return distinct.to_list(), codes


def _index(column: "pl.Series", catalog: Catalog) -> np.ndarray:
    """int32 index of each row's item; PAD for one outside the catalogue."""
    import polars as pl

    if len(catalog) == 0:
        return np.full(len(column), PAD, dtype=np.int32)
    names = pl.Series(catalog.ids, dtype=pl.String)
    codes = column.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return (codes.to_numpy() + 1).astype(np.int32)
