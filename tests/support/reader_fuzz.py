"""Fuzz of the readers: small valid files, harmed at random, are read with every row accounted for, or refused."""

import io
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import polars as pl

from segue.data.readers.events import read_events
from segue.data.readers.items import read_items, read_users

LIMIT_S = 20.0
"""Longest reading of one small file."""
T0 = 1_700_000_000
TOKENS = (
    *(b'"', b"'", b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\x00", b"\x1f", b"\x7f", b" ", b"\\", b"\\N"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\x00\x00", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5", b"\x80"),
    *("用户".encode("gb18030"), "龙井".encode(), "é".encode("latin-1"), "\u2028".encode(), "\u200b".encode()),
    *(b"NULL", b"nan", b"NaN", b"inf", b"-inf", b"1e999", b"1e400", b"-0", b"0x10", b"true", b"null", b"None"),
    *(b"99999999999999999999999999", b"-9223372036854775809", b"18446744073709551616", b"1.7e308", b".5", b"1_000"),
    *(b"2024-13-45", b"0000-00-00", b"9999-12-31T23:59:59Z", b"1969-12-31", b"2024-05-01T10:00:00+99:99", b"20240501"),
    *(b"sep=;", b"{", b"}", b"[", b"]", b"[[[[", b'{"a":', b":token", b":float_seq", b"__row__", b"PAR1", b"ARROW1"),
)
"""Parts of files that readers are known to stumble over."""
WHERES = ("price > 0", "item != 'a'", '"user" == "u1"', "event in ['view', 'buy']", "price is missing", "in_stock")


def _table(number: int) -> pl.DataFrame:
    rng = np.random.default_rng(number)
    size = int(rng.integers(3, 25))
    return pl.DataFrame(
        {
            "user": [f"u{u}" for u in rng.integers(0, 6, size)],
            "item": [f"i{i}" for i in rng.integers(0, 9, size)],
            "time": (T0 + rng.integers(0, 10**6, size)).tolist(),
            "price": rng.random(size).round(2).tolist(),
            "event": [str(kind) for kind in rng.choice(["view", "buy"], size)],
        }
    )


def _csv(frame: pl.DataFrame, separator: str = ",", quoted: bool = False) -> bytes:
    return frame.write_csv(separator=separator, quote_style="always" if quoted else "necessary").encode()


def _binary(frame: pl.DataFrame, write: Callable[[pl.DataFrame, io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(frame, buffer)
    return buffer.getvalue()


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Types of columns that files of other programs hold."""
    return frame.with_columns(
        pl.col("user").cast(pl.Categorical),
        pl.from_epoch("time", time_unit="s").dt.replace_time_zone("Asia/Shanghai"),
        pl.col("price").cast(pl.Decimal(10, 2)),
        pl.concat_list("item", "event").alias("tags"),
        pl.struct("item", "price").alias("nested"),
        (pl.col("price") > 0.5).alias("in_stock"),
        pl.lit(None).alias("nothing"),
    )


def _lines(frame: pl.DataFrame) -> bytes:
    rows = frame.with_columns(pl.col("item").str.slice(1).cast(pl.Int64)).to_dicts()
    rows += [{"user": "u1", "item": "7", "time": T0, "tags": ["a", 1], "more": {"x": None}}, {"user": 3, "item": True}]
    return "\n".join(json.dumps(row) for row in rows).encode()


def _chinese(frame: pl.DataFrame) -> str:
    named = frame.rename({"user": "用户ID", "item": "商品ID", "time": "时间", "price": "价格", "event": "行为"})
    times = pl.from_epoch("时间", time_unit="s").dt.strftime("%Y/%-m/%-d %H:%M")
    return named.with_columns(times, ("￥" + pl.col("价格").cast(pl.String)).alias("价格")).write_csv()


def seed_files(number: int) -> list[tuple[str, str, bytes]]:
    """(suffix, format, content) of small valid files; "auto": by the suffix."""
    frame = _table(number)
    text = "".join(f"{u} {i}\n" for u, i in frame.select("user", "item").iter_rows())
    recbole = _csv(frame.drop("event").rename({"user": "user_id:token", "item": "item_id:token"}), "\t")
    recbole = recbole.replace(b"\ttime\t", b"\ttimestamp:float\t").replace(b"\tprice\n", b"\tprice:float\n")
    return [
        (".csv", "auto", _csv(frame)),
        (".csv", "auto", _csv(frame, quoted=True).replace(b"view", b'a ""view"",\nof two lines')),
        (".csv", "auto", b"sep=;\r\n" + _csv(frame, ";").replace(b"\n", b"\r\n")),
        (".csv", "auto", _chinese(frame).encode("gb18030")),
        (".csv", "auto", _chinese(frame).encode("utf-16")),
        (".tsv", "auto", b"\xef\xbb\xbf" + _csv(frame, "\t")),
        (".inter", "auto", recbole),
        (".jsonl", "auto", _lines(frame)),
        (".json", "auto", json.dumps(frame.to_dicts()).encode()),
        (".parquet", "auto", _binary(frame, lambda table, file: table.write_parquet(file, compression="uncompressed"))),
        (".parquet", "auto", _binary(_typed(frame), lambda table, file: table.write_parquet(file))),
        (".arrow", "auto", _binary(_typed(frame), lambda table, file: table.write_ipc(file))),
        (".txt", "pairs", text.encode()),
        (".txt", "sequences", text.replace("\n", " i1 i2\n").encode()),
        (".txt", "prefixes", text.replace("\n", "\ti3\n").encode()),
    ]


def harm(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Harm a file one to three times: bytes, slices, lines and tokens are flipped, cut, doubled, moved or put in."""
    data = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        if not data:
            break
        at, stop = sorted(int(n) for n in rng.integers(0, len(data) + 1, 2))
        kind = int(rng.integers(0, 10))
        if kind == 0:
            data[min(at, len(data) - 1)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[min(at, len(data) - 1)] = int(rng.integers(0, 256))
        elif kind == 2:
            del data[at : min(stop, at + int(rng.integers(1, 40)))]
        elif kind == 3:
            data[at:at] = data[at : min(stop, at + 200)] * int(rng.integers(1, 5))
        elif kind in (4, 5, 6):
            data[at:at] = TOKENS[int(rng.integers(0, len(TOKENS)))] * int(rng.choice([1, 1, 1, 2, 50]))
        elif kind == 7:
            data = data[:at] if rng.random() < 0.7 else data[at:]
        elif kind == 8:
            lines = bytes(data).split(b"\n")
            rng.shuffle(lines)  # type: ignore[arg-type]
            data = bytearray(b"\n".join(lines))
        else:
            other = others[int(rng.integers(0, len(others)))]
            data[at:at] = other[: int(rng.integers(0, len(other) + 1))]
    return bytes(data)


def options_of(rng: np.random.Generator, suffix: str) -> dict[str, Any]:
    """Options of a reading, most of them defaults."""
    options: dict[str, Any] = {"allow_loss": bool(rng.random() < 0.8)}
    if rng.random() < 0.15:
        options["where"] = str(rng.choice(WHERES))
    if rng.random() < 0.15:
        options["time_zone"] = "Asia/Shanghai"
    if rng.random() < 0.1:
        options["time_unit"] = str(rng.choice(["s", "ms", "us", "ns"]))
    if rng.random() < 0.05:
        options["time_format"] = "%d/%m/%Y %H:%M"
    if rng.random() < 0.1 and suffix not in (".parquet", ".arrow"):
        options["encoding"] = str(rng.choice(["utf-8", "gb18030", "latin-1", "utf-16", "big5"]))
    if rng.random() < 0.05 and suffix in (".csv", ".tsv"):
        options |= {"header": "none", "columns": {"user_id": "column_1", "item_id": "column_2"}}
    if rng.random() < 0.05:
        options["strict"] = True
    if rng.random() < 0.05:
        options["max_user_item_events"] = 1
    return options


def is_sentence(message: str) -> bool:
    """Whether an error is a sentence, also one with an expression and a caret under its fault."""
    first = message.partition("\n")[0]
    return first.endswith((".", "?", ":")) and ("\n" not in message or "^" in message)


def count_rows(path: Path, options: dict[str, Any]) -> int | None:
    """Rows of a text that can be counted without a reader; None for another file."""
    data = path.read_bytes()
    if options.get("encoding", "auto") not in ("auto", "utf-8") or path.suffix not in (".csv", ".tsv", ".jsonl"):
        return None
    if b"\x00" in data or data.startswith((b"\xff\xfe", b"\xfe\xff", b"sep=")) or b"\xef\xbb\xbfsep=" in data:
        return None
    if path.suffix == ".jsonl":
        return sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    if b'"' in data or b"\r" in data.replace(b"\r\n", b""):
        return None
    rows = sum(bool(line.strip(b"\r\n")) for line in data.split(b"\n"))
    return rows - (options.get("header") != "none")


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


def read_file(path: Path, options: dict[str, Any], counts: Counter[str]) -> str | None:
    """Read a file as a log and as tables; the problem, or None.

    Args:
        path: the file.
        options: options of ``read_events``.
        counts: receives the outcomes and the rows.
    """
    try:
        with _deadline():
            log = read_events(path, **options)
    except ValueError as error:
        counts["refused"] += 1
        return None if is_sentence(str(error)) else f"no sentence: {str(error)[:300]}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        counts["failed"] += 1
        return f"{type(error).__name__}: {str(error)[:300]}"
    report = log.report
    parts = {
        "kept": len(log),
        "filtered_out": report.filtered_out,
        "rejected": sum(report.rejected.values()),
        "removed": sum(report.removed.values()),
    }
    counts.update(parts | {"read": 1, "rows_read": report.rows_read})
    expected = count_rows(path, options)
    if report.rows_read != sum(parts.values()):
        return f"{report.rows_read} rows read, but {parts}"
    if expected is not None and report.rows_read != expected:
        return f"{report.rows_read} rows read, but the file has {expected}"
    return None


def read_tables(path: Path, options: dict[str, Any]) -> str | None:
    """Read a file as an items and as a users table; the problem, or None."""
    for read in (read_items, read_users):
        try:
            with _deadline():
                read(path, format=options.get("format", "auto"), allow_loss=True).lines()
        except ValueError as error:
            if not is_sentence(str(error)):
                return f"{read.__name__}, no sentence: {str(error)[:300]}"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return f"{read.__name__}, {type(error).__name__}: {str(error)[:300]}"
    return None


def run(folder: Path, first: int, count: int, seed: int) -> dict[str, Any]:
    """Read ``count`` harmed files, numbered from ``first``, each with a generator of its own.

    Args:
        folder: an empty folder.
        first: number of the first file.
        count: number of files.
        seed: random seed.

    Returns:
        Counts by format, and the failures, each with the number of its file.
    """
    by_format: dict[str, Counter[str]] = {}
    failures = []
    for number in range(first, first + count):
        rng = np.random.default_rng((seed, number))
        files = seed_files(int(rng.integers(0, 50)))
        suffix, format, content = files[int(rng.integers(0, len(files)))]
        path = folder / f"f{number}{suffix}"
        path.write_bytes(harm(content, [other for *_, other in files], rng))
        options = options_of(rng, suffix) | ({} if format == "auto" else {"format": format})
        counts = by_format.setdefault(suffix if format == "auto" else format, Counter())
        counts["files"] += 1
        for problem in (read_file(path, options, counts), read_tables(path, options)):
            if problem is not None:
                failures.append({"file": number, "format": suffix, "options": options, "problem": problem})
        path.unlink()
    return {"by_format": {name: dict(counts) for name, counts in by_format.items()}, "failures": failures}
