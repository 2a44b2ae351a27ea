"""Fuzz of the readers: harmed files are read with every row accounted for, or refused; built ones are read exactly."""

import csv
import gzip
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from tests.support.reader_fuzz_account import check_cells, check_use, count_rows, table_rows
from tests.support.reader_fuzz_files import harm, seed_files
from tests.support.reader_fuzz_rows import BuiltSource
from tests.support.reader_fuzz_tables import build_table
from tests.support.reader_fuzz_texts import build_text

from segue.data.readers.events import read_events
from segue.data.readers.formats.file_formats import guess_format
from segue.data.readers.items import read_items, read_users

LIMIT_S = 20.0
"""Longest reading of one small file."""
USED_SHARE = 0.15
"""Share of the logs that are used too: profiled, cleaned, read again."""
WHERES = (
    *("price > 0", "item != 'a'", '"user" == "u1"', "event in ['view', 'buy']", "price is missing", "in_stock"),
    *('item > "i3"', 'time > "2023-11-15"', "time > 1700000000", 'tags contains "view"', "not (item == user)"),
    *("price == '￥1'", "event", "nested is missing", '用户ID == "u1"', "行为 in ['buy']", "price >", "x" * 300),
)
COLUMNS = (
    *({"user_id": "item"}, {"item_id": "user", "user_id": "item"}, {"timestamp": "item"}, {"timestamp": "time+event"}),
    *({"session_id": "event"}, {"event": "price"}, {"value": "event"}, {"session_id": "none", "timestamp": "none"}),
    *({"user_id": "none"}, {"user_id": "absent"}, {"timestamp": "user+item"}, {"value": "nested"}, {"event": "tags"}),
)
PATTERNS = ("%d/%m/%Y %H:%M", "%Q", "%", "", "yyyy-MM-dd", "%H:%M", "%s", "%Y-%m-%d", "%d.%m.%y", "%Y-%m-%dT%H:%M:%S%z")
ENCODINGS = ("utf-8", "gb18030", "latin-1", "utf-16", "big5", "utf-7", "idna", "unicode_escape", "utf-32-le", "hz")


def options_of(rng: np.random.Generator, suffix: str) -> dict[str, Any]:
    """Return options of a reading, most of them defaults.

    Args:
        rng: random generator.
        suffix: suffix of the file.
    """
    options: dict[str, Any] = {"allow_loss": bool(rng.random() < 0.8)}
    headless = {"header": "none", "columns": {"user_id": "column_1", "item_id": "column_2"}}
    choices: list[tuple[float, Callable[[], dict[str, Any]]]] = [
        (0.15, lambda: {"where": str(rng.choice(WHERES))}),
        (0.15, lambda: {"time_zone": "Asia/Shanghai"}),
        (0.1, lambda: {"time_unit": str(rng.choice(["s", "ms", "us", "ns"]))}),
        (0.05, lambda: {"time_format": str(rng.choice(PATTERNS))}),
        (0.05, lambda: {"events": ("buy", "absent")}),
        (0.1, lambda: {"columns": COLUMNS[int(rng.integers(0, len(COLUMNS)))]}),
        (0.05, lambda: {"strict": True}),
        (0.05, lambda: {"max_user_item_events": 1}),
        (0.05, lambda: {"drop_repeats": True, "min_user_events": 2}),
        (0.05, lambda: {"session_gap_s": 3600.0}),
        (0.1 * (suffix not in (".parquet", ".arrow")), lambda: {"encoding": str(rng.choice(ENCODINGS))}),
        (0.05 * (suffix in (".csv", ".tsv")), lambda: headless),
    ]
    for share, make in choices:
        if rng.random() < share:
            options |= make()
    return options


def is_sentence(error: ValueError) -> bool:
    """Return whether an error is a sentence of Segue, also one with an expression and a caret under its fault."""
    message = str(error)
    first = message.partition("\n")[0]
    is_ended = first.endswith((".", "?", ":")) and ("\n" not in message or "^" in message)
    return is_ended and type(error) is ValueError


@contextmanager
def _deadline() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"a reading took more than {LIMIT_S:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _try(counts: Counter[str], action: Callable[[], str | None]) -> str | None:
    """Return the problem of an action, or None; a refusal in a sentence is none."""
    try:
        with _deadline():
            return action()
    except ValueError as error:
        counts["refused"] += 1
        return None if is_sentence(error) else f"no sentence: {type(error).__name__}: {str(error)[:300]}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        counts["failed"] += 1
        return f"{type(error).__name__}: {str(error)[:300]}"


def read_file(path: Path, options: dict[str, Any], counts: Counter[str], seed: int = 0) -> str | None:
    """Read a file as a log, and use some of the logs; the problem, or None.

    Args:
        path: the file.
        options: options of ``read_events``.
        counts: receives the outcomes and the rows.
        seed: random seed of the uses.
    """
    rng = np.random.default_rng(seed)

    def read() -> str | None:
        log = read_events(path, **options)
        report = log.report
        parts = {
            "kept": len(log),
            "filtered_out": report.filtered_out,
            "rejected": sum(report.rejected.values()),
            "removed": sum(report.removed.values()),
        }
        counts.update(parts | {"read": 1, "rows_read": report.rows_read})
        if report.rows_read != sum(parts.values()):
            return f"{report.rows_read} rows read, but {parts}"
        expected = count_rows(path, report.format, options) if path.is_file() else None
        counts["counted"] += expected is not None
        if expected is not None and report.rows_read != expected:
            return f"{report.rows_read} rows read, but the file has {expected}"
        return check_use(log, path, options, rng) if rng.random() < USED_SHARE else None

    return _try(counts, read)


def read_tables(source: Any, options: dict[str, Any], counts: Counter[str]) -> str | None:
    """Read a source as an items and as a users table, with every row accounted for; the problem, or None.

    Args:
        source: path or table.
        options: options of ``read_events``, of which the format and the encoding are taken.
        counts: receives the number of tables.
    """
    own = {name: options[name] for name in ("format", "encoding") if name in options}
    own_counts: Counter[str] = Counter()

    def read(reader: Callable[..., Any]) -> str | None:
        table = reader(source, allow_loss=True, **own)
        counts["tables"] += 1
        if problem := check_cells(table):
            return problem
        if not isinstance(source, Path) or not source.is_file():
            return None
        format = own["format"] if "format" in own else guess_format(source)
        expected = count_rows(source, format, {name: value for name, value in own.items() if name == "encoding"})
        if expected is not None and table_rows(table) != expected:
            return f"{table_rows(table)} rows of a table, but the file has {expected}"
        return None

    for reader in (read_items, read_users):
        problem = _try(own_counts, lambda reader=reader: read(reader))  # type: ignore[misc]
        if problem is not None:
            counts["failed"] += own_counts["failed"]
            return f"{reader.__name__}: {problem}"
    return None


def read_built(built: BuiltSource, folder: Path, counts: Counter[str], seed: int = 0) -> str | None:
    """Read a built source as a log and as an items table, and compare each row with its account.

    Args:
        built: the source.
        folder: folder for the rejected rows.
        counts: receives the outcomes and the rows.
        seed: random seed of the uses.
    """
    rng = np.random.default_rng(seed)
    problem = _try(counts, lambda: _compare_log(built, folder / "rejected.csv", counts, rng))
    if problem is None and not counts["read"] and not (built.refusable or built.is_filtered) and any(built.rows):
        return f"refused, though {sum(row is not None for row in built.rows)} of {len(built.rows)} rows are events"
    if problem is not None:
        return problem
    own: Counter[str] = Counter()
    problem = _try(own, lambda: _compare_items(built, counts))
    if problem is None and own["refused"] and not built.refusable and any(built.items):
        return "refused as an items table, though it has items"
    return problem


def _compare_log(built: BuiltSource, rejected_path: Path, counts: Counter[str], rng: np.random.Generator) -> str | None:
    log = read_events(built.source, rejected=rejected_path, **built.options)
    report = log.report
    counts.update({"read": 1, "rows_read": report.rows_read, "kept": len(log), "counted": 1})
    counts["rejected"] += sum(report.rejected.values())
    counts["filtered_out"] += report.filtered_out
    with rejected_path.open(encoding="utf-8", newline="") as file:
        numbers = [int(row["row"]) for row in csv.DictReader(file)]
    row_of = {number: i for i, number in enumerate(built.numbers)}
    name = "column_4" if built.options.get("header") == "none" else "row_no"
    kept = [int(text) for text in log.frame[name].to_list()]
    ids = list(range(len(built.numbers)))
    order = built.rows_of(kept)
    lost = [row_of[number] for number in numbers]
    wanted_ids = sorted(order + lost) if built.is_filtered and len({*order, *lost}) == len(order + lost) else ids
    is_whole = sorted(order + lost) == wanted_ids and len(ids) - report.filtered_out == len(order + lost)
    if report.rows_read != len(ids) or not is_whole or sum(report.rejected.values()) != len(lost):
        return f"{len(ids)} rows, {report.rows_read} read; rows {order} are kept, {lost} are rejected"
    if not built.refusable:
        for i, row in zip(order, log.frame.select("user_id", "item_id", "timestamp").iter_rows(), strict=True):
            wanted = built.rows[i]
            if wanted is None or row[:2] != wanted[:2] or abs(row[2] - wanted[2]) > built.slack_us:
                return f"row {i} is read as {row}, not as {wanted}"
        if missing := [i for i in lost if built.rows[i] is not None]:
            return f"row {missing[0]} is rejected, though it is {built.rows[missing[0]]}"
    path = built.source if isinstance(built.source, Path) else None
    return check_use(log, path, built.options, rng) if rng.random() < USED_SHARE else None


def _compare_items(built: BuiltSource, counts: Counter[str]) -> str | None:
    if built.options.get("header") == "none":
        return None
    wanted = {item for item in built.items if item is not None}
    encoding = {name: built.options[name] for name in ("encoding",) if name in built.options}
    table = read_items(built.source, allow_loss=True, **encoding)
    counts["tables"] += 1
    if problem := check_cells(table):
        return problem
    if table_rows(table) != len(built.rows):
        return f"{table_rows(table)} rows of an items table, but the file has {len(built.rows)}"
    if not built.refusable and set(table.ids) != wanted:
        return f"the items table has {sorted(set(table.ids) ^ wanted)[:3]} too few or too many"
    return None


def special_path(folder: Path, content: bytes, suffix: str, rng: np.random.Generator) -> Path:
    """Write a file to an unusual place: compressed, damaged so, in a folder of parts, behind a link, or not at all.

    Args:
        folder: an empty folder.
        content: bytes of the file.
        suffix: suffix of the file.
        rng: random generator.
    """
    path = folder / f"f{suffix}"
    kind = int(rng.integers(0, 11))
    packed = gzip.compress(content)
    if kind < 4:
        path = folder / f"f{suffix}.gz"
        cut = int(rng.integers(0, len(packed)))
        path.write_bytes((packed, packed[:cut], packed + packed, packed + b"junk")[kind])
    elif kind == 4:
        path.write_bytes(b"")
    elif kind == 5:
        path.mkdir()
    elif kind == 6:
        path.symlink_to(folder / "absent")
    elif kind == 7:
        path.symlink_to(path)
    elif kind == 8:
        (folder / f"real{suffix}").write_bytes(content)
        path.symlink_to(folder / f"real{suffix}")
    elif kind == 9:
        path.mkdir()
        for name in ("day=2024-05-01", "_temporary", "sub"):
            (path / name).mkdir()
            (path / name / f"part-0{suffix}").write_bytes(content)
        if rng.random() < 0.2:
            (path / f"part-1{suffix}").symlink_to(path / "absent")
    else:
        path = folder / os.fsdecode(b"[1]*\xff' " + suffix.encode())
        path.write_bytes(content)
    return path


def _read_harmed(number: int, folder: Path, rng: np.random.Generator, counters: dict[str, Counter[str]]) -> list[Any]:
    files = seed_files(int(rng.integers(0, 50)))
    suffix, format, content = files[int(rng.integers(0, len(files)))]
    content = harm(content, [other for *_, other in files], rng)
    options = options_of(rng, suffix) | ({} if format == "auto" else {"format": format})
    is_special = rng.random() < 0.06
    counts = counters.setdefault("special" if is_special else suffix if format == "auto" else format, Counter())
    counts["files"] += 1
    if is_special:
        path = special_path(folder, content, suffix, rng)
    else:
        path = folder / f"f{number}{suffix}"
        path.write_bytes(content)
    problems = (read_file(path, options, counts, number), read_tables(path, options, counts))
    return [{"file": number, "options": options, "problem": problem} for problem in problems if problem]


def _read_built(number: int, folder: Path, rng: np.random.Generator, counters: dict[str, Counter[str]]) -> list[Any]:
    built = (build_table if rng.random() < 0.6 else build_text)(rng, folder)
    own: Counter[str] = Counter(files=1)
    problem = read_built(built, folder, own, number)
    counters.setdefault(built.form, Counter()).update(own)
    return [{"file": number, "form": built.form, "options": built.options, "problem": problem}] if problem else []


def run(folder: Path, first: int, count: int, seed: int) -> dict[str, Any]:
    """Read ``count`` sources, numbered from ``first``, each with a generator of its own: half harmed, half built.

    Args:
        folder: an empty folder.
        first: number of the first source.
        count: number of sources.
        seed: random seed.

    Returns:
        Counts by format, and the failures, each with the number of its file.
    """
    counters: dict[str, Counter[str]] = {}
    failures: list[Any] = []
    for number in range(first, first + count):
        rng = np.random.default_rng((seed, number))
        own = folder / f"n{number}"
        own.mkdir()
        read = _read_harmed if rng.random() < 0.6 else _read_built
        failures += read(number, own, rng, counters)
        _remove(own)
    return {"by_format": {name: dict(counts) for name, counts in counters.items()}, "failures": failures}


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()
