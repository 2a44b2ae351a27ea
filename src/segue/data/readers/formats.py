"""File formats: table of the readers, guess by suffix, and ``read_raw``.

Text columns stay text, so that an id keeps its characters, ``01`` and ``1.0`` included.
"""

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from segue.data.readers import benchmark_text
from segue.data.readers.delimited import read_delimited, read_recbole
from segue.data.readers.json_lines import read_json, read_json_lines
from segue.data.readers.raw_table import ROW, RawTable

FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".inter": "recbole",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


def read_parquet(path: Path) -> RawTable:
    """Read a Parquet file with its typed columns."""
    import polars as pl

    return RawTable(pl.read_parquet(path).with_row_index(ROW, offset=1))


def read_arrow(path: Path) -> RawTable:
    """Read an Arrow IPC file (Feather) or an Arrow IPC stream."""
    import polars as pl

    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    frame = pl.read_ipc(path) if is_file else pl.read_ipc_stream(path)
    return RawTable(frame.with_row_index(ROW, offset=1))


FORMATS: dict[str, Callable[[Path], RawTable]] = {
    "csv": partial(read_delimited, separator=","),
    "tsv": partial(read_delimited, separator="\t"),
    "jsonl": read_json_lines,
    "json": read_json,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "recbole": read_recbole,
    "sequences": benchmark_text.read_sequences,
    "sessions": benchmark_text.read_sessions,
    "pairs": benchmark_text.read_pairs,
    "prefixes": benchmark_text.read_prefixes,
}
"""Reader of each format."""


def guess_format(path: Path) -> str:
    """Return the format by the file's suffix. Raises ValueError, with the choices, for an unknown one (``.txt``)."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in FORMAT_BY_SUFFIX:
        return FORMAT_BY_SUFFIX[suffixes[-1]]
    raise ValueError(f"The suffix of {path.name} has no known format; name one of: {', '.join(FORMATS)}.")


def read_raw(path: Path, format: str) -> RawTable:
    """Read a file as raw columns.

    Args:
        path: file to read.
        format: key of FORMATS.

    Raises:
        ValueError: unknown format; or the file is missing, empty or not of that format.
    """
    import polars as pl

    if format not in FORMATS:
        raise ValueError(f"There is no format '{format}'. Known formats: {', '.join(FORMATS)}.")
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a log.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    try:
        return FORMATS[format](path)
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeError, zlib.error) as error:
        cause = (str(error).splitlines() or ["it is broken"])[0].removesuffix(".")
        raise ValueError(f"{path} cannot be read as {format}: {cause}.") from None
