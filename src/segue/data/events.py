"""The event log: who did what and when. Reading loses nothing: a bad row is set aside with its place and a reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data import rejects, times
from segue.data.catalog import PAD, Catalog
from segue.data.columns import choose
from segue.data.contexts import Contexts, kinds_of, with_users
from segue.data.filtering import Trim, trim
from segue.data.formats import guess_format, read_raw
from segue.data.ids import codes, to_text
from segue.data.raw import ROW, Raw, Reject
from segue.data.reading import ReadOptions, ReadReport
from segue.data.sequences import Sequences
from segue.data.tables import from_table
from segue.settings import distribute

if TYPE_CHECKING:
    import polars as pl

    from segue.data.features import Facts
    from segue.data.items import ItemTable
    from segue.data.kinds import Kind


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
    items: "ItemTable | None" = None
    """What is known of the items; those that have no event can be recommended as well."""
    context: "Mapping[str, Kind]" = field(default_factory=dict)
    """Columns that say under which circumstances an event happened: sequences carry them."""

    def __len__(self) -> int:
        return self.frame.height

    def catalog(self) -> Catalog:
        """All items, those of the items table too, sorted as text: neither time nor popularity nor the file's order
        shows in an index."""
        ids = self.frame["item_id"]
        if self.items is not None:
            ids = ids.append(self.items.frame["item_id"])
        return Catalog(ids.unique().sort().to_list())

    def with_items(self, items: "ItemTable") -> "EventLog":
        """The same log with a table of items: every item in it joins the catalogue, and splits tell models the facts.

        Facts about items count as known at any time; leave columns out that tell what happened later (ratings, sales).
        """
        return replace(self, items=items)

    def with_users(self, users: "pl.DataFrame") -> "EventLog":
        """The same log with the columns of a table of users (what ``read_users`` returns) beside each event."""
        return replace(self, frame=with_users(self.frame, users))

    def with_context(self, columns: "Iterable[str] | Mapping[str, Kind]") -> "EventLog":
        """The same log, its sequences with these columns (region, device) as context; kinds are guessed as those of an
        items table unless told. A missing cell stays missing. ValueError for a column that is not there."""
        kinds = kinds_of(self.frame, columns) | (dict(columns) if isinstance(columns, Mapping) else {})
        return replace(self, context=kinds)

    def sequences(self, catalog: Catalog, *, by: str = "user") -> tuple[Sequences, list[str]]:
        """(one row a person or session, their ids sorted as text). Events by time, ties in file order; items outside
        the catalogue are PAD. Sessions need a ``session_id`` column; without one each person is one session."""
        key = "session_id" if by == "session" and "session_id" in self.frame.columns else "user_id"
        items = _index(self.frame["item_id"], catalog)
        keys, who = codes(self.frame[key])
        when = self.frame["timestamp"].to_numpy()
        order = np.lexsort((when, who))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(who, minlength=len(keys)))]).astype(np.int64)
        ordered_times = when[order] if self.has_times else None
        contexts = Contexts.from_frame(self.frame, self.context).take(order) if self.context else None
        return Sequences.from_offsets(items[order], offsets, ordered_times, contexts), keys

    def facts(self, catalog: Catalog) -> "Facts | None":
        """What is known of a catalogue's items; None without a table of them."""
        return None if self.items is None else self.items.facts(catalog)

    def with_frame(self, frame: "pl.DataFrame", report: ReadReport | None = None) -> "EventLog":
        """The same log with other rows."""
        return replace(self, frame=frame, report=report or self.report)


def read_events(source: Any, *, format: str = "auto", **options: Any) -> EventLog:
    """A log from a file, or from a Polars, pandas or Arrow table.

    Options are the fields of ``ReadOptions`` (columns, time_unit, time_format, where, strict, rejected) and of ``Trim``
    (session_gap_s, min_user_events, min_item_events, drop_repeats). ValueError, in one sentence, for what is no log:
    missing, empty, without the needed columns, without a good row.

    >>> import polars as pl
    >>> shop = pl.DataFrame({"customer": [1, 1, 2], "sku": ["a", "b", "a"], "date": ["2024-05-01"] * 3})
    >>> read_events(shop).report.lines()[0]
    'the table: 3 rows read, 3 events kept.'
    """
    shares = distribute({"format": format, **options}, {"read": ReadOptions, "trim": Trim})
    chosen, wanted = ReadOptions(**shares["read"]), Trim(**shares["trim"])
    if isinstance(source, str | Path):
        path = Path(source)
        kind = guess_format(path) if chosen.format == "auto" else chosen.format
        return trim(_build(read_raw(path, kind), str(path), kind, chosen), wanted)
    return trim(_build(from_table(source), "the table", "table", chosen), wanted)


def _build(raw: Raw, source: str, kind: str, options: ReadOptions) -> EventLog:
    """Raw columns -> a log: the condition, then ids and times, then what is left."""
    import polars as pl

    rows_read = raw.frame.height + len(raw.rejected)
    columns, notes = choose([c for c in raw.frame.columns if c != ROW], options.columns)
    frame = raw.frame if options.where is None else _where(raw.frame, options.where, columns)
    left_out = raw.frame.height - frame.height
    ready, more, has_times = _columns(frame, columns, raw.ordered, options)
    mixed = {place: why for role in rejects.IDS for place, why in raw.mixed.get(columns.get(role, ""), {}).items()}
    suspect = rejects.suspicious(ready) | frame[ROW].is_in(list(mixed))
    aside = rejects.set_aside(
        frame.filter(suspect), columns, {role: column.filter(suspect) for role, column in ready.items()}, mixed
    )
    others = [c for c in frame.columns if c != ROW and c not in columns.values() and c not in ready]
    kept = pl.DataFrame([series.alias(role) for role, series in ready.items()] + [frame[c] for c in others])
    if aside:
        kept = kept.filter(~frame[ROW].is_in([row for row, _, _ in aside]))
    refused = [*raw.rejected, *aside]
    path = _settle(refused, source, options)
    if kept.height == 0:
        raise ValueError(f"{source} has no usable row; {rows_read} were read.{_why_none(refused, left_out)}")
    report = ReadReport(
        source,
        kind,
        columns,
        tuple(dict.fromkeys([*raw.notes, *notes, *more])),
        rows_read,
        rejects.count(refused),
        left_out,
        path,
    )
    return EventLog(kept, has_times, report, raw.labelled)


def _why_none(refused: list[Reject], left_out: int) -> str:
    told = f" {left_out} were left out by the condition." if left_out else ""
    if refused:
        row, reason, _ = min(refused)
        told += f" The first: {reason} (row {row})."
        if reason == rejects.NO_TIME:
            told += " Times of another form are read with time_format, for example %d/%m/%Y %H:%M."
    return told


def _settle(refused: list[Reject], source: str, options: ReadOptions) -> str | None:
    """Writes the refused rows where that was asked; ValueError where there shall be none."""
    path = None if options.rejected is None else Path(options.rejected)
    if path is not None:
        rejects.write(path, refused)
    if refused and options.strict:
        row, reason, _ = min(refused)
        raise ValueError(f"{source} row {row}: {reason}. {len(refused)} such rows; leave out strict to set them aside.")
    return None if path is None else str(path)


def _where(frame: "pl.DataFrame", condition: str, columns: Mapping[str, str]) -> "pl.DataFrame":
    """The rows that meet the condition. A text file has texts only, so that "Quantity > 0" could not be asked of it:
    columns without an id that hold nothing but numbers are compared as numbers then."""
    import polars as pl

    ids = {columns[role] for role in rejects.IDS if role in columns}
    try:
        wanted = pl.sql_expr(condition)
        try:
            met = frame.select(wanted).to_series()
        except pl.exceptions.PolarsError:
            texts = [c for c in frame.columns if frame[c].dtype == pl.String and c not in ids]
            met = frame.with_columns(_number(frame[c]) for c in texts).select(wanted).to_series()
    except pl.exceptions.PolarsError as error:
        cause = str(error).splitlines()[0].removesuffix(".")
        raise ValueError(f"The condition '{condition}' does not work on this log: {cause}.") from None
    if met.dtype != pl.Boolean or len(met) != frame.height:
        raise ValueError(f"The condition '{condition}' is not true or false for each row; write for example price > 0.")
    return frame.filter(met)


def _number(column: "pl.Series") -> "pl.Series":
    import polars as pl

    number = column.cast(pl.Float64, strict=False)
    return number if number.null_count() == column.null_count() else column


def _columns(
    frame: "pl.DataFrame", columns: Mapping[str, str], ordered: bool, options: ReadOptions
) -> "tuple[dict[str, pl.Series], list[str], bool]":
    """(our columns in our types, sentences about guesses, whether there are times)."""
    import polars as pl

    ready: dict[str, pl.Series] = {}
    notes: list[str] = []
    for role in rejects.IDS:
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


def _index(column: "pl.Series", catalog: Catalog) -> np.ndarray:
    """int32 index of each row's item; PAD for one outside the catalogue."""
    import polars as pl

    if len(catalog) == 0:
        return np.full(len(column), PAD, dtype=np.int32)
    names = pl.Series(catalog.ids, dtype=pl.String)
    codes = column.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return (codes.to_numpy() + 1).astype(np.int32)
