"""File formats: table of the readers, guess by suffix, and ``read_raw``.

Text columns stay text, so that an id keeps its characters, ``01`` and ``1.0`` included.
"""

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from segue.data.readers.formats import benchmark_text
from segue.data.readers.formats.delimited import read_delimited, read_recbole
from segue.data.readers.formats.encodings import as_utf8
from segue.data.readers.formats.files import LogFile, find_files
from segue.data.readers.formats.json_lines import read_json, read_json_lines
from segue.data.readers.formats.parquet_pages import check_pages
from segue.data.readers.formats.raw_table import ROW, RawTable, is_unprintable
from segue.data.readers.formats.typed_columns import settle_columns

FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".inter": "recbole",
    ".item": "recbole",
    ".user": "recbole",
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
    """Read a Parquet file with its typed columns. ValueError for damaged page headers."""
    import polars as pl

    try:
        check_pages(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}.") from None
    with path.open("rb") as file:
        frame = pl.read_parquet(file if is_unprintable(path) else path, glob=False, hive_partitioning=False)
    frame, notes = settle_columns(frame)
    return RawTable(frame.with_row_index(ROW, offset=1), notes=notes)


def read_arrow(path: Path) -> RawTable:
    """Read an Arrow IPC file (Feather) or an Arrow IPC stream."""
    import polars as pl

    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        source = file if is_unprintable(path) else path
        frame = pl.read_ipc(source) if is_file else pl.read_ipc_stream(source)
    frame, notes = settle_columns(frame)
    return RawTable(frame.with_row_index(ROW, offset=1), notes=notes)


FORMATS: dict[str, Callable[..., RawTable]] = {
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


TEXT_FORMATS = frozenset(FORMATS) - {"parquet", "arrow"}
"""Formats whose files are text in an encoding."""


def guess_format(path: Path) -> str:
    """Return the format by the suffix of the file, or of the first file of a folder or pattern.

    Raises:
        ValueError: with the choices, for an unknown suffix (``.txt``); or there is no such file.
    """
    name = path.name
    if not path.is_file() and not _format_of(path):
        name = find_files(path)[0].path.name if path.is_dir() or set("*?[") & set(str(path)) else name
    elif path.is_dir():
        name = find_files(path)[0].path.name
    if format := _format_of(Path(name)):
        return format
    find_files(path)  # a missing file is the first thing to report
    raise ValueError(f"The suffix of {name} has no known format; name one of: {', '.join(FORMATS)}.")


def _format_of(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return FORMAT_BY_SUFFIX.get(suffixes[-1]) if suffixes else None


def read_raw(path: Path, format: str, *, encoding: str = "auto", header: bool = True) -> RawTable:
    """Read a file, the parts in a folder, or the files of a pattern as raw columns.

    Args:
        path: file, folder or pattern to read.
        format: key of FORMATS.
        encoding: encoding of a text; "auto": detected.
        header: the first line of a csv or tsv file names its columns; False: they are column_1, column_2 ...

    Raises:
        ValueError: unknown format; or a file is missing, empty or not of that format.
    """
    if format not in FORMATS:
        raise ValueError(f"There is no format '{format}'. Known formats: {', '.join(FORMATS)}.")
    if not header and format not in ("csv", "tsv"):
        raise ValueError(f"Only csv and tsv files can be without a header, not {format}.")
    files = find_files(path)
    tables = [_read_file(file.path, format, encoding, header) for file in files]
    if len(files) == 1 and not files[0].keys:
        return tables[0]
    return _join_parts(path, format, files, tables)


def _read_file(path: Path, format: str, encoding: str, header: bool) -> RawTable:
    import polars as pl

    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    reader = FORMATS[format] if header else partial(FORMATS[format], header=False)
    try:
        if format not in TEXT_FORMATS:
            return reader(path)
        with as_utf8(path, encoding) as (text_path, notes):
            try:
                raw = reader(text_path)
            except ValueError as error:
                raise ValueError(str(error).replace(str(text_path), str(path))) from None
            raw.notes[:0] = notes
            return raw
    except pl.exceptions.PanicException as error:  # for some damaged Parquet files; no Exception
        raise _broken(path, format, error) from None
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeError, zlib.error) as error:
        raise _broken(path, format, error) from None


def _broken(path: Path, format: str, error: BaseException) -> ValueError:
    cause = (str(error).splitlines() or ["it is broken"])[0].removesuffix(".")
    return ValueError(f"{path} cannot be read as {format}: {cause}.")


def _join_parts(path: Path, format: str, files: list[LogFile], tables: list[RawTable]) -> RawTable:
    """Join the parts of a log. Their rows are numbered one part after the other."""
    import polars as pl

    frames, rejected = [], []
    mixed: dict[str, dict[int, str]] = {}
    before = 0
    for file, table in zip(files, tables, strict=True):
        numbers = table.frame[ROW]
        keys = [pl.lit(value).alias(name) for name, value in file.keys.items() if name not in table.frame.columns]
        frame = table.frame.with_columns((numbers + before).alias(ROW), *keys)
        frames.append(benchmark_text.number_lines(frame) if format in ("sessions", "prefixes") else frame)
        rejected += [row._replace(row=row.row + before) for row in table.rejected]
        for column, reasons in table.mixed_type_rows.items():
            mixed.setdefault(column, {}).update({row + before: reason for row, reason in reasons.items()})
        before += max([int(numbers.max() or 0), *(row.row for row in table.rejected)])  # type: ignore[arg-type]
    try:
        frame = pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"The parts of {path} do not fit together: {str(error).splitlines()[0]}.") from None
    notes = [f"{len(files)} files are read as one log; their rows are numbered one file after the other."]
    notes += dict.fromkeys(note for table in tables for note in table.notes)
    first = tables[0]
    nested = frozenset().union(*(table.nested_columns for table in tables))
    return RawTable(
        frame, rejected, first.ordered, notes, mixed, nested, first.is_labeled_test, column_types=first.column_types
    )
