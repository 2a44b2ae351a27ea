"""JSON Lines: value types over many blocks, exact numbers, and lines that are no objects."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.readers.events import read_events
from segue.data.readers.formats import json_lines
from segue.data.readers.formats.json_lines import MixedTypeColumn, read_json_lines
from segue.data.readers.formats.raw_table import ROW, RawTable


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes) -> RawTable:
        path = tmp_path / "log.jsonl"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_json_lines(path)

    return read


def spelled(value: Any) -> str | None:
    """Return the text of a value in a mixed column, by definition."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


values = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text("ab1", max_size=2))


@given(st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=6))
@settings(deadline=None, max_examples=300)
def test_blocks_join_to_one_column(blocks: list[list[Any]]) -> None:
    """With any types in any blocks no value is lost, moved or changed."""
    column, flat = MixedTypeColumn(), [value for block in blocks for value in block]
    first = 0
    for block in blocks:
        column.add(first, block)
        first += len(block)
    result = column.to_series(len(flat))
    if column.is_mixed or result.dtype == pl.String:
        assert result.to_list() == [spelled(value) for value in flat]
    else:
        assert result.to_list() == flat
    odd = column.minority_reasons("x", range(len(flat)))
    value_types = {("text" if isinstance(v, str) else "truth" if isinstance(v, bool) else v is not None) for v in flat}
    assert column.is_mixed or not odd
    assert not odd or len(value_types - {False}) > 1 or any(type(v) is int and abs(v) >= 2**63 for v in flat)


def test_the_rarer_kind_is_odd() -> None:
    column = MixedTypeColumn()
    column.add(0, [1, 2, None])
    column.add(3, ["1", 3])
    column.add(5, [None, "x"])
    assert column.main_type == "number"
    reason = "'id' is a text, and most rows have a number"
    assert column.minority_reasons("id", [10, 11, 12, 13, 14, 15, 16]) == {13: reason, 16: reason}


def test_of_equally_common_kinds_text_stays() -> None:
    for mixture in ([1, "1"], ["1", 1], [True, "true"]):
        column = MixedTypeColumn()
        column.add(0, mixture)
        assert column.main_type == "text"


def test_a_column_that_begins_late_and_ends_early(read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", 2)
    rows = [{"a": 1}, {"a": 2}, {"a": 3, "b": "x"}, {"a": 4}, {"a": 5.5}]
    frame = read("\n".join(map(json.dumps, rows))).frame
    assert frame["b"].to_list() == [None, None, "x", None, None]
    assert frame["a"].to_list() == [1.0, 2.0, 3.0, 4.0, 5.5]
    assert frame[ROW].to_list() == [1, 2, 3, 4, 5]


def test_lines_that_are_no_objects_are_set_aside(read) -> None:
    text = (
        b'\xef\xbb\xbf{"a": 1}\n\n[1]\n{"a": NaN}\n{"a": "\xff"}\n{"a": "\\ud800"}\n{"a": 1\n' + b"[" * 5000 + b"\n7\n"
    )
    raw = read(text)
    assert raw.frame.rows() == [(1, 1)]
    assert [line for line, _, _ in raw.rejected] == [3, 4, 5, 6, 7, 8, 9]
    assert {reason for _, reason, _ in raw.rejected} == {"not a JSON object"}
    assert raw.rejected[2][2] == '{"a": "\\udcff"}'


def test_a_file_of_junk_is_one_sentence(read) -> None:
    with pytest.raises(ValueError, match=r"log\.jsonl holds no JSON object, one on each line\.$"):
        read("junk\n")


def test_nested_values_are_kept_as_json(read) -> None:
    assert read('{"a": {"b": [1, "茶"]}}\n').frame["a"].to_list() == ['{"b": [1, "茶"]}']


def test_mixed_types_matter_only_for_ids(tmp_path: Path) -> None:
    """An event with a text as price is kept."""
    rows = [
        {"user": "u", "item": "a", "time": 1, "price": 5},
        {"user": "u", "item": "b", "time": "2", "price": "5 pounds"},
        {"user": 7, "item": "c", "time": 3, "price": 5.5},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    log = read_events(path)
    assert log.frame["item_id"].to_list() == ["a", "b"]
    assert log.frame["timestamp"].to_list() == [1_000_000, 2_000_000]
    assert log.frame["price"].to_list() == ["5", "5 pounds"]
    assert log.report.rejected == {"'user' is a number, and most rows have a text": 1}


def test_whole_numbers_of_any_size_stay_exact(tmp_path: Path) -> None:
    ids = [2**53 + 1, 2**53, 2**63 - 1, -(2**63)]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps({"user": 2**80 + i, "item": n, "time": i}) for i, n in enumerate(ids)))
    log = read_events(path)
    assert log.frame["item_id"].to_list() == [str(n) for n in ids]
    assert log.frame["user_id"].to_list() == [str(2**80 + i) for i in range(4)]


@pytest.mark.parametrize("name", ["log.jsonl", "log.json"])
def test_objects_are_no_ids(name: str, tmp_path: Path) -> None:
    rows = ['{"user":{"id":1,"n":"a"},"item":"x","time":1}', '{"user":{"n":"a","id":1},"item":"y","time":2}']
    text = "\n".join(rows) if name.endswith("l") else f"[{','.join(rows)}]"
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"^Column 'user' holds nested values, so it cannot be user_id: "):
        read_events(tmp_path / name)


def test_a_byte_order_mark_before_a_json_list(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text('[{"user": "a", "item": "x", "time": 1700000000}]', encoding="utf-8-sig")
    assert len(read_events(path)) == 1
