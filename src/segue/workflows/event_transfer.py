"""Events between files and a server's log: an old log into a data directory, a data directory into a file."""

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
"""Where an imported event says it comes from."""
CHUNK = 20_000
KINDS = (".parquet", ".csv", ".jsonl")


def import_log(log: "EventLog", data_dir: Path, now_us: int) -> AppendResult:
    """A log's events into a data directory that no server owns just now; safe to repeat, also with a longer log.

    ValueError for a log without times (nothing says where its events would go among others), and for a directory that
    has an owner.
    """
    if not log.has_times:
        raise ValueError("A history needs times: without them nothing says what came before what.")
    directory = DataDirectory(data_dir)
    try:
        store = EventStore(directory.path / "events.sqlite")
        try:
            return import_events(store, log_to_events(log, now_us))
        finally:
            store.close()
    finally:
        directory.release()


def log_to_events(log: "EventLog", now_us: int) -> Iterator[Event]:
    """The events as a server would have taken them, with the log's context columns as their context. An id is made of
    what happened, so that a log that was sorted otherwise, or has grown, brings nothing twice."""
    own = ("user_id", "session_id", "item_id", "timestamp", "event", "value")
    wanted: list[str] = [c for c in own if c in log.frame.columns]
    around = [c for c in log.context if c not in own]
    met: Counter[bytes] = Counter()
    for part in log.frame.select(wanted + around).iter_slices(CHUNK):
        for row in part.iter_rows(named=True):
            told = "\x00".join(str(row.get(name)) for name in wanted).encode()
            digest = hashlib.blake2b(told, digest_size=12).digest()
            met[digest] += 1
            user, session = row["user_id"], row.get("session_id")
            sent = EventIn(
                item_id=row["item_id"],
                user_id=None if session is not None and user == visitor_user_id(session) else user,
                session_id=None if session == user else session,
                event_id=f"{digest.hex()}-{met[digest]}",
                source=SOURCE,
                timestamp=row["timestamp"] / 1e6,
                event=row.get("event") or "view",
                value=row.get("value"),
                context={name: _cell(row[name]) for name in around if row[name] is not None},
            )
            yield validate_event(sent, now_us)


def _cell(value: Any) -> str | int | float | bool:
    """A cell as a context may hold it: lists as JSON, what JSON has no word for as text."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value if isinstance(value, str | int | float | bool) else str(value)


def export(data_dir: Path, out: Path, context: Sequence[str] = ()) -> int:
    """A data directory's events into a Parquet, CSV or JSONL file, chunk by chunk, also while a server writes; how
    many. The file is there whole or not at all. ``context``: names in the events' contexts that become columns, of
    text, so that the file can be trained on with them. ValueError for one that every event has a column of anyhow."""
    taken = [name for name in context if name in _schema()]
    if taken:
        raise ValueError(f"Every event has a column '{taken[0]}' already: leave it out of the context to export.")
    store = Path(data_dir) / "events.sqlite"
    if not store.is_file():
        raise ValueError(f"{data_dir} is not a server's data directory: it has no events.sqlite.")
    count = 0

    def chunks() -> "Iterator[pl.DataFrame]":
        nonlocal count
        for stored in scan_events(store, CHUNK):
            count += len(stored)
            yield _frame([one.event for one in stored], context)

    write_stream(out, _schema(context), chunks)
    return count


def write_stream(out: Path, schema: dict[str, Any], frames: "Callable[[], Iterator[pl.DataFrame]]") -> None:
    """Frames into a file of the kind that its name says, without ever holding all of them."""
    from polars.io.plugins import register_io_source

    if out.suffix not in KINDS:
        raise ValueError(f"{out} should end in {', '.join(KINDS[:-1])} or {KINDS[-1]}.")

    def source(columns: Any, predicate: Any, rows: Any, batch: Any) -> "Iterator[pl.DataFrame]":
        return frames()

    atomic_files.make_folder(out.parent)
    # In a folder of its own: a writer that hears late of a failure cannot leave a file in one that is gone.
    folder = out.with_name(f"{out.name}.writing")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    fresh = folder / out.name
    lazy = register_io_source(source, schema=schema)
    try:
        if out.suffix == ".parquet":
            lazy.sink_parquet(fresh)
        elif out.suffix == ".csv":
            lazy.sink_csv(fresh)
        else:
            lazy.sink_ndjson(fresh)
        atomic_files.fsync_folder(fresh)
        os.replace(fresh, out)
        atomic_files.fsync_folder(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _schema(context: Sequence[str] = ()) -> dict[str, Any]:
    import polars as pl

    text = {name: pl.String for name in ("user_id", "session_id", "item_id")}
    more = {"event": pl.String, "value": pl.Float64, "source": pl.String, "event_id": pl.String, "context": pl.String}
    return {**text, "timestamp": pl.Datetime("us", "UTC"), **more, **dict.fromkeys(context, pl.String)}


def _frame(events: list[Event], context: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    schema = _schema(context)
    columns = {name: [getattr(one, name) for one in events] for name in _schema() if name != "timestamp"}
    told = [json.loads(one.context) for one in events] if context else []
    columns |= {name: [cast_cell(one.get(name), "category") for one in told] for name in context}
    # A log that is trained on names a person and a session in every row.
    columns["user_id"] = [
        one.user_id if one.user_id is not None else visitor_user_id(str(one.session_id)) for one in events
    ]
    columns["session_id"] = [one.session_id if one.session_id is not None else one.user_id for one in events]
    times = pl.Series([one.time_us for one in events], dtype=pl.Int64).cast(schema["timestamp"])
    return pl.DataFrame({**columns, "timestamp": times}, schema_overrides=schema).select(list(schema))
