"""Item table: inferred and given column types, missing values, repeated and rejected rows, features of an artifact."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from segue.data.catalog import Catalog
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items, read_users

TABLE = """sku,Title,price,genres,colour
a,Green tea from a small garden,3.50,tea|green,green
b,Black tea,,tea|black,black
c,Blue cup,12,cup,
d,A cup that is green all over,9,cup|green,green
e,Tin,1,,green
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "items.csv").write_text(TABLE)
    return tmp_path / "items.csv"


def test_column_types_are_inferred_and_reported(table: Path) -> None:
    items = read_items(table)
    assert items.column_types == {"Title": "text", "price": "number", "genres": "list", "colour": "category"}
    assert items.notes == (
        "Column 'Title' is read as text.",
        "Column 'price' is read as number.",
        "Column 'genres' is read as list.",
        "Column 'colour' is read as category.",
    )


def test_column_types_can_be_given_and_invalid_cells_are_counted(table: Path) -> None:
    items = read_items(table, column_types={"price": "category", "colour": "number"})
    assert items.frame["price"].to_list() == ["3.50", None, "12", "9", "1"]
    assert items.frame["colour"].to_list() == [None] * 5
    assert "Column 'colour' is read as number; 4 cells have no such value, as 'green'." in items.notes


def test_features_stored_in_an_artifact(table: Path) -> None:
    items = read_items(table)
    assert items.title_column == "Title"
    assert items.for_catalog(Catalog(["b", "c", "unknown"])) == {
        "b": {"Title": "Black tea", "title": "Black tea", "genres": ["tea", "black"], "colour": "black"},
        "c": {"Title": "Blue cup", "title": "Blue cup", "price": 12.0, "genres": ["cup"]},
    }
    assert json.loads(json.dumps(items.for_catalog(Catalog(["a"]))))["a"]["price"] == 3.5


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (["name", "title"], "title"),
        (["Product Name"], "Product Name"),
        (["colour"], None),
        (["Description"], "Description"),
    ],
)
def test_the_title_is_the_likeliest_column(columns: list[str], title: str | None) -> None:
    items = read_items(pl.DataFrame({"item_id": ["a"]} | {c: ["x"] for c in columns}))
    assert items.title_column == title


@pytest.mark.parametrize("format", ["parquet", "json", "jsonl", "tsv", "pandas"])
def test_one_table_in_every_format(format: str, tmp_path: Path) -> None:
    rows = [{"item_id": "01", "title": "One", "tags": ["x", "y"]}, {"item_id": "2", "title": None, "tags": ["z"]}]
    path = tmp_path / f"items.{format}"
    if format == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif format == "json":
        path.write_text(json.dumps(rows))
    elif format == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif format == "tsv":
        path.write_text("item_id\ttitle\ttags\n01\tOne\tx|y\n2\t\tz\n")
    source: Any = pd.DataFrame(rows) if format == "pandas" else path
    kept = read_items(source).for_catalog(Catalog(["01", "2"]))
    assert kept == {"01": {"title": "One", "tags": ["x", "y"]}, "2": {"tags": ["z"]}}


def test_a_json_list_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text('[{"item_id": 1}, 2]')
    with pytest.raises(ValueError, match=r"items\.json is not a JSON list of objects\.$"):
        read_items(path)


def test_cells_that_only_look_like_json_lists_stay_text() -> None:
    items = read_items(pl.DataFrame({"item_id": ["a", "b"], "title": ["[Live] at home", "[Demo]"]}))
    assert items.column_types == {"title": "text"}
    assert items.frame["title"].to_list() == ["[Live] at home", "[Demo]"]


def test_repeated_and_nameless_items_are_counted() -> None:
    items = read_items(pl.DataFrame({"item": ["a", None, "a", "b\n"], "title": ["first", "nobody", "again", "broken"]}))
    assert items.frame.rows() == [("first", "a")]
    assert items.notes[:3] == (
        "1 rows of the items table rejected: item_id is missing.",
        "1 rows of the items table rejected: item_id holds a control character.",
        "1 rows repeat an item; its first row counts.",
    )


def test_numbers_and_texts_never_merge() -> None:
    items = read_items(pd.DataFrame({"item": [1, 2, "1"], "title": ["x", "y", "z"]}))
    assert items.frame["item_id"].to_list() == ["1", "2"]
    assert items.notes[0] == "1 rows of the items table rejected: 'item' is a text, and most rows have a number."


def test_an_invalid_items_table_is_one_sentence(table: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"^No column of the items table looks like item_id; rename the one that does\. Its columns: x, y\.$",
    ):
        read_items(pl.DataFrame({"x": [1], "y": [2]}))
    with pytest.raises(ValueError, match=r"^The items table has no row whose 'sku' is an id\.$"):
        read_items(pl.DataFrame({"sku": [None, ""], "y": [1, 2]}, schema={"sku": pl.String, "y": pl.Int64}))
    with pytest.raises(
        ValueError,
        match=r"^The items table has no column 'prize'\. Its columns: Title, price, genres, colour\.$",
    ):
        read_items(table, column_types={"prize": "number"})
    with pytest.raises(
        ValueError, match=r"^There is no column type 'money'\. Known types: category, list, number, text, vector\.$"
    ):
        read_items(table, column_types={"price": "money"})  # type: ignore[dict-item]


def test_a_missing_price_and_a_price_that_is_none_are_counted() -> None:
    prices = [str(2 * i) for i in range(40)]
    prices[7], prices[9] = "NA", "面议"
    items = read_items(pl.DataFrame({"item_id": [f"i{i}" for i in range(40)], "price": prices}))
    assert items.column_types == {"price": "number"}
    assert items.notes == ("Column 'price' is read as number; 2 cells have no such value, as 'NA'.",)


def test_a_column_of_numbers_with_many_words_states_why_it_is_none() -> None:
    prices = [str(2 * i) for i in range(10)] + ["面议", "sold"]
    items = read_items(pl.DataFrame({"item_id": [f"i{i}" for i in range(12)], "price": prices}))
    assert items.notes == ("Column 'price' is read as text, although most cells are numbers: 2 are not, as '面议'.",)


def test_rows_that_repeat_an_item_with_other_cells_are_lost() -> None:
    items = read_items(pl.DataFrame({"item": ["a", "a", "a", "b"], "price": [1, 1, 2, 3]}))
    assert items.notes[0] == "2 rows repeat an item; its first row counts."
    assert items.warnings == ("1 of 4 rows of the items table repeat an id with other cells, which are lost.",)
    same = read_items(pl.DataFrame({"item": ["a", "a", "b"], "tags": [["x"], ["x"], ["y"]]}))
    assert same.warnings == ()


RECBOLE = """item_id:token\ttitle:token_seq\tclass:token_seq\tprice:float\tcode:token\tplace:float_seq
1\tToy Story\tAnimation Comedy\t3.5\t07\t0.5 1
2\tGoldenEye\tAction\t\t12\t1 2
"""


@pytest.mark.parametrize("suffix", [".item", ".item.gz"])
def test_recbole_tables(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"shop{suffix}"
    path.write_bytes(gzip.compress(RECBOLE.encode()) if suffix.endswith("gz") else RECBOLE.encode())
    items = read_items(path)
    assert items.column_types == {
        "title": "text",
        "class": "text",
        "price": "number",
        "code": "category",
        "place": "vector",
    }
    assert items.for_catalog(Catalog(["1", "2"])) == {
        "1": {"title": "Toy Story", "class": "Animation Comedy", "price": 3.5, "code": "07", "place": [0.5, 1.0]},
        "2": {"title": "GoldenEye", "class": "Action", "code": "12", "place": [1.0, 2.0]},
    }
    users = tmp_path / "shop.user"
    users.write_text("user_id:token\tage:float\n1\t20\n")
    assert read_users(users).frame.rows() == [("20", "1")]


def test_a_table_of_an_unknown_suffix_is_one_sentence_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "items.dat").write_text(TABLE)
    with pytest.raises(ValueError, match=r"^The suffix of items\.dat has no known format; rename the table so that it"):
        read_items(tmp_path / "items.dat")
    with pytest.raises(ValueError, match=r"^There is no file .*nowhere\.csv\.$"):
        read_items(tmp_path / "nowhere.csv")


def test_the_rows_of_a_latin_1_table_are_counted_or_read(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes("item_id,title\n1,Café\n2,Tea\n2,Tea again\n,No id\n3,Cup\n".encode("latin-1"))
    items = read_items(path)
    assert items.lines() == [
        "1 rows of the items table rejected: not UTF-8.",
        "1 rows of the items table rejected: item_id is missing.",
        "1 rows repeat an item; its first row counts.",
        "Column 'title' is read as text.",
        "WARNING: 2 of 5 rows (40.0%) of the items table are lost: not UTF-8 (1), item_id is missing (1).",
        "WARNING: 1 of 5 rows of the items table repeat an id with other cells, which are lost.",
    ]
    assert read_items(path, encoding="latin-1").frame["title"].to_list() == ["Café", "Tea", "Cup"]


def test_a_row_of_a_word_for_a_missing_id_is_no_item() -> None:
    titles = ["茶", "样品", "样品", "", "碗"]
    table = read_items(pl.DataFrame({"商品ID": ["a", "NULL", "未知", "-", "b"], "标题": titles}))
    (warning,) = table.warnings
    assert warning == (
        "Values of item_id of the items table look like missing ones (- 1, NULL 1, 未知 1): rows of such an id are "
        "used only if the log has events of it."
    )
    assert table.matched_with(["a", "c"]).ids == ["a", "b"]
    assert table.matched_with(["a", "NULL"]).ids == ["a", "NULL", "b"], (
        "it has events until a condition leaves them out"
    )
    log = read_events(pl.DataFrame({"user": ["u", "u"], "item": ["a", "c"], "time": [1, 2]}))
    assert list(log.with_items(table).catalog().ids) == ["a", "b", "c"]
