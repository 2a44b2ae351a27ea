"""Words for true and false in columns of a shop, in filters of items and of a log's rows."""

import numpy as np
import polars as pl
import pytest

from segue.config.flag_words import flag_words
from segue.data.catalog import Catalog
from segue.data.item_table import ItemTable
from segue.data.readers.items import read_items
from segue.data.readers.row_filter import filter_rows
from segue.pipeline.filters.compiler import compile_mask
from segue.pipeline.filters.item_columns import ItemColumns

WORDS = [("有货", "缺货"), ("是", "否"), ("有", "无"), ("上架", "已下架"), ("yes", "no"), ("True", "False"), ("Y", "N")]
WORDS += [("In stock", "out_of_stock"), ("现货", "售罄")]


@pytest.mark.parametrize(("true", "false"), WORDS)
def test_pairs(true: str, false: str) -> None:
    assert flag_words([true, false, true]) == {True: [true], False: [false]}
    assert flag_words([false]) == {True: [], False: [false]}


@pytest.mark.parametrize("words", [["有货", "预售"], ["red", "no"], ["yes", "缺货"], [], [f"w{i}" for i in range(50)]])
def test_other_words(words: list[str]) -> None:
    assert flag_words(words) == {}


def items_of(true: str, false: str) -> tuple[ItemTable, ItemColumns]:
    table = read_items(pl.DataFrame({"item_id": list("abcd"), "stock": [true, false, None, true]}))
    catalog = Catalog(list("abcd"))
    return table, ItemColumns.from_items(table.for_catalog(catalog), catalog)


@pytest.mark.parametrize(("true", "false"), WORDS)
def test_filters_of_items_take_flags_and_the_words_themselves(true: str, false: str) -> None:
    table, columns = items_of(true, false)
    for filter in ("stock", "stock == true", "stock != false and stock is not missing", f"stock == '{true}'"):
        np.testing.assert_array_equal(compile_mask(filter, columns), [False, True, False, False, True], err_msg=filter)
    np.testing.assert_array_equal(compile_mask("stock == false", columns), [False, False, True, False, False])
    assert table.notes[-1] == f"Column 'stock' is read as category; in filters {true} is true, {false} is false."


def test_a_column_with_another_word_is_no_flag() -> None:
    catalog = Catalog(["a", "b"])
    columns = ItemColumns.from_items({"a": {"stock": "有货"}, "b": {"stock": "预售"}}, catalog)
    with pytest.raises(ValueError, match="holds text: compare it"):
        compile_mask("stock", columns)


@pytest.mark.parametrize(("true", "false"), WORDS)
def test_conditions_of_a_log_take_them_too(true: str, false: str) -> None:
    frame = pl.DataFrame({"item": list("abc"), "paid": [true, false, None]})
    assert filter_rows(frame, "paid")["item"].to_list() == ["a"]
    assert filter_rows(frame, "not paid")["item"].to_list() == ["b", "c"]
    assert filter_rows(frame, f"paid == '{false}'")["item"].to_list() == ["b"]
