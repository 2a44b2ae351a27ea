"""Built tables of the readers' fuzz: columns of every type, whose kept and rejected rows are known beforehand."""

import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.reader_fuzz_rows import (
    IDS,
    LATEST_US,
    ZONES,
    BuiltSource,
    choose,
    in_range,
    local_us,
    time_texts,
    valid_id,
)

DAY_US = 86_400_000_000
WHOLE = (0, 1, -1, 7, 127, 128, -129, 32_768, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**100)
"""Whole numbers at the edges of types."""
_FLOATS = (0.0, -0.0, 1.0, 17850.0, 0.5, 2.0**24, 2.0**24 + 2, 2.0**53, 2.0**53 + 2, 1e300, math.nan, math.inf, -1.0)
_WHERES = (
    *('x == "a"', "x > 0", "x is missing", 'x contains "a"', '"a" in x', "x", '"" == "a"', '"price (¥)" > 1', "not x"),
    *('timestamp > "2024-01-01"', "timestamp > 5", 'user_id == "7"', "item_id in ['7', 'u1']", 'x == "price (¥)"'),
)
_BITS = {8: (pl.Int8, pl.UInt8), 16: (pl.Int16, pl.UInt16), 32: (pl.Int32, pl.UInt32), 64: (pl.Int64, pl.UInt64)}
_BOUNDS: dict[Any, tuple[int, int]] = {
    **{signed: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits, (signed, _) in _BITS.items()},
    **{unsigned: (0, 2**bits - 1) for bits, (_, unsigned) in _BITS.items()},
    pl.Int128: (-(2**127), 2**127 - 1),
}
Cells = tuple["pl.Series", list[Any]]


def _text_ids(rng: np.random.Generator, size: int) -> Cells:
    values = [
        None if rng.random() < 0.05 else text for text in choose(rng, IDS[: int(rng.integers(4, len(IDS)))], size)
    ]
    series = pl.Series(values, dtype=pl.String)
    if rng.random() < 0.2:
        series = series.cast(pl.Categorical)
    elif rng.random() < 0.2:
        series = series.cast(pl.Enum(sorted({value for value in values if value is not None})))
    return series, [valid_id(value) for value in values]


def _whole_ids(rng: np.random.Generator, size: int) -> Cells:
    dtype = choose(rng, list(_BOUNDS), 1)[0]
    low, high = _BOUNDS[dtype]
    pool = [None, *(value for value in WHOLE if low <= value <= high)]
    values = choose(rng, pool, size)
    return pl.Series(values, dtype=dtype), [None if value is None else str(value) for value in values]


def _float_ids(rng: np.random.Generator, size: int) -> Cells:
    dtype, exact = (pl.Float32, 2**24) if rng.random() < 0.5 else (pl.Float64, 2**53)
    series = pl.Series(choose(rng, [None, *_FLOATS], size), dtype=dtype)
    return series, [
        str(int(value)) if value is not None and value.is_integer() and abs(value) < exact else None
        for value in series.to_list()
    ]


def _id_cells(rng: np.random.Generator, size: int) -> Cells:
    makers = (_text_ids, _text_ids, _text_ids, _whole_ids, _float_ids)
    return makers[int(rng.integers(0, len(makers)))](rng, size)


def _other_cells(rng: np.random.Generator, size: int) -> pl.Series:
    """Return a column of a type that is neither an id nor a time."""
    numbers = pl.Series(rng.integers(-5, 5, size))
    makers: list[Callable[[], pl.Series]] = [
        lambda: numbers > 0,
        lambda: numbers.cast(pl.Decimal(20, 3)),
        lambda: numbers.cast(pl.Duration("us")),
        lambda: numbers.abs().cast(pl.Time),
        lambda: pl.Series([b"\xff\x00" if n > 0 else None for n in numbers], dtype=pl.Binary),
        lambda: pl.Series([[n, None] if n > 0 else None for n in numbers], dtype=pl.List(pl.Int64)),
        lambda: pl.Series([["a", "b"]] * size, dtype=pl.List(pl.String)),
        lambda: pl.Series([[float(n), 1.0] for n in numbers], dtype=pl.Array(pl.Float64, 2)),
        lambda: pl.Series([{"a": n, "b": {"c": [None]}} for n in numbers]),
        lambda: pl.Series([None] * size, dtype=pl.Null),
        lambda: pl.Series([date(2024, 1, 1), None] * size).head(size),
        lambda: pl.Series([2**62, -(2**62)] * size).head(size).cast(pl.Datetime("ms", "Asia/Shanghai")),
        lambda: pl.Series([math.nan, math.inf, None] * size).head(size),
        lambda: pl.Series(["x" * 5000, "", None] * size, dtype=pl.String).head(size),
        lambda: pl.Series([2**120, None] * size, dtype=pl.Int128).head(size),
        lambda: pl.Series([{1, 2}, None] * size, dtype=pl.Object).head(size),
        lambda: pl.Series([[date(2024, 1, 1)], None] * size).head(size),
        lambda: pl.Series([[2**62]] * size).cast(pl.List(pl.Datetime("us"))),
        lambda: pl.Series([[1]] * size).cast(pl.List(pl.Decimal(10, 2))),
        lambda: pl.Series([b"u1", None] * size, dtype=pl.Binary).head(size),
        lambda: pl.Series([2**62, -(2**62)] * size).head(size).cast(pl.Duration("ms")),
    ]
    return makers[int(rng.integers(0, len(makers)))]()


def _times(rng: np.random.Generator, size: int, per_s: int) -> list[int | None]:
    edges = [0, -1, LATEST_US * per_s // 10**6, LATEST_US * per_s // 10**6 + per_s, 2**63 - 1, -(2**63), -per_s, 2**53]
    pool: list[int | None] = [None, *edges] if rng.random() < 0.3 else []
    return [
        pool[int(rng.integers(0, len(pool)))]
        if pool and rng.random() < 0.3
        else int(rng.integers(0, 2**31)) * per_s + 7
        for _ in range(size)
    ]


def _time_cells(rng: np.random.Generator, size: int, options: dict[str, Any]) -> Cells:
    """Return a column of times and the UTC time of each row; the options that it needs are added."""
    kind = int(rng.integers(0, 5))
    unit = str(rng.choice(["ms", "us", "ns"]))
    zone = options.get("time_zone", "UTC")
    if kind == 0:
        values = _times(rng, size, {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit])
        own = None if rng.random() < 0.5 else str(rng.choice(ZONES))
        factor = {"ms": lambda v: v * 1000, "us": lambda v: v, "ns": lambda v: v // 1000}[unit]
        times = [None if v is None else factor(v) for v in values]
        if own is None:
            times = [None if t is None else local_us(t, zone) for t in times]
        return pl.Series(values, dtype=pl.Int64).cast(pl.Datetime(unit, own)), times  # type: ignore[arg-type]
    if kind == 1:
        pool = [None, 0, -1, 1, 19_844, 84_005, 84_006, 2**31 - 1, -(2**31), 2_932_896, 2_932_897]
        days = choose(rng, pool, size) if rng.random() < 0.3 else rng.integers(0, 20_000, size).tolist()
        times = [None if day is None else local_us(day * DAY_US, zone) for day in days]
        return pl.Series(days, dtype=pl.Int32).cast(pl.Date), times
    if kind == 2:
        unit = options["time_unit"] = str(rng.choice(["s", "ms", "us", "ns"]))
        per_s = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        values = _times(rng, size, per_s)
        return pl.Series(values, dtype=pl.Int64), [None if v is None else v * 10**6 // per_s for v in values]
    if kind == 3:
        options["time_unit"] = "s"
        numbers = [float(v) + float(rng.random()) for v in rng.integers(0, 2**31, size)]
        numbers = [value if rng.random() < 0.8 else float(rng.choice(_FLOATS)) for value in numbers]
        finite = (value if math.isfinite(value) and abs(value) < 1e11 else None for value in numbers)
        return pl.Series(numbers), [None if value is None else round(value * 1e6) for value in finite]
    texts, times = time_texts(rng, size, zone)
    return pl.Series(texts, dtype=pl.String), times


def build_table(rng: np.random.Generator, folder: Path) -> BuiltSource:
    """Build a typed table, as a file or in memory.

    Args:
        rng: random generator.
        folder: folder for a file.
    """
    size = int(rng.integers(1, 40))
    options: dict[str, Any] = {"allow_loss": True}
    if rng.random() < 0.3:
        options["time_zone"] = str(rng.choice(ZONES))
    cells: dict[str, pl.Series] = {}
    cells["user_id"], users = _id_cells(rng, size)
    cells["item_id"], items = _id_cells(rng, size)
    cells["timestamp"], times = _time_cells(rng, size, options)
    if rng.random() < 0.1:
        options["where"] = str(rng.choice(_WHERES))
    refusable = bool(rng.random() < 0.15)
    if refusable:
        cells[str(rng.choice(list(cells)))] = _other_cells(rng, size)
    if rng.random() < 0.1:
        cells[str(rng.choice(["value", "event"]))], refusable = _other_cells(rng, size), True
    for name in ("x", "price (¥)", "a\nb", "", "item_id ", "USER_ID")[: int(rng.integers(0, 7))]:
        cells[name] = _other_cells(rng, size)
    cells["row_no"] = pl.Series(range(1, size + 1))
    frame = pl.DataFrame([series.alias(name) for name, series in cells.items()])
    source, form = _as_form(rng, frame, folder)
    rows = [
        None if user is None or item is None or in_range(time) is None else (user, item, time)
        for user, item, time in zip(users, items, times, strict=True)
    ]
    slack = 1 if cells["timestamp"].dtype == pl.Float64 else 0
    numbers = list(range(1, size + 1))
    return BuiltSource(source, form, rows, items, numbers, options, refusable, "where" in options, slack)


def _as_form(rng: np.random.Generator, frame: pl.DataFrame, folder: Path) -> tuple[Any, str]:
    """Return a table as a file or as a table in memory; where the form cannot hold it, as it is."""
    path = folder / f"t{rng.integers(1 << 60)}"
    forms: list[tuple[Callable[[], Any], str]] = [
        (lambda: _polars_parquet(rng, frame, path.with_suffix(".parquet")), "built parquet"),
        (lambda: _arrow_parquet(rng, frame, path.with_suffix(".parquet")), "built parquet"),
        (lambda: _arrow_parquet(rng, frame, path.with_suffix(".parquet")), "built parquet"),
        (lambda: _arrow_file(rng, frame, path.with_suffix(".arrow")), "built arrow"),
        (lambda: _arrow_file(rng, frame, path.with_suffix(".arrow")), "built arrow"),
        (frame.lazy, "polars"),
        (lambda: _arrow_chunks(frame.to_arrow()), "pyarrow"),
        (lambda: frame.to_pandas(use_pyarrow_extension_array=_has_blank_numbers(frame)), "pandas"),
        (lambda: frame.to_pandas(use_pyarrow_extension_array=True), "pandas"),
    ]
    make, form = forms[int(rng.integers(0, len(forms)))]
    try:
        return make(), form
    except (Exception, pl.exceptions.PanicException):  # the other library cannot hold one of the columns
        return frame, "polars"


def _has_blank_numbers(frame: pl.DataFrame) -> bool:
    """Return whether NumPy would hold whole numbers as floats."""
    return any(series.null_count() and series.dtype.is_integer() for series in frame)


def _arrow_chunks(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 2), table.slice(2)])


def _polars_parquet(rng: np.random.Generator, frame: pl.DataFrame, path: Path) -> Path:
    names = ["zstd", "snappy", "gzip", "lz4", "uncompressed", "brotli"]
    frame.write_parquet(
        path,
        compression=str(rng.choice(names)),  # type: ignore[arg-type]
        row_group_size=int(rng.choice([3, 1000])),
        statistics=bool(rng.random() < 0.5),
    )
    return path


def _arrow_parquet(rng: np.random.Generator, frame: pl.DataFrame, path: Path) -> Path:
    level = None if rng.random() < 0.5 else pl.CompatLevel.oldest()
    pq.write_table(
        frame.to_arrow(compat_level=level),
        path,
        use_dictionary=bool(rng.random() < 0.5),
        version=str(rng.choice(["1.0", "2.4", "2.6"])),
        data_page_version=str(rng.choice(["1.0", "2.0"])),
        data_page_size=int(rng.choice([16, 1 << 20])),
        row_group_size=int(rng.choice([2, 1000])),
        compression=str(rng.choice(["zstd", "snappy", "gzip", "none"])),
        allow_truncated_timestamps=False,
    )
    return path


def _arrow_file(rng: np.random.Generator, frame: pl.DataFrame, path: Path) -> Path:
    if rng.random() < 0.5:
        frame.write_ipc(path, compression="lz4")
    else:
        frame.write_ipc_stream(path)
    return path
