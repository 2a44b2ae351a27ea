"""Clean log: the events as they were read, written to a file that every command reads without options."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.features.plain_cells import cells_of
from segue.data.readers.column_roles import KNOWN_COLUMN_NAMES, guess_role
from segue.workflows.event_transfer import write_stream

if TYPE_CHECKING:
    import polars as pl

    from segue.data.event_log import EventLog


def refuse_own_log(log: Path, out: Path) -> None:
    """Refuse a file that would replace the log, or become part of it.

    Args:
        log: file or folder of the log.
        out: the file to write.

    Raises:
        ValueError: the file is the log, or lies in its folder.
    """
    if log.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(f"{out} would be part of {log} itself: write the clean log elsewhere.")


def write_clean_log(log: "EventLog", out: Path) -> list[str]:
    """Write a log under Segue's own column names, with UTC times; reading the file gives equal events.

    Columns without a role follow. One whose name would be read as a role gets the prefix ``other_``.

    Args:
        log: the events.
        out: the file; its ending, .parquet, .csv or .jsonl, chooses the format.

    Returns:
        Sentences about columns that have another name in the file.

    Raises:
        ValueError: another ending, or a fixed test set, whose file is used as it is.
    """
    import polars as pl

    if log.is_labeled_test:
        raise ValueError("A fixed test set is evaluated as it is: there is nothing to clean.")
    roles = [
        role for role in KNOWN_COLUMN_NAMES if role in log.frame.columns and (role != "timestamp" or log.has_times)
    ]
    others = [name for name in log.frame.columns if name not in KNOWN_COLUMN_NAMES]
    renamed = _other_names(others, roles)
    frame = log.frame.select([*roles, *others]).rename(renamed)
    if log.has_times:
        frame = frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    frame = frame.with_columns(_plain(frame[name], out.suffix) for name in frame.columns)

    def frames() -> "Iterator[pl.DataFrame]":
        yield frame

    write_stream(out, dict(frame.schema), frames)
    return [
        f"Column '{name}' is written as '{new}': by its own name it would be read as {guess_role(name)}."
        for name, new in renamed.items()
    ]


def _other_names(others: list[str], roles: list[str]) -> dict[str, str]:
    """Map columns whose names are those of a role that the log does not have to other names."""
    renamed: dict[str, str] = {}
    for name in others:
        role = guess_role(name)
        if role is not None and role not in roles:
            new = f"other_{name}"
            while new in others or new in renamed.values():
                new = f"other_{new}"
            renamed[name] = new
    return renamed


def _plain(column: "pl.Series", suffix: str) -> "pl.Series":
    """Return a column that a file of this suffix can hold: any other value becomes JSON text."""
    import polars as pl

    dtype = column.dtype
    is_nested = isinstance(dtype, pl.List | pl.Array | pl.Struct)
    if suffix == ".parquet":
        is_held = dtype != pl.Object
    elif is_nested:
        is_held = suffix == ".jsonl" and "Binary" not in str(dtype)
    else:
        is_held = not isinstance(dtype, pl.Object | pl.Binary | pl.Duration)
    if is_held:
        return column
    texts = [None if value is None else _json(value) for value in cells_of(column)]
    return pl.Series(column.name, texts, dtype=pl.String)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
