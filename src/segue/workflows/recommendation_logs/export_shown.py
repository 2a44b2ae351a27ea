"""Export of a server's recorded lists: one row for each shown item, with its propensity and its outcome."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from segue.data.erasure_list import ErasureList, visitor_user_id
from segue.serving.experiments.shown_lists import ShownList, read_shown_lists
from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_reader import EventReader
from segue.workflows.event_transfer import write_stream

if TYPE_CHECKING:
    import polars as pl


def export_shown(data_dir: Path, out: Path) -> int:
    """Export a data directory's recorded lists to a Parquet, CSV or JSONL file, also while a server writes.

    A row has the propensity of its item where a pipeline drew an item of the list, else none. User and session are
    empty for a request without them, and for a user without stored events.

    Args:
        data_dir: data directory of a server.
        out: the file; its ending chooses the format.

    Returns:
        Number of rows.

    Raises:
        ValueError: no recorded lists there, or another ending.
    """
    path = attribution_file(data_dir)
    keys = user_keys(data_dir)
    count = 0

    def frames() -> "Iterator[pl.DataFrame]":
        nonlocal count
        for lists in read_shown_lists(path):
            frame = _frame(lists, keys)
            count += len(frame)
            yield frame

    write_stream(out, _schema(), frames)
    return count


def attribution_file(data_dir: Path) -> Path:
    """Return the path of a data directory's recorded lists. ValueError where there are none."""
    path = Path(data_dir) / "attribution.sqlite"
    if not path.is_file():
        raise ValueError(f"{data_dir} has no recorded lists: it has no {path.name}.")
    return path


def user_keys(data_dir: Path) -> dict[str, HistoryKey]:
    """Return the user or session of each keyed digest, for those with a stored event.

    Raises:
        ValueError: the event store or the key of the digests cannot be read.
    """
    erasures = ErasureList.read(Path(data_dir))
    try:
        reader = EventReader(Path(data_dir) / "events.sqlite")
        keys = [("user_id", user) for user in reader.user_ids()] + [("session_id", s) for s in reader.session_ids()]
        reader.close()
    except apsw.Error as error:
        raise ValueError(f"{data_dir} has no readable event store: {error}.") from None
    return {erasures.digest(*key): key for key in keys}


def _schema() -> dict[str, Any]:
    import polars as pl

    return {
        "recommendation_id": pl.String,
        "timestamp": pl.Datetime("us", "UTC"),
        "user_id": pl.String,
        "session_id": pl.String,
        "placement": pl.String,
        "version": pl.String,
        "variant": pl.String,
        "variant_propensity": pl.Float64,
        "experiment": pl.String,
        "position": pl.Int32,
        "item_id": pl.String,
        "source": pl.String,
        "propensity": pl.Float64,
        "clicked": pl.Boolean,
        "purchased": pl.Boolean,
        "value": pl.Float64,
    }


def _frame(lists: list[ShownList], keys: dict[str, HistoryKey]) -> "pl.DataFrame":
    import polars as pl

    rows = []
    for shown in lists:
        id_type, id = keys.get(shown.user or "", (None, None))
        session = id if id_type == "session_id" else None
        user = visitor_user_id(str(session)) if session is not None else id
        head = (shown.list_id, shown.time_us, user, session, shown.placement, shown.version, shown.variant)
        for position, item in enumerate(shown.items, 1):
            outcome = (position in shown.clicks, position in shown.purchases, shown.purchases.get(position))
            columns = (shown.variant_propensity, shown.experiment, position, item.id, item.source, item.propensity)
            rows.append((*head, *columns, *outcome))
    schema = _schema()
    raw = {**schema, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=raw, orient="row").with_columns(pl.col("timestamp").cast(schema["timestamp"]))
