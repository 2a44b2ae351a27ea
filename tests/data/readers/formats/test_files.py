"""Files of a log: paths with brackets, folders of parts, patterns."""

from pathlib import Path

import polars as pl
import pytest

from segue.data.readers.events import read_events
from segue.data.readers.formats.files import find_files

HEAD = "user,item,time\n"


@pytest.mark.parametrize("name", ["log[1].csv", "a*b.csv", "what?.csv", "dir[1]/log.csv", "a{b}.csv", "a%20b.csv"])
def test_a_path_that_exists_is_that_file_and_no_pattern(name: str, tmp_path: Path) -> None:
    for other in ("log1.csv", "aXb.csv", "whatX.csv", "dir1/log.csv", name):
        path = tmp_path / other
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEAD + ("a,x,1600000000\n" if other == name else "b,z,1600000000\n"))
    assert read_events(tmp_path / name).frame["item_id"].to_list() == ["x"]
    frame = pl.DataFrame({"user": ["a"], "item": ["x"], "time": [1]})
    frame.write_parquet(tmp_path / "p[1].parquet")
    frame.with_columns(item=pl.lit("z")).write_parquet(tmp_path / "p1.parquet")
    assert read_events(tmp_path / "p[1].parquet").frame["item_id"].to_list() == ["x"]


def test_the_parts_in_a_folder_are_one_log(tmp_path: Path) -> None:
    folder = tmp_path / "shop.parquet"
    for day, items in (("2024-05-01", ["x", "y"]), ("2024-05-02", ["z"])):
        part = folder / f"date={day}" / "part-0.csv"
        part.parent.mkdir(parents=True)
        part.write_text("user,item\n" + "".join(f"a,{item}\n" for item in items) + ",lost\n")
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.csv.crc").write_bytes(b"\x00")
    log = read_events(folder)
    assert log.frame["item_id"].to_list() == ["x", "y", "z"]
    assert log.frame["timestamp"].diff().to_list() == [None, 0, 86_400_000_000]
    assert log.report.rejected == {"user_id is missing": 2}
    assert log.report.notes[0] == "2 files are read as one log; their rows are numbered one file after the other."
    assert log.report.rows_read == 5
    assert read_events(str(folder / "*" / "part-*.csv"), columns={"item_id": "item"}).frame.height == 3


def test_rows_of_parts_keep_their_numbers(tmp_path: Path) -> None:
    for name, rows in (("a.csv", "a,x,1\n,bad,2\n"), ("b.csv", "a,y,3\n,bad,4\n")):
        (tmp_path / name).write_text(HEAD + rows)
    rejected = tmp_path / "rejected.csv"
    read_events(tmp_path / "?.csv", rejected=rejected)
    assert pl.read_csv(rejected)["row"].to_list() == [3, 6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", r"^There is no file .*none\.csv\.$"),
        ("none-*.csv", r"^There is no file .*none-\*\.csv, and none that matches it as a pattern\.$"),
        ("empty", r"empty is a folder without files, not a log\.$"),
    ],
)
def test_a_missing_file_is_one_sentence(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        read_events(tmp_path / name)


def test_the_parts_of_a_test_set_and_of_a_typed_table(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x\ty\n")
    log = read_events(str(tmp_path / "*.txt"), format="prefixes")
    assert log.is_labeled_test and log.frame["user_id"].to_list() == ["1", "1", "2", "2"]


def test_a_part_that_is_a_link_to_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").write_text("user,item\na,x\n")
    (tmp_path / "part-1.csv").symlink_to(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match=r"part-1\.csv is a link to no file, so that its rows would be lost: mend or"):
        find_files(tmp_path)
    (tmp_path / "part-1.csv").rename(tmp_path / "_part-1.csv")
    assert [file.path.name for file in find_files(tmp_path)] == ["part-0.csv"]
