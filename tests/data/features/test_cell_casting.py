"""Casts of single cells equal the casts of columns."""

import polars as pl
import pytest

from segue.data.features.cell_casting import cast_cell, cast_row
from segue.data.features.column_types import cast_column

TEXTS = [
    "tv",
    " tv ",
    "",
    "3",
    "-3.5e2",
    ".5",
    "5.",
    " 5",
    "1_000",
    "0x10",
    "٣",
    "a|b",
    "a ; b|c",
    "true",
    "[1",
    "￥57.99",
    "1,299.11",
    "4,5",
    "1,299",
    "1.299,5",
    "NA",
    "12 元",
    "1e999",
    "+3",
    "1 2",
]


@pytest.mark.parametrize("kind", ["category", "number", "list", "text"])
@pytest.mark.parametrize("text", [*TEXTS, None])
def test_a_text_cell_equals_its_column(text, kind):
    whole = cast_column(pl.Series("c", [text], dtype=pl.String), kind)[0]
    assert cast_cell(text, kind) == (whole.to_list() if isinstance(whole, pl.Series) else whole)


@pytest.mark.parametrize("text", ['["a", 2, null]', "[]", "[1.5, -2]"])
def test_a_json_list_is_a_list(text):
    assert cast_cell(text, "list") == cast_column(pl.Series("c", [text]), "list")[0].to_list()


def test_a_vector_is_its_numbers():
    assert cast_cell("[1.5, -2]", "vector") == cast_column(pl.Series("c", ["[1.5, -2]"]), "vector")[0].to_list()
    assert cast_cell('{"a": 1}', "vector") is None and cast_cell("[1", "vector") is None
    assert cast_cell("[" * 100_000, "vector") is None


@pytest.mark.parametrize("value", [5, 5.25, True, False])
def test_numbers_and_booleans_of_a_request_equal_their_column(value):
    for kind in ("category", "number"):
        assert cast_cell(value, kind) == cast_column(pl.Series("c", [value]), kind)[0]


def test_a_whole_number_beyond_the_largest_float_is_missing():
    assert cast_cell(-(10**400), "number") is None and cast_cell(f"[1, {10**400}]", "vector") is None
    assert cast_column(pl.Series("c", [f"[1, {10**400}]"]), "vector")[0] is None


def test_a_row_has_no_missing_values():
    column_types = {"device": "category", "age": "number", "tags": "list"}
    assert cast_row({"device": " tv", "age": "old", "other": 1, "tags": None}, column_types) == {"device": "tv"}
