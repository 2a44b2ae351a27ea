"""JSON Lines, one object a line, and JSON lists -> columns. In blocks, so that memory stays near the columns' size."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from segue.data.readers.raw_table import ROW, RawTable, RejectedRow, open_bytes, to_printable

if TYPE_CHECKING:
    import polars as pl

BLOCK = 20_000
"""Lines that are Python objects at one time."""
MAX_EXACT_INTEGER = "number beyond 64 bits"


def read_json_lines(path: Path) -> RawTable:
    """ValueError where no line is an object."""
    import polars as pl

    rejected: list[RejectedRow] = []
    lines: list[int] = []
    columns: dict[str, MixedTypeColumn] = {}
    with open_bytes(path) as file:
        good = _objects(file, rejected)
        while block := list(islice(good, BLOCK)):
            rows = [row for _, row in block]
            for name in dict.fromkeys(name for row in rows for name in row if name != ROW):
                columns.setdefault(name, MixedTypeColumn()).add(len(lines), [row.get(name) for row in rows])
            lines += [line for line, _ in block]
    if not lines:
        raise ValueError(f"{path} holds no JSON object, one on each line.")
    frame = pl.DataFrame(
        {ROW: pl.Series(lines, dtype=pl.UInt32)} | {name: column.series(len(lines)) for name, column in columns.items()}
    )
    mixed = {name: column.odd(name, lines) for name, column in columns.items() if column.mixed}
    return RawTable(frame, rejected, mixed=mixed)


def read_json(path: Path) -> RawTable:
    """A list of objects in one piece, as small tables come; a file of lines is read as such. ValueError for others."""
    import polars as pl

    with open_bytes(path) as file:
        content = file.read()
    try:
        rows = msgspec.json.decode(content, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if content.lstrip()[:1] == b"{":
            return read_json_lines(path)
        raise ValueError(f"{path} is not a JSON list of objects.") from None
    places = range(1, len(rows) + 1)
    columns = {name: MixedTypeColumn() for name in dict.fromkeys(name for row in rows for name in row if name != ROW)}
    for name, column in columns.items():
        column.add(0, [row.get(name) for row in rows])
    frame = pl.DataFrame(
        {ROW: pl.Series(places, dtype=pl.UInt32)} | {name: column.series(len(rows)) for name, column in columns.items()}
    )
    return RawTable(frame, mixed={name: column.odd(name, places) for name, column in columns.items() if column.mixed})


@dataclass
class MixedTypeColumn:
    """Values of one name, kept by their kinds: (first row, kind, rows or None for all of the block, values)."""

    parts: list[tuple[int, str, list[int] | None, "pl.Series"]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def main(self) -> str:
        """The commonest kind; of equally common ones true/false last, as it names nothing, and text first."""
        return max(self.counts, key=lambda kind: (self.counts[kind], kind != "true/false", kind), default="text")

    def add(self, first: int, values: Sequence[Any]) -> None:
        """The values of the rows from ``first`` on."""
        kind = _one_kind(values)
        if kind is not None:
            self.parts.append((first, kind, None, _series(values, kind)))
            self.counts[kind] += len(values) - self.parts[-1][3].null_count()
            return
        groups: dict[tuple[str, bool], list[int]] = {}
        for i, value in enumerate(values):
            if value is not None:  # whole numbers apart from fractions: as text they are spelled otherwise
                groups.setdefault((_kind(value), isinstance(value, float)), []).append(i)
        for (kind, _), rows in groups.items():
            self.parts.append((first, kind, rows, _series([values[i] for i in rows], kind)))
            self.counts[kind] += len(rows)

    @property
    def mixed(self) -> bool:
        """Whether there are values of two kinds."""
        return len(+self.counts) > 1

    def odd(self, name: str, places: Sequence[int]) -> dict[int, str]:
        """Place -> reason, of the values that are not of the main kind."""
        main, out = self.main, {}
        for first, kind, rows, values in self.parts:
            if kind != main:
                found = values.is_not_null().arg_true().to_list() if rows is None else rows
                reason = f"'{name}' is a {kind} where most rows have a {main}"
                out.update({places[first + i]: reason for i in found})
        return out

    def series(self, length: int) -> "pl.Series":
        """All values, as text where they are mixed. Blocks of whole numbers beside blocks of fractions widen."""
        import polars as pl

        dtypes = {values.dtype for _, kind, _, values in self.parts if self.counts[kind]}
        dtype = pl.String if self.mixed or not dtypes else pl.Float64 if len(dtypes) > 1 else dtypes.pop()
        blocks: dict[int, pl.Series] = {}
        for first, _, rows, values in self.parts:
            place = values.cast(dtype) if rows is None else _spread(values.cast(dtype), rows)
            blocks[first] = _joined(blocks[first], place) if first in blocks else place
        out: list[pl.Series] = []
        done = 0
        for first, place in sorted(blocks.items(), key=lambda pair: pair[0]):
            out += [pl.Series([None] * (first - done), dtype=dtype), place]
            done = first + len(place)
        return pl.concat([*out, pl.Series([None] * (length - done), dtype=dtype)])


def _objects(file: Iterable[bytes], rejected: list[RejectedRow]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of the lines that hold one; other lines go to ``rejected``, blank ones nowhere."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(file, start=1):
        try:
            yield number, decode(line if number > 1 else line.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if line.strip():
                rejected.append((number, "not a JSON object", _text(line)))


def _one_kind(values: Sequence[Any]) -> str | None:
    """The kind of all values where their types alone say it; None where each needs a look."""
    types = set(map(type, values)) - {type(None)}
    if types <= {str}:
        return "text"
    if types == {int}:
        present = [value for value in values if value is not None]
        return "number" if min(present) >= -(2**63) and max(present) < 2**63 else None
    return "true/false" if types == {bool} else "number" if types == {float} else None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int):
        return "number" if -(2**63) <= value < 2**63 else MAX_EXACT_INTEGER
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else "nested value" if isinstance(value, dict | list) else "object"


def _series(values: Sequence[Any], kind: str) -> "pl.Series":
    import polars as pl

    if kind == "text":
        return pl.Series(values, dtype=pl.String)
    if kind == "true/false":
        return pl.Series(values, dtype=pl.Boolean)
    if kind == "number":
        fractions = float in set(map(type, values))
        return pl.Series(values, dtype=pl.Float64 if fractions else pl.Int64)
    return pl.Series([None if v is None else _spelled(v) for v in values], dtype=pl.String)


def _spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _spread(values: "pl.Series", rows: list[int]) -> "pl.Series":
    """Values at their rows, null between."""
    import polars as pl

    at = dict(zip(rows, range(len(rows)), strict=True))
    return values.gather(pl.Series([at.get(i) for i in range(rows[-1] + 1)], dtype=pl.UInt32))


def _joined(one: "pl.Series", other: "pl.Series") -> "pl.Series":
    """Two kinds of one block, each null where the other is not; the shorter ends earlier."""
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    return long.zip_with(long.is_not_null(), short.extend_constant(None, len(long) - len(short)))


def _text(line: bytes) -> str:
    return to_printable(line[:4096].decode("utf-8", "surrogateescape"))
