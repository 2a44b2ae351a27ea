"""Import of a log into a server's event store, and export of the store into a file."""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.erasure_list import visitor_user_id
from segue.data.features.cell_casting import cast_cell
from segue.serving.administration.erase_user import open_eraser
from segue.serving.schemas.requests import EventIn
from segue.serving.store.data_directory import DataDirectory
from segue.serving.store.event import Event, validate_event
from segue.serving.store.event_reader import scan_events
from segue.serving.store.event_store import AppendResult, EventStore, import_events
from segue.system import atomic_files

if TYPE_CHECKING:
    import polars as pl

    from segue.data.event_log import EventLog

SOURCE = "import"
"""Source field of an imported event."""
CHUNK_ROWS = 20_000
SUFFIXES = (".parquet", ".csv", ".jsonl")


def import_log(
    log: "EventLog", data_dir: Path, now_us: int, notify: Callable[[str], None] = lambda line: None
) -> AppendResult:
    """Import a log into a data directory. Safe to repeat, also with a longer log: an event is stored once.

    Events of users erased there, from before their erasure, are left out.

    Args:
        log: the events, with timestamps.
        data_dir: data directory of a server that is not running.
        now_us: current time in microseconds since 1970; an event more than 5 minutes later ends the import, so a reader
            sets such rows aside (``latest_us``).
        notify: receives a sentence about each irregularity of the directory.

    Returns:
        Numbers of accepted, of duplicate and of erased events.

    Raises:
        ValueError: the log has no timestamps, the directory is in use, or its list of erased users is damaged.
    """
    if not log.has_times:
        raise ValueError("A history needs timestamps: without them the order of its events is unknown.")
    directory = DataDirectory(data_dir)
    try:
        store = EventStore(directory.path / "events.sqlite")
        try:
            steps = open_eraser(store, notify).steps
            result = import_events(store, log_to_events(log, now_us), steps.without_erased)
            if store.erasure.compaction_due:
                store.erasure.compact()
            return result
        finally:
            store.close()
    finally:
        directory.release()


def log_to_events(log: "EventLog", now_us: int) -> Iterator[Event]:
    """Yield a log's events as a server accepts them, with the log's context columns as their context.

    The event id is a hash of the event's content and its count among equal events. So a longer log, or one in another
    order, adds only its new events.

    Args:
        log: the events.
        now_us: current time in microseconds since 1970.
    """
    own = ("user_id", "session_id", "item_id", "timestamp", "event", "value")
    columns: list[str] = [c for c in own if c in log.frame.columns]
    context_columns = [c for c in log.context if c not in own]
    occurrences: Counter[bytes] = Counter()
    for part in log.frame.select(columns + context_columns).iter_slices(CHUNK_ROWS):
        for row in part.iter_rows(named=True):
            if row.get("session_id") is not None:  # a reader writes USER/SESSION for an id that users share
                row["session_id"] = row["session_id"].removeprefix(f"{row['user_id']}/")
            content = "\x00".join(str(row.get(name)) for name in columns).encode()
            digest = hashlib.blake2b(content, digest_size=12).digest()
            occurrences[digest] += 1
            user, session = row["user_id"], row.get("session_id")
            event = EventIn(
                item_id=row["item_id"],
                user_id=None if session is not None and user == visitor_user_id(session) else user,
                session_id=None if session == user else session,
                event_id=f"{digest.hex()}-{occurrences[digest]}",
                source=SOURCE,
                timestamp=row["timestamp"] / 1e6,
                event=row.get("event") or "view",
                value=row.get("value"),
                context={name: _cell(row[name]) for name in context_columns if row[name] is not None},
            )
            yield validate_event(event, now_us)


def _cell(value: Any) -> str | int | float | bool:
    """Convert a cell to a value of an event's context: a list to JSON, another type that JSON lacks to text."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value if isinstance(value, str | int | float | bool) else str(value)


def export_events(data_dir: Path, out: Path, context: Sequence[str] = ()) -> int:
    """Export a data directory's events to a Parquet, CSV or JSONL file, also while a server writes.

    The file appears at its place when it is complete.

    Args:
        data_dir: data directory of a server.
        out: the file; its ending chooses the format.
        context: names in the events' contexts that become text columns.

    Returns:
        Number of events.

    Raises:
        ValueError: no event store there, another ending, or a context name that is a column of every event.
    """
    duplicates = [name for name in context if name in _schema()]
    if duplicates:
        raise ValueError(f"Every event has a column '{duplicates[0]}' already: leave it out of the context to export.")
    store = Path(data_dir) / "events.sqlite"
    if not store.is_file():
        raise ValueError(f"{data_dir} is not a server's data directory: it has no events.sqlite.")
    count = 0

    def chunks() -> "Iterator[pl.DataFrame]":
        nonlocal count
        for stored in scan_events(store, CHUNK_ROWS):
            count += len(stored)
            yield _frame([row.event for row in stored], context)

    write_stream(out, _schema(context), chunks)
    return count


def write_stream(out: Path, schema: dict[str, Any], frames: "Callable[[], Iterator[pl.DataFrame]]") -> None:
    """Write frames to a Parquet, CSV or JSONL file one by one; the file appears when it is complete.

    Args:
        out: the file; its ending chooses the format.
        schema: Polars type of each column.
        frames: function that yields the frames.

    Raises:
        ValueError: another ending, or a folder.
    """
    from polars.io.plugins import register_io_source

    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out} should end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    if out.is_dir():
        raise ValueError(f"{out} is a folder, so no file can be written there.")

    def source(columns: Any, predicate: Any, rows: Any, batch: Any) -> "Iterator[pl.DataFrame]":
        return frames()

    atomic_files.make_folder(out.parent)
    # In a folder of its own: a writer that notices a failure late cannot leave a file in a removed folder.
    folder = out.with_name(f"{out.name}.writing")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    temporary = folder / out.name
    lazy = register_io_source(source, schema=schema)
    try:
        if out.suffix == ".parquet":
            lazy.sink_parquet(temporary)
        elif out.suffix == ".csv":
            lazy.sink_csv(temporary)
        else:
            lazy.sink_ndjson(temporary)
        atomic_files.fsync_folder(temporary)
        os.replace(temporary, out)
        atomic_files.fsync_folder(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _schema(context: Sequence[str] = ()) -> dict[str, Any]:
    import polars as pl

    text = {name: pl.String for name in ("user_id", "session_id", "item_id")}
    more = {"event": pl.String, "value": pl.Float64, "source": pl.String, "event_id": pl.String, "context": pl.String}
    return {**text, "timestamp": pl.Datetime("us", "UTC"), **more, **dict.fromkeys(context, pl.String)}


def _frame(events: list[Event], names: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    schema = _schema(names)
    columns = {name: [getattr(event, name) for event in events] for name in _schema() if name != "timestamp"}
    contexts = [json.loads(event.context) for event in events] if names else []
    columns |= {name: [cast_cell(context.get(name), "category") for context in contexts] for name in names}
    # A log for training has a user and a session in every row.
    columns["user_id"] = [
        event.user_id if event.user_id is not None else visitor_user_id(str(event.session_id)) for event in events
    ]
    columns["session_id"] = [event.session_id if event.session_id is not None else event.user_id for event in events]
    times = pl.Series([event.time_us for event in events], dtype=pl.Int64).cast(schema["timestamp"])
    return pl.DataFrame({**columns, "timestamp": times}, schema_overrides=schema).select(list(schema))
