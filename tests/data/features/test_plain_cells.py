"""Feature columns of every type become cells that artifacts and encoders hold."""

import datetime as dt
import json
from typing import Any

import polars as pl
import pytest

from segue.data.features.plain_cells import cells_of, to_plain
from segue.data.readers.items import read_items


@pytest.mark.parametrize(
    ("column", "column_type", "cells"),
    [
        (pl.Series([dt.timedelta(seconds=1.5), None]), "number", [1.5, None]),
        (pl.Series([2**62, -(2**62)]).cast(pl.Duration("ms")), "number", [2.0**62 / 1e3, -(2.0**62) / 1e3]),
        (pl.Series([b"tea", b"\xff"]), "text", ["tea", None]),
        (pl.Series([["a", "b"], None], dtype=pl.Array(pl.String, 2)), "list", [["a", "b"], None]),
        (pl.Series([[0.5, 1.0], None], dtype=pl.Array(pl.Float64, 2)), "vector", [[0.5, 1.0], None]),
        (pl.Series([["1.5"], None]).cast(pl.List(pl.Decimal(10, 2))), "vector", [[1.5], None]),
        (pl.Series([[[1, 2], []], None]), "list", [["[1, 2]", "[]"], None]),
        (pl.Series([[b"x", b"\xff"], None]), "list", [["x", None], None]),
        (pl.Series([[dt.date(2024, 5, 1)], None]), "list", [["2024-05-01"], None]),
        (pl.Series([{"a": dt.date(2024, 5, 1)}, None]), "text", ['{"a": "2024-05-01"}', None]),
        (pl.Series([[2**62], [0]]).cast(pl.List(pl.Datetime("us"))), "list", [None, ["1970-01-01 00:00:00"]]),
    ],
)
def test_cells_of_every_type(column: pl.Series, column_type: str, cells: list[Any]) -> None:
    table = read_items(pl.DataFrame({"item_id": ["i", "j"], "x": column}))
    assert table.column_types["x"] == column_type
    assert [table.by_id()[item].get("x") for item in ("i", "j")] == cells
    assert json.dumps(table.by_id(), allow_nan=False)
    assert table.lines()


def test_plain_columns_stay() -> None:
    for column in (pl.Series([1]), pl.Series(["a"]), pl.Series([True]), pl.Series([["a"]]), pl.Series([[1.0]])):
        assert to_plain(column) is column
    assert to_plain(pl.Series("name", [{"a": 1}])).name == "name"


def test_only_impossible_times_are_lost() -> None:
    column = pl.Series([[0], [2**62], None, [1], [-(2**62)]]).cast(pl.List(pl.Datetime("us")))
    assert [cell is None for cell in cells_of(column)] == [False, True, True, False, True]
