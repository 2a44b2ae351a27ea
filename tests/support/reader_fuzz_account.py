"""Accounts of the readers' fuzz: rows counted without a reader, and uses of a log that must not lose a row."""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from segue.data.event_log import EventLog
from segue.data.item_table import ItemTable, UserTable
from segue.data.profile import profile_log
from segue.data.readers.events import read_events
from segue.data.readers.log_options import decode_description
from segue.workflows.log_files.clean_log import write_clean_log

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SPACE = r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_KEYS = ("user_id", "item_id", "timestamp", "session_id")


def count_rows(path: Path, format: str, options: dict[str, Any]) -> int | None:
    """Return the rows of a text, counted without a reader; None for another file, or where faults leave it open.

    Args:
        path: the file.
        format: its format.
        options: options of the reading.
    """
    text = _text(path, str(options.get("encoding", "auto")))
    if text is None or format not in ("csv", "tsv", "recbole", "jsonl", "json", *_COUNT_OF_LINE):
        return None
    if format == "json":
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return len(rows) if isinstance(rows, list) else None
    if format == "jsonl":
        return sum(bool(line.strip(" \t\n\r\v\f")) for line in text.split("\n"))
    if format in _COUNT_OF_LINE:
        lines = (re.sub(f"^{_SPACE}+|{_SPACE}+$", "", line) for line in text.split("\n"))
        return sum(_COUNT_OF_LINE[format](line) for line in lines if line)
    return _count_records(text, format, options.get("header") != "none")


def _text(path: Path, encoding: str) -> str | None:
    """Return a file as text; bytes that are not UTF-8 are characters of Latin-1, which have the same lines."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return None
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    name = (marked or "utf-8-sig") if encoding in ("auto", "utf-8") else encoding
    try:
        return data.decode(name)
    except (UnicodeError, LookupError):
        is_bytewise = encoding in ("auto", "utf-8") and marked is None
        return data.removeprefix(codecs.BOM_UTF8).decode("latin-1") if is_bytewise else None


def _count_records(text: str, format: str, has_header: bool) -> int | None:
    text = text.lstrip("\r\n")
    first, end, rest = re.match(r"([^\r\n]*)(\r\n|\n|\r)?(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    named = first[4] if len(first) == 5 and first.startswith("sep=") else None
    body = rest if named and end else text
    if '"' not in body or format == "recbole":
        lines = re.split(r"\r\n|\n|\r", body)
        return sum(map(bool, lines)) - has_header if lines[0] else None
    separators = [named] if named else ["\t"] if format == "tsv" else [",", ";", "\t", "|"]
    try:
        for separator in separators:
            first_record = next(csv.reader(io.StringIO(body, newline=""), delimiter=separator))
            if len(first_record) > 1:
                break
        records = list(csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True))
    except (csv.Error, StopIteration):
        return None
    filled = [record for record in records if record]
    is_sound = all(len(record) == len(first_record) > 1 for record in filled)
    is_sound &= max(cell.count("\n") + cell.count("\r") for record in filled for cell in record) < 100
    return len(filled) - has_header if is_sound else None


def _events_of_sequence(line: str) -> int:
    return max(1, len(re.split(f"{_SPACE}+", line)) - 1)


def _events_of_session(line: str) -> int:
    return len(re.split(f"{_SPACE}+", line))


def _events_of_prefix(line: str) -> int:
    is_case = re.fullmatch(rf"(?!{_SPACE}).*\t *(?:(?!{_SPACE}).)+", line) is not None
    return _events_of_session(line) if is_case else 1


_COUNT_OF_LINE = {
    "pairs": lambda line: 1,
    "sequences": _events_of_sequence,
    "sessions": _events_of_session,
    "prefixes": _events_of_prefix,
}


def table_rows(table: ItemTable | UserTable) -> int:
    """Return the rows that a table accounts for: its own, and those that its notes state as rejected or repeated."""
    counts = [re.match(r"([\d,]+) rows (of the \w+ table rejected: |repeat an? )", note) for note in table.notes]
    return table.frame.height + sum(int(match[1].replace(",", "")) for match in counts if match)


def check_cells(table: ItemTable | UserTable) -> str | None:
    """Print a table and return a cell of an items table that no artifact can hold, or None."""
    table.lines()
    if isinstance(table, UserTable):
        return None
    plain = (str, int, float, bool)
    for values in table.by_id().values():
        for name, value in values.items():
            parts = value if isinstance(value, list) else [value]
            if not all(part is None or isinstance(part, plain) for part in parts):
                return f"column {name!r} holds {value!r:.100}"
    return None


def check_use(log: EventLog, path: Path | None, options: dict[str, Any], rng: np.random.Generator) -> str | None:
    """Use a log: as sequences, in a profile, read again like itself, cleaned and read again; the problem, or None.

    Args:
        log: the log.
        path: its file; None for a table in memory.
        options: options of the reading.
        rng: random generator.
    """
    rows, _ = log.sequences(log.catalog())
    if int(rows.lengths.sum()) != len(log):
        return f"{len(log)} events, but {int(rows.lengths.sum())} in the sequences"
    profile_log(log).lines()
    if path is not None and "session_id" not in options.get("columns", {}):  # later logs decline one with blanks
        like = decode_description(json.loads(json.dumps(log.description.to_dict())), "run")
        own = {name: options[name] for name in ("allow_loss", "strict") if name in options}
        again = read_events(path, like=like, **own)
        if not _keys(again).equals(_keys(log)):
            return f"{len(log)} events, but {len(again)} others when read like itself"
    if log.is_labeled_test:
        return None
    suffix = str(rng.choice([".parquet", ".csv", ".jsonl"]))
    folder = Path("/tmp") if path is None else path.parent
    out = folder / f"clean-{rng.integers(1 << 60)}{suffix}"
    try:
        write_clean_log(log, out)
        cleaned = read_events(out)
        if not _keys(cleaned).equals(_keys(log)):
            return f"{len(log)} events, but {len(cleaned)} others after cleaning to {suffix}"
    finally:
        out.unlink(missing_ok=True)
    return None


def _keys(log: EventLog) -> pl.DataFrame:
    names = [name for name in _KEYS if name in log.frame.columns and (name != "timestamp" or log.has_times)]
    return log.frame.select(names)
