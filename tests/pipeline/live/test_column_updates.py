"""Changed cells and new items in item columns: equal to columns that are built anew from the changed table."""

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.pipeline.filters.column_updates import check_cell, row_of, update_columns
from segue.pipeline.filters.compiler import compile_mask
from segue.pipeline.filters.item_columns import ItemColumns

FILTERS = (
    "price < 4", "price is missing", "stock", "not stock", 'brand == "b"', 'brand in ["a", "新"]', 'brand >= "c"',
    '"gift" in tags', "tags is missing", 'title contains "tea"', 'item_id == "n1"',
)  # fmt: skip


def random_row(rng: np.random.Generator) -> dict[str, object]:
    row = {
        "price": float(rng.integers(0, 9)),
        "stock": bool(rng.integers(0, 2)),
        "brand": str(rng.choice(["a", "b", "c", "d", "新", "0"])),
        "tags": [str(tag) for tag in rng.choice(["gift", "tea", "x", "茶"], int(rng.integers(0, 4)))],
        "title": f"tea {rng.integers(0, 99)}" if rng.random() < 0.5 else f"cup {rng.integers(0, 99)}",
    }
    return {name: cell for name, cell in row.items() if rng.random() < 0.8}


@pytest.mark.parametrize("seed", range(6))
def test_changed_columns_equal_columns_of_the_changed_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [f"i{number}" for number in range(12)]
    table = {item: random_row(rng) for item in ids}
    table["i0"] = {"price": 1.0, "stock": True, "brand": "b", "tags": ["gift"], "title": "tea"}
    columns = ItemColumns.from_items(table, Catalog(ids))
    names = ("price", "stock", "brand", "tags", "title")
    for step in range(4):
        changed = {str(item): random_row(rng) for item in rng.choice(ids[1:], 3)}
        new_ids = [f"n{step}{part}" for part in range(step % 3)] + (["n1"] if step == 1 else [])
        changed |= {item: random_row(rng) for item in new_ids}
        ids, table = [*ids, *new_ids], {**table, **changed}
        index = dict(zip(ids, range(1, len(ids) + 1), strict=True))
        rows = {index[item]: {name: row.get(name) for name in names} for item, row in changed.items()}
        columns = update_columns(columns, rows, new_ids)
        expected = ItemColumns.from_items(table, Catalog(ids))
        assert columns.size == expected.size
        for text in FILTERS:
            assert compile_mask(text, columns).tolist() == compile_mask(text, expected).tolist(), text
        for item in ids:
            assert row_of(columns, index[item]) == row_of(expected, index[item])


def test_the_old_columns_stay_as_they_were() -> None:
    columns = ItemColumns.from_items({"a": {"price": 1.0, "tags": ["x"], "brand": "m"}}, Catalog(["a"]))
    update_columns(columns, {1: {"price": 2.0, "tags": ["a", "z"], "brand": "b"}}, ["b"])
    assert row_of(columns, 1) == {"price": 1.0, "tags": ["x"], "brand": "m"}
    assert columns.size == 2


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("price", "9", "Column 'price' holds numbers, but the value is text. Write it without quotes."),
        ("price", True, "Column 'price' holds numbers, but the value is true or false. Write 1 or 0."),
        ("price", float("inf"), "Column 'price' holds numbers, but the value is a number."),
        ("stock", 3, "Column 'stock' holds true or false, but the value is a number. Write true or false."),
        ("brand", 3, "Column 'brand' holds text, but the value is a number. Write it in quotes."),
        ("tags", "x", "Column 'tags' holds lists of texts, but the value is text. Write it in brackets."),
        ("prise", 3, "The items have no column 'prise'. Did you mean 'price'?"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_column(name: str, value: object, sentence: str) -> None:
    row = {"price": 1.0, "stock": True, "brand": "m", "tags": ["x"]}
    columns = ItemColumns.from_items({"a": row}, Catalog(["a"]))
    with pytest.raises(ValueError) as refused:
        check_cell(columns, name, value)
    assert str(refused.value) == sentence
    check_cell(columns, "price", None)
    check_cell(columns, "stock", "false")
    with pytest.raises(ValueError, match="the value is a list"):
        check_cell(columns, "stock", ["x"])


def test_a_column_of_flags_stays_one() -> None:
    columns = ItemColumns.from_items({"a": {"库存": "有货"}, "b": {"库存": "缺货"}}, Catalog(["a", "b"]))
    check_cell(columns, "库存", "售罄")
    with pytest.raises(ValueError) as refused:
        check_cell(columns, "库存", "红色")
    assert str(refused.value) == "Column '库存' holds the flags 有货, 缺货: '红色' is neither true nor false."
    assert row_of(update_columns(columns, {1: {"库存": "红色"}}), 1) == {}


@pytest.mark.parametrize(("word", "flag"), [("false", False), ("缺货", False), ("有货", True), ("Yes", True)])
def test_a_word_for_a_flag_becomes_the_flag(word: str, flag: bool) -> None:
    columns = ItemColumns.from_items({"a": {"stock": not flag}}, Catalog(["a"]))
    check_cell(columns, "stock", word)
    assert row_of(update_columns(columns, {1: {"stock": word}}), 1) == {"stock": flag}
    with pytest.raises(ValueError, match="holds true or false"):
        check_cell(columns, "stock", "red")


def test_columns_that_the_items_lack_and_the_id_are_ignored() -> None:
    columns = ItemColumns.from_items({"a": {"price": 1.0}}, Catalog(["a"]))
    updated = update_columns(columns, {1: {"colour": "red", "item_id": "b", "price": 2.0}})
    assert updated.names == ["item_id", "price"]
    assert row_of(updated, 1) == {"price": 2.0}
    assert compile_mask('item_id == "a"', updated).tolist() == [False, True]


def test_an_unchanged_column_is_the_same_one() -> None:
    columns = ItemColumns.from_items({"a": {"price": 1.0, "brand": "m"}}, Catalog(["a"]))
    updated = update_columns(columns, {1: {"price": 2.0}})
    assert updated["brand"] is columns["brand"] and updated["price"] is not columns["price"]
    longer = update_columns(columns, {}, ["b"])
    assert [len(longer[name].is_known) for name in longer.names] == [3, 3, 3]


@pytest.mark.parametrize(
    ("name", "value"), [("price", 3), ("price", -0.5), ("brand", ""), ("tags", []), ("tags", [1, "x"]), ("stock", "no")]
)
def test_a_value_of_the_columns_type_is_accepted(name: str, value: object) -> None:
    columns = ItemColumns.from_items({"a": {"price": 1.0, "stock": True, "brand": "m", "tags": ["x"]}}, Catalog(["a"]))
    check_cell(columns, name, value)


def test_a_list_has_each_part_once_as_text() -> None:
    columns = ItemColumns.from_items({"a": {"tags": ["x"]}, "b": {"tags": ["y", "z"]}}, Catalog(["a", "b"]))
    updated = update_columns(columns, {1: {"tags": [7, "x", 7]}})
    assert row_of(updated, 1) == {"tags": ["7", "x"]}
    assert row_of(updated, 2) == {"tags": ["y", "z"]}
    empty = update_columns(updated, {1: {"tags": []}, 2: {"tags": None}})
    assert (row_of(empty, 1), row_of(empty, 2)) == ({"tags": []}, {})
