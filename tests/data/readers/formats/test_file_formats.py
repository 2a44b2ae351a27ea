"""File formats: guess by suffix, and invalid files."""

from pathlib import Path

import polars as pl
import pytest

from segue.data.readers.formats.file_formats import FORMATS, guess_format, read_raw


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.csv", "csv"),
        ("a.CSV.GZ", "csv"),
        ("a.b.tsv", "tsv"),
        ("a.inter", "recbole"),
        ("a.ndjson.gz", "jsonl"),
        ("a.json", "json"),
        ("a.pq", "parquet"),
        ("a.feather", "arrow"),
    ],
)
def test_the_suffix_gives_the_format(name: str, format: str) -> None:
    assert guess_format(Path(name)) == format


@pytest.mark.parametrize("name", ["log.txt", "log", "log.gz", "csv"])
def test_an_unknown_suffix_needs_a_format(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(
        ValueError,
        match=rf"^The suffix of {name} has no known format; name one of: {', '.join(FORMATS)}\.$",
    ):
        guess_format(tmp_path / name)
    with pytest.raises(ValueError, match=rf"^There is no file .*{name}x\.$"):
        guess_format(tmp_path / f"{name}x")


def test_arrow_files_and_streams(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1], "item": ["a"]})
    frame.write_ipc(tmp_path / "file.arrow")
    frame.write_ipc_stream(tmp_path / "stream.arrow")
    for name in ("file.arrow", "stream.arrow"):
        assert read_raw(tmp_path / name, "arrow").frame.drop("__row__").equals(frame)


@pytest.mark.parametrize("format", ["parquet", "arrow", "csv", "tsv", "recbole", "jsonl", "json", "pairs"])
def test_a_broken_gzip_or_table_is_one_sentence(format: str, tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00broken and cut")
    with pytest.raises(ValueError, match=rf"log\.gz cannot be read as {format}: [^\n]+[^.]\.$"):
        read_raw(path, format)


def test_a_panic_of_the_library_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some damaged Parquet files end in one; it is no Exception."""

    def panic(*arguments: object, **options: object) -> None:
        raise pl.exceptions.PanicException("assertion failed: offset + length <= self.length")

    monkeypatch.setattr(pl, "read_parquet", panic)
    (tmp_path / "log.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"log\.parquet cannot be read as parquet: assertion failed: .*\.$"):
        read_raw(tmp_path / "log.parquet", "parquet")


def test_a_recbole_header_of_other_types_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.item").write_text("item_id:token\ta:b:float\tc:text\td:float_seq\n1\t2\t3\t4\n")
    raw = read_raw(tmp_path / "x.item", "recbole")
    assert raw.frame.columns[1:] == ["item_id", "a", "c", "d"]
    assert raw.column_types == {"item_id": "token", "d": "float_seq"}
