"""Check of a Parquet file's page headers, because a damaged count would end the process in the library that reads it.

Only what the check needs of the format is parsed: the footer and the header of each page, in Thrift's compact protocol
(https://github.com/apache/parquet-format). A part that cannot be parsed is left to the library, which refuses it.
"""

from pathlib import Path
from typing import Any, BinaryIO

HEADER_BYTES = 1 << 16
"""Largest size of a page header that is parsed; statistics may make it long."""
MAX_DEPTH = 20
_TAIL_BYTES = 8


def check_pages(path: Path) -> None:
    """Check that the pages of each column lie in the file and hold no more values than the column.

    Raises:
        ValueError: a header states a negative or impossible number.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        try:
            footer = _read_footer(file, size)
            chunks = [column[3] for group in footer[4] for column in group[1]]
        except (LookupError, TypeError, ValueError, RecursionError):
            return
        for chunk in chunks:
            if isinstance(chunk, dict):
                _check_chunk(file, size, chunk)


def _read_footer(file: BinaryIO, size: int) -> dict[int, Any]:
    file.seek(max(0, size - _TAIL_BYTES))
    length = int.from_bytes(file.read(4), "little")
    if length > size:  # a read of a damaged length would allocate 4 GB
        raise ValueError("too long a footer")
    file.seek(max(0, size - _TAIL_BYTES - length))
    return _Compact(file.read(length)).struct()


def _check_chunk(file: BinaryIO, size: int, chunk: dict[int, Any]) -> None:
    num_values = chunk.get(5)
    starts = [start for start in (chunk.get(11), chunk.get(9)) if isinstance(start, int) and start > 0]
    if not isinstance(num_values, int) or not starts:
        return
    if num_values < 0:
        raise ValueError("a column states a negative number of values")
    at, left = min(starts), num_values
    while left > 0 and at < size:
        file.seek(at)
        header = _Compact(file.read(HEADER_BYTES))
        try:
            page = header.struct()
            is_dictionary, page_bytes = page[1] == 2, page[3]
            count = next(page[number][1] for number in (5, 7, 8) if number in page)
        except (LookupError, TypeError, ValueError, RecursionError, StopIteration):
            return
        most = page[2] if is_dictionary else num_values  # a dictionary may hold values that the rows do not
        if min(count, page_bytes, page[2]) < 0 or count > most or at + header.at + page_bytes > size:
            raise ValueError("the header of a page is damaged")
        left -= 0 if is_dictionary else count
        at += header.at + page_bytes
        if not is_dictionary and count == 0:
            return


class _Compact:
    """Reader of Thrift's compact protocol: a struct as field number -> value."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._zigzag()
            fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind in (7, 8):
            length = 8 if kind == 7 else self._varint()
            self.at += length
            return None
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            if count > len(self.data):  # each part takes a byte at least
                raise ValueError("too long a list")
            kind = 3 if head & 15 in (1, 2) else head & 15  # a truth value of a list is a byte
            return [self._value(kind, depth + 1) for _ in range(count)]
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"unknown type {kind}")

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 70:
                raise ValueError("too long a number")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
