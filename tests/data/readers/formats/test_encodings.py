"""Encodings of text files."""

import gzip
from pathlib import Path

import pytest

from segue.data.readers.events import read_events
from segue.data.readers.formats.encodings import detect_encoding
from segue.data.readers.items import read_items

CHINESE = "用户,商品,时间\n张三,茶杯,2024-05-01 10:00:00\n李四,碗,2024-05-01 10:05:00\n张三,B2,2024-05-02 09:00:00\n"


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "utf-16", "utf-16-le", "utf-8-sig", "utf-8", "utf-32"])
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_chinese_logs_are_read(encoding: str, name: str, tmp_path: Path) -> None:
    content = CHINESE.encode(encoding)
    if encoding == "utf-16-le":
        content = b"\xff\xfe" + content
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    log = read_events(path)
    assert log.frame["user_id"].to_list() == ["张三", "李四", "张三"]
    assert log.frame["item_id"].to_list() == ["茶杯", "碗", "B2"]
    detected = {"gbk": "gb18030", "utf-16-le": "utf-16"}.get(encoding, encoding)
    notes = [] if encoding.startswith("utf-8") else [f"{name} is read as {detected}, detected from its bytes."]
    assert [note for note in log.report.notes if "detected" in note] == notes


def test_a_table_of_latin_names_and_chinese_prices_is_detected(tmp_path: Path) -> None:
    """The sign of the yuan is a symbol of GB18030, and no sign of another encoding."""
    rows = "".join(f"u{i % 5},i{i},2024/5/1 8:0{i % 10},￥{i}.５０\n" for i in range(300))
    (tmp_path / "log.csv").write_bytes(("用户ID,商品ID,时间,价格\n" + rows).encode("gb18030"))
    assert detect_encoding(tmp_path / "log.csv") == "gb18030"


@pytest.mark.parametrize("header", ["用户ID,商品ID,时间,行为", "user_id,item_id,timestamp,event"])
def test_one_rarer_character_in_most_events_is_detected(header: str, tmp_path: Path) -> None:
    """浏 of 浏览 (browse) is a character of the second level of GB2312."""
    rows = "".join(f"u{i % 5},i{i},2024/5/1 8:0{i % 10},浏览\n" for i in range(300))
    (tmp_path / "log.csv").write_bytes(f"{header}\n{rows}".encode("gb18030"))
    assert detect_encoding(tmp_path / "log.csv") == "gb18030"
    assert set(read_events(tmp_path / "log.csv").frame["event"]) == {"浏览"}


def test_a_named_encoding_is_used(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("user,item,time\nJosé,café,1600000000\n".encode("latin-1"))
    assert read_events(path, encoding="latin-1").frame["item_id"].to_list() == ["café"]
    with pytest.raises(ValueError, match=r"has no usable row; 1 were read\. The first: not UTF-8 \(row 2\)"):
        read_events(path)
    with pytest.raises(ValueError, match=r"^There is no encoding 'gbk9': write for example utf-8, gb18030, "):
        read_events(path, encoding="gbk9")
    with pytest.raises(ValueError, match=r"^There is no encoding 'hex'"):
        read_events(path, encoding="hex")


def test_bytes_that_a_named_encoding_does_not_know_are_rejected_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(CHINESE.encode("gbk") + b"\xff\xff,x,2024-05-02\n")
    log = read_events(path, encoding="gbk")
    assert log.report.rejected == {"not UTF-8": 1}
    assert len(log) == 3


@pytest.mark.parametrize(
    "content",
    [
        "item_id,title\n1,Café\n2,Tea\n".encode("latin-1"),
        b"user,item\n" + "Müller,ein schönes Stück für Übergrößen\n".encode("latin-1") * 50,
        "a,b\nGröße,très élevé, œuvre\n".encode("cp1252"),
        CHINESE.encode() + b"\xff,x,2024-05-02\n",
        "имя,вещь\n".encode("cp1251"),
        "пользователь,товар\n1,чайник эмалированный\n2,кофеварка\n3,ложка\n".encode("cp1251") * 9,
        "a,b\nŁódź,świeżość żółć\n".encode("cp1250") * 9,
        "ผู้ใช้,สินค้า\nกาน้ำ,ดู\n".encode("tis-620") * 9,
    ],
)
def test_other_encodings_are_not_taken_for_chinese(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    assert detect_encoding(path) == "utf-8"


def test_a_damaged_items_table_counts_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes("item_id,title\n1,Café\n2,Tea\n".encode("latin-1"))
    assert "1 rows of the items table rejected: not UTF-8." in read_items(path).notes
    path.write_bytes("商品ID,标题\n1,茶杯\n2,大碗\n".encode("gbk"))
    assert read_items(path).frame["标题"].to_list() == ["茶杯", "大碗"]
