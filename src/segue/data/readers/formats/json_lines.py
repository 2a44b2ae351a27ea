"""JSON Lines (one object per line) and JSON lists as columns, read in blocks to bound memory by the columns' size."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from segue.data.readers.formats.raw_table import ROW, RawTable, RejectedRow, open_bytes, to_printable

if TYPE_CHECKING:
    import polars as pl

BLOCK = 20_000
"""Number of lines held as Python objects at a time."""
NESTED = "nested value"
"""Value type of an object or a list."""
BIG_INTEGER = "number beyond 64 bits"
"""Value type of an integer that int64 cannot hold."""


def read_json_lines(path: Path) -> RawTable:
    """Read one JSON object per line. Raises ValueError if no line is an object."""
    import polars as pl

    rejected: list[RejectedRow] = []
    lines: list[int] = []
    columns: dict[str, MixedTypeColumn] = {}
    with open_bytes(path) as file:
        objects = _objects(file, rejected)
        while block := list(islice(objects, BLOCK)):
            rows = [row for _, row in block]
            for name in dict.fromkeys(name for row in rows for name in row if name != ROW):
                columns.setdefault(name, MixedTypeColumn()).add(len(lines), [row.get(name) for row in rows])
            lines += [line for line, _ in block]
    if not lines:
        raise ValueError(f"{path} holds no JSON object, one on each line.")
    frame = pl.DataFrame(
        {ROW: pl.Series(lines, dtype=pl.UInt32)}
        | {name: column.to_series(len(lines)) for name, column in columns.items()}
    )
    mixed = {name: column.minority_reasons(name, lines) for name, column in columns.items() if column.is_mixed}
    return RawTable(frame, rejected, mixed_type_rows=mixed, nested_columns=_nested(columns))


def read_json(path: Path) -> RawTable:
    """Read a JSON list of objects, as small tables are stored, or JSON Lines. Raises ValueError for another file."""
    import polars as pl

    with open_bytes(path) as file:
        content = file.read().removeprefix(b"\xef\xbb\xbf")
    try:
        rows = msgspec.json.decode(content, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if content.lstrip()[:1] == b"{":
            return read_json_lines(path)
        raise ValueError(f"{path} is not a JSON list of objects.") from None
    row_numbers = range(1, len(rows) + 1)
    columns = {name: MixedTypeColumn() for name in dict.fromkeys(name for row in rows for name in row if name != ROW)}
    for name, column in columns.items():
        column.add(0, [row.get(name) for row in rows])
    frame = pl.DataFrame(
        {ROW: pl.Series(row_numbers, dtype=pl.UInt32)}
        | {name: column.to_series(len(rows)) for name, column in columns.items()}
    )
    return RawTable(
        frame,
        mixed_type_rows={
            name: column.minority_reasons(name, row_numbers) for name, column in columns.items() if column.is_mixed
        },
        nested_columns=_nested(columns),
    )


def _nested(columns: "dict[str, MixedTypeColumn]") -> frozenset[str]:
    return frozenset(name for name, column in columns.items() if column.main_type == NESTED)


class _Part(NamedTuple):
    """Values of one type in one block of rows."""

    first: int
    """First row of the block."""
    value_type: str
    rows: list[int] | None
    """Rows of the values, relative to ``first``; None: all rows of the block."""
    values: "pl.Series"


@dataclass
class MixedTypeColumn:
    """Values of one JSON name, stored by value type, because a column may mix types."""

    parts: list[_Part] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def main_type(self) -> str:
        """Most frequent value type; of ties text first and true/false, which is no id, last."""
        return max(self.counts, key=lambda name: (self.counts[name], name != "true/false", name), default="text")

    def add(self, first: int, values: Sequence[Any]) -> None:
        """Add the values of one block.

        Args:
            first: first row of the block.
            values: one value per row; None: missing.
        """
        common_type = _common_type(values)
        if common_type is not None:
            self.parts.append(_Part(first, common_type, None, _series(values, common_type)))
            self.counts[common_type] += len(values) - self.parts[-1].values.null_count()
            return
        groups: dict[tuple[str, bool], list[int]] = {}
        for i, value in enumerate(values):
            if value is not None:  # integers apart from fractions: their texts differ
                groups.setdefault((_value_type(value), isinstance(value, float)), []).append(i)
        for (value_type, _), rows in groups.items():
            self.parts.append(_Part(first, value_type, rows, _series([values[i] for i in rows], value_type)))
            self.counts[value_type] += len(rows)

    @property
    def is_mixed(self) -> bool:
        """True if there are values of two types."""
        return len(+self.counts) > 1

    def minority_reasons(self, name: str, row_numbers: Sequence[int]) -> dict[int, str]:
        """Return row number -> reason of the values that do not have the main type.

        Args:
            name: name of the column.
            row_numbers: number in the source of each row.
        """
        main_type, reasons = self.main_type, {}
        for part in self.parts:
            if part.value_type != main_type:
                rows = part.values.is_not_null().arg_true().to_list() if part.rows is None else part.rows
                reason = f"'{name}' is a {part.value_type}, and most rows have a {main_type}"
                reasons.update({row_numbers[part.first + i]: reason for i in rows})
        return reasons

    def to_series(self, length: int) -> "pl.Series":
        """Return the values of ``length`` rows: text if types are mixed, floats if integers and fractions are."""
        import polars as pl

        dtypes = {part.values.dtype for part in self.parts if self.counts[part.value_type]}
        dtype = pl.String if self.is_mixed or not dtypes else pl.Float64 if len(dtypes) > 1 else dtypes.pop()
        blocks: dict[int, pl.Series] = {}
        for part in self.parts:
            values = part.values.cast(dtype)
            block = values if part.rows is None else _scatter(values, part.rows)
            blocks[part.first] = _merge(blocks[part.first], block) if part.first in blocks else block
        out: list[pl.Series] = []
        filled = 0
        for first, block in sorted(blocks.items(), key=lambda pair: pair[0]):
            out += [pl.Series([None] * (first - filled), dtype=dtype), block]
            filled = first + len(block)
        return pl.concat([*out, pl.Series([None] * (length - filled), dtype=dtype)])


def _objects(file: Iterable[bytes], rejected: list[RejectedRow]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object); lines that are no object go to ``rejected``, blank lines are skipped."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(file, start=1):
        try:
            yield number, decode(line if number > 1 else line.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if line.strip():
                rejected.append(RejectedRow(number, "not a JSON object", _text(line)))


def _common_type(values: Sequence[Any]) -> str | None:
    """Return the value type of all values if their Python types determine it; None if each must be checked."""
    types = set(map(type, values)) - {type(None)}
    if types <= {str}:
        return "text"
    if types == {int}:
        present = [value for value in values if value is not None]
        return "number" if min(present) >= -(2**63) and max(present) < 2**63 else None
    return "true/false" if types == {bool} else "number" if types == {float} else None


def _value_type(value: Any) -> str:
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int):
        return "number" if -(2**63) <= value < 2**63 else BIG_INTEGER
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else NESTED if isinstance(value, dict | list) else "object"


def _series(values: Sequence[Any], value_type: str) -> "pl.Series":
    import polars as pl

    if value_type == "text":
        return pl.Series(values, dtype=pl.String)
    if value_type == "true/false":
        return pl.Series(values, dtype=pl.Boolean)
    if value_type == "number":
        has_fractions = float in set(map(type, values))
        return pl.Series(values, dtype=pl.Float64 if has_fractions else pl.Int64)
    return pl.Series([None if v is None else to_text(v) for v in values], dtype=pl.String)


def to_text(value: Any) -> str:
    """Return a value as text, an object or a list as JSON."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)


def _scatter(values: "pl.Series", rows: list[int]) -> "pl.Series":
    """Return the values at their rows, null between."""
    import polars as pl

    index_of = dict(zip(rows, range(len(rows)), strict=True))
    return values.gather(pl.Series([index_of.get(i) for i in range(rows[-1] + 1)], dtype=pl.UInt32))


def _merge(first: "pl.Series", second: "pl.Series") -> "pl.Series":
    """Merge two types of one block, each null at rows of the other; the shorter ends earlier."""
    long, short = (first, second) if len(first) >= len(second) else (second, first)
    return long.zip_with(long.is_not_null(), short.extend_constant(None, len(long) - len(short)))


def _text(line: bytes) -> str:
    return to_printable(line[:4096].decode("utf-8", "surrogateescape"))
