"""Typed columns: inferred types, and missing values that stay missing."""

import math
import re

import numpy as np
import polars as pl
import pytest

from segue.data.catalog import Catalog
from segue.data.readers.items import read_items
from segue.pipeline.filters.item_columns import (
    NO_CODE,
    BooleanColumn,
    ItemColumns,
    ListColumn,
    NumberColumn,
    TextColumn,
    code_of,
)


def test_column_types_by_values(columns: ItemColumns) -> None:
    kinds = {
        "price": NumberColumn,
        "category": TextColumn,
        "tags": ListColumn,
        "in_stock": BooleanColumn,
        "item_id": TextColumn,
        "价格": NumberColumn,
    }
    assert {name: type(columns[name]) for name in kinds} == kinds
    price, stock, tags = columns["price"], columns["in_stock"], columns["tags"]
    assert isinstance(price, NumberColumn) and isinstance(stock, BooleanColumn) and isinstance(tags, ListColumn)
    assert price.values_V[[1, 2]].tolist() == [12, 25] and np.isnan(price.values_V[[0, 4, 5]]).all()
    assert stock.values_V.tolist() == [NO_CODE, 1, 0, 1, 1, NO_CODE, 1]
    assert tags.is_known.tolist() == [False, True, True, True, False, False, False]  # an empty list is known


def test_odd_values() -> None:
    rows = {"a": {"x": math.nan, "y": True, "z": 1}, "b": {"x": 2.0, "y": False, "z": "one"}, "not ours": {"x": 9.0}}
    columns = ItemColumns.from_items(rows, Catalog(["a", "b"]))
    x, y, z = columns["x"], columns["y"], columns["z"]
    assert isinstance(x, NumberColumn) and isinstance(y, BooleanColumn) and isinstance(z, TextColumn)
    assert x.is_known.tolist() == [False, False, True]
    assert y.values_V.tolist() == [NO_CODE, 1, 0]
    assert z.values == ("1", "one")


def test_from_an_items_table() -> None:
    frame = pl.DataFrame({"item_id": ["a", "b"], "price": [1.5, None], "tags": ["x|y", "y|y"], "new": [True, False]})
    catalog = Catalog(["b", "a", "c"])
    columns = ItemColumns.from_items(read_items(frame).for_catalog(catalog), catalog)
    tags, new = columns["tags"], columns["new"]
    assert isinstance(tags, ListColumn) and isinstance(new, BooleanColumn)
    assert [tags.items_with(code_of(tags, tag)).tolist() for tag in ("x", "y", "z")] == [
        [False, False, True, False],
        [False, True, True, False],
        [False, False, False, False],
    ]
    assert new.values_V.tolist() == [NO_CODE, 0, 1, NO_CODE]


@pytest.mark.parametrize("name", ["tags", "category"])
def test_value_pairs_agree_with_items_with(columns: ItemColumns, name: str) -> None:
    column = columns[name]
    assert isinstance(column, TextColumn | ListColumn)
    items = np.array([3, 1, 0, 4, 1])
    row, code = column.value_pairs(items)
    there = {(int(r), column.values[c]) for r, c in zip(row, code, strict=True)}
    assert there == {
        (r, v) for c, v in enumerate(column.values) for r, i in enumerate(items) if column.items_with(c)[i]
    }
    assert len(there) == len(row)


def test_an_unknown_column_is_named(columns: ItemColumns) -> None:
    with pytest.raises(ValueError, match=re.escape("The items have no column 'prize'. Did you mean 'price'?")):
        _ = columns["prize"]
    few = ItemColumns.from_items({"a": {"price": 3}}, Catalog(["a"]))
    with pytest.raises(ValueError, match=re.escape("The items have no column 'zzz'. The columns: item_id, price.")):
        _ = few["zzz"]
