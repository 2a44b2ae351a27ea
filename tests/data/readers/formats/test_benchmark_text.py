"""Text formats of published logs, line by line."""

from pathlib import Path

import pytest

from segue.data.readers.events import read_events
from segue.data.readers.formats import benchmark_text
from segue.data.readers.formats.raw_table import ROW, RawTable


@pytest.fixture
def file(tmp_path: Path):
    def file(text: str | bytes) -> Path:
        path = tmp_path / "paper.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return file


def events(raw: RawTable) -> list[tuple[int, str, str]]:
    return raw.frame.select(ROW, "user_id", "item_id").rows()


def test_sequences(file) -> None:
    raw = benchmark_text.read_sequences(file("\ufeff7 a  b\ta \r\n\n8\n9 c\n"))
    assert events(raw) == [(1, "7", "a"), (1, "7", "b"), (1, "7", "a"), (4, "9", "c")]
    assert raw.rejected == [(3, "a user without items", "8")]
    assert raw.ordered and not raw.is_labeled_test


def test_pairs(file) -> None:
    raw = benchmark_text.read_pairs(file("7 a\n7 b c\n8\n7 a"))
    assert events(raw) == [(1, "7", "a"), (4, "7", "a")]
    assert raw.rejected == [(2, "not two fields", "7 b c"), (3, "not two fields", "8")]


def test_sessions(file) -> None:
    raw = benchmark_text.read_sessions(file("a b\n\nc\n"))
    assert events(raw) == [(1, "1", "a"), (1, "1", "b"), (3, "3", "c")]
    assert raw.frame["session_id"].to_list() == ["1", "1", "3"]


def test_prefixes(file) -> None:
    raw = benchmark_text.read_prefixes(file("a b\tc\na b c\nd\te f\ng\th\n"))
    assert events(raw) == [(1, "1", "a"), (1, "1", "b"), (1, "1", "c"), (4, "4", "g"), (4, "4", "h")]
    assert raw.rejected == [(2, "not 'items, TAB, one label'", "a b c"), (3, "not 'items, TAB, one label'", "d\te f")]
    assert raw.is_labeled_test


@pytest.mark.parametrize("junk", [b"7 \xff\n", b"7 a\x00\n"])
def test_junk_is_one_sentence(junk: bytes, file) -> None:
    with pytest.raises(ValueError, match=r"paper\.txt is not text, so it cannot be read as pairs\.$"):
        benchmark_text.read_pairs(file(junk))


def test_a_line_with_an_invalid_event_is_rejected_as_a_whole(tmp_path: Path) -> None:
    """A case without one of its events would be another case; every event is accounted for."""
    path = tmp_path / "test.txt"
    path.write_text("a b\tc\nd e\x01 f\tg\n" + "h\ti\n" * 9)
    log = read_events(path, format="prefixes", allow_loss=True)
    assert log.frame["item_id"].to_list() == ["a", "b", "c", *["h", "i"] * 9]
    assert log.report.rejected == {
        "another event of the line is invalid": 3,
        "item_id holds a control character": 1,
    }
    assert log.report.rows_read == len(log) + 4 == log.report.kept + 4
