"""Headers of Parquet pages: valid files of several writers pass, impossible numbers are refused before the library."""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from segue.data.readers.formats import parquet_pages
from segue.data.readers.formats.file_formats import read_raw
from segue.data.readers.formats.parquet_pages import check_pages

ROWS = 3_000
FRAME = pl.DataFrame(
    {
        "user": [f"u{i % 7}" for i in range(ROWS)],
        "time": range(ROWS),
        "tags": [["a", None], []] * (ROWS // 2),
        "nothing": [None] * ROWS,
        "flag": [True, None] * (ROWS // 2),
    }
)
WRITERS: list[dict[str, Any]] = [
    {},
    {"compression": "snappy", "row_group_size": 100},
    {"compression": "uncompressed", "statistics": "full", "data_page_size": 500},
]
ARROW_WRITERS: list[dict[str, Any]] = [
    {"data_page_version": "2.0"},
    {"use_dictionary": False, "write_page_checksum": True, "write_page_index": True},
    {"version": "1.0", "row_group_size": 50, "data_page_size": 100},
]


def checked_chunks(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of column chunks that were checked."""
    chunks = []
    check = parquet_pages._check_chunk
    monkeypatch.setattr(parquet_pages, "_check_chunk", lambda *a: (chunks.append(1), check(*a)))
    check_pages(path)
    monkeypatch.undo()
    return len(chunks)


def test_valid_files_of_several_writers_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    for options in WRITERS:
        FRAME.write_parquet(path, **options)
        assert checked_chunks(path, monkeypatch) >= 5
    for options in ARROW_WRITERS:
        pq.write_table(FRAME.to_arrow(), path, **options)
        assert checked_chunks(path, monkeypatch) >= 5
    FRAME.head(0).write_parquet(path)
    check_pages(path)


def test_a_negative_number_of_values_is_refused(tmp_path: Path) -> None:
    """The library that reads Parquet ends the process for some of these files."""
    path = tmp_path / "x.parquet"
    pl.DataFrame({"user": [f"u{i}" for i in range(13)]}).write_parquet(path, compression="uncompressed")
    content = path.read_bytes()
    header = parquet_pages._Compact(content[4:])
    page = header.struct()
    at = content.index(b"\x1a", 4, 4 + header.at)  # 13 values, in zigzag
    assert next(page[number][1] for number in (5, 7, 8) if number in page) == 13
    path.write_bytes(content[:at] + b"\x1b" + content[at + 1 :])
    with pytest.raises(ValueError, match=r"x\.parquet cannot be read as parquet: the header of a page is damaged\.$"):
        read_raw(path, "parquet")


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1" + b"\xff" * 50 + b"PAR1", b"PAR1\x15\x00" * 20 + b"\x20\x00\x00\x00PAR1"]
)
def test_other_bytes_are_left_to_the_library(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    check_pages(path)


@pytest.mark.parametrize("kind", [7, 8, 12])
def test_a_list_longer_than_its_file_ends_at_once(kind: int, tmp_path: Path) -> None:
    """A damaged count, here 2 ** 62, of parts of 8 bytes."""
    path = tmp_path / "x.parquet"
    footer = bytes([0x19, 0xF0 | kind, *[0xFF] * 8, 0x3F, 0, 0])
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    check_pages(path)
    with pytest.raises(ValueError, match=r"x\.parquet cannot be read as parquet: .*\.$"):
        read_raw(path, "parquet")


def test_a_damaged_length_of_the_footer_is_not_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    FRAME.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-8] + bytes([0xF0, 0xFF, 0xFF, 0xFF]) + b"PAR1")
    parsed = []
    monkeypatch.setattr(parquet_pages, "_Compact", parsed.append)
    check_pages(path)
    assert parsed == []
