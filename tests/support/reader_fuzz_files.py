"""Harmed files of the readers' fuzz: small valid files of every format, and harms of their bytes."""

import io
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

T0 = 1_700_000_000
TOKENS = (
    *(b'"', b"'", b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\x00", b"\x1f", b"\x7f", b" ", b"\\", b"\\N"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\x00\x00", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5", b"\x80"),
    *("用户".encode("gb18030"), "龙井".encode(), "é".encode("latin-1"), "\u2028".encode(), "\u200b".encode()),
    *(b"NULL", b"nan", b"NaN", b"inf", b"-inf", b"1e999", b"1e400", b"-0", b"0x10", b"true", b"null", b"None"),
    *(b"99999999999999999999999999", b"-9223372036854775809", b"18446744073709551616", b"1.7e308", b".5", b"1_000"),
    *(b"2024-13-45", b"0000-00-00", b"9999-12-31T23:59:59Z", b"1969-12-31", b"2024-05-01T10:00:00+99:99", b"20240501"),
    *(b"sep=;", b"{", b"}", b"[", b"]", b"[[[[", b'{"a":', b":token", b":float_seq", b"__row__", b"PAR1", b"ARROW1"),
    *(b"\\ud800", b"\\u0000", b"user", b"item", b"time", b",,,,", b'""', b'"""', b"\xa3\xa4", b"\x81\x30\x81\x30"),
)
"""Parts of files that readers are known to stumble over."""


def make_table(number: int) -> pl.DataFrame:
    """Return a small log; equal numbers give equal logs."""
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


@lru_cache(maxsize=64)
def seed_files(number: int) -> list[tuple[str, str, bytes]]:
    """Return (suffix, format, content) of small valid files; "auto": by the suffix."""
    frame = make_table(number)
    text = "".join(f"{u} {i}\n" for u, i in frame.select("user", "item").iter_rows())
    recbole = _csv(frame.drop("event").rename({"user": "user_id:token", "item": "item_id:token"}), "\t")
    recbole = recbole.replace(b"\ttime\t", b"\ttimestamp:float\t").replace(b"\tprice\n", b"\tprice:float\n")
    iso = frame.with_columns(pl.from_epoch("time", time_unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S%.3f+08:00"))
    return [
        (".csv", "auto", _csv(frame)),
        (".csv", "auto", _csv(iso, "|").replace(b"\n", b"\r")),
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
        (".arrow", "auto", _binary(_typed(frame), lambda table, file: table.write_ipc_stream(file))),
        (".txt", "pairs", text.encode()),
        (".txt", "sequences", text.replace("\n", " i1 i2\n").encode()),
        (".txt", "sessions", text.encode()),
        (".txt", "prefixes", text.replace("\n", "\ti3\n").encode()),
    ]


def harm(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Harm a file one to three times: bytes, slices, lines and tokens are flipped, cut, doubled, moved or put in.

    Args:
        content: bytes of the file.
        others: contents of other files, parts of which are put in.
        rng: random generator.
    """
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
