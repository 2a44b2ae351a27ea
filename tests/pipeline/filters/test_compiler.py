"""Filters: the items that pass each, and the tests that each type of column refuses."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from tests.support.expressions import ROWS, Expression, expressions

from segue.data.catalog import Catalog
from segue.pipeline.filters import compiler
from segue.pipeline.filters.compiler import MAX_CACHED_FILTERS, Filters, compile_mask
from segue.pipeline.filters.item_columns import ItemColumns


def passing(filter: str, columns: ItemColumns, catalog: Catalog) -> list[str]:
    return catalog.to_ids(np.flatnonzero(compile_mask(filter, columns)))


@pytest.mark.parametrize(
    ("filter", "items"),
    [
        ("", "sencha assam pot 龙井 mystery unsold"),
        ('category == "tea"', "sencha assam 龙井"),
        ('category == "tea" and price < 20', "sencha"),
        ('category == "coffee"', ""),
        ('category != "tea"', "pot mystery unsold"),  # an item without a category is not tea
        ('category in ["tea", "cups", "coffee"]', "sencha assam 龙井 unsold"),
        ('category not in ["tea"]', "pot mystery unsold"),
        ('not (category in ["tea", "cups"])', "pot mystery"),
        ("12 <= price < 60", "sencha assam"),
        ("60 > price", "sencha assam unsold"),
        ("price >= 25", "assam pot"),
        ("not price >= 25", "sencha 龙井 mystery unsold"),
        ("price in [12, 5]", "sencha unsold"),
        ("price == was", "pot"),
        ("price < was", "assam"),
        ("price != was", "sencha assam 龙井 mystery unsold"),
        ('"gift" in tags', "sencha pot"),
        ('"gift" not in tags', "assam 龙井 mystery unsold"),
        ('tags contains "green"', "sencha"),
        ('"coffee" in tags', ""),
        ("tags is missing", "龙井 mystery unsold"),
        ("tags is not missing", "sencha assam pot"),
        ("in_stock", "sencha pot 龙井 unsold"),
        ("in_stock == false", "assam"),
        ("in_stock != true", "assam mystery"),
        ("in_stock in [false]", "assam"),
        ('category contains "TEA"', "sencha assam pot 龙井"),
        ('category not contains "tea"', "mystery unsold"),
        ('category starts_with "TEA"', "sencha assam pot 龙井"),
        ('category not starts_with "t"', "mystery unsold"),
        ('item_id starts_with "s"', "sencha"),
        ("was is not None", "assam pot"),
        ("价格 > 80 or `unit price` > 9", "龙井"),
        ('item_id == "龙井"', "龙井"),
        ('item_id < "n" and item_id > "assam"', "mystery"),
        ('released >= "2026-06-30"', "unsold"),
        ('released > "2026-07-01"', ""),
        ('released <= "2026-07-01"', "unsold"),
        ('released < "2026-07-01"', ""),
        ("category > item_id", "sencha assam"),
        ("category in tags", ""),
    ],
)
def test_items_that_pass(filter: str, items: str, columns: ItemColumns, catalog: Catalog) -> None:
    assert passing(filter, columns, catalog) == items.split()


@given(expressions(), ROWS)
@settings(deadline=None, max_examples=300)
def test_items_against_a_naive_evaluator(expression: Expression, rows: list[dict[str, Any]]) -> None:
    typical = {"price": 0.0, "was": 0.0, "unit price": 0.0, "kind": "", "类别": "", "sold": True, "tags": [""]}
    rows = [*rows, typical]  # every column has a value, and so a type
    items = {str(i): {name: value for name, value in row.items() if value is not None} for i, row in enumerate(rows)}
    catalog = Catalog(items)
    kept = [str(i) for i, row in enumerate(rows) if expression.holds(row)]
    assert passing(expression.text, ItemColumns.from_items(items, catalog), catalog) == kept


def test_an_items_own_text_in_its_own_list() -> None:
    catalog = Catalog(["a", "b", "c"])
    rows = {"a": {"x": "p", "y": ["p", "q"]}, "b": {"x": "p", "y": ["q"]}, "c": {"x": "z"}}
    assert passing("x in y", ItemColumns.from_items(rows, catalog), catalog) == ["a"]


@pytest.mark.parametrize(
    ("filter", "sentence", "at"),
    [
        ("prise < 20", "The items have no column 'prise'. Did you mean 'price'?", (0, 5)),
        ("price < 20 and categor is missing", "The items have no column 'categor'. Did you mean 'category'?", (15, 22)),
        (
            "category == Teapot",
            "The items have no column 'Teapot'. The columns: item_id, category, price, tags, in_stock, stock, was, "
            '价格, unit price, released. Text is written in quotes: "Teapot".',
            (12, 18),
        ),
        ('price < "20"', "Column 'price' holds numbers, but \"20\" is text. Write it without quotes.", (8, 12)),
        ('price < "cheap"', "Column 'price' holds numbers, but \"cheap\" is text.", (8, 15)),
        ("price == true", "Column 'price' holds numbers, but true is true or false.", (9, 13)),
        ("category == 5", "Column 'category' holds text, but 5 is a number. Write \"5\".", (12, 13)),
        ("category in ['a', 5]", "Column 'category' holds text, but 5 is a number. Write \"5\".", (18, 19)),
        ("in_stock == 1", "Column 'in_stock' holds true or false, but 1 is a number.", (12, 13)),
        ("in_stock < true", "Column 'in_stock' holds true or false, which have no order: use == or !=.", (0, 15)),
        ("tags == 'gift'", "Column 'tags' holds lists of texts: write \"...\" in tags.", (0, 14)),
        ("tags in ['gift']", "Column 'tags' holds lists: write \"...\" in tags for each value.", (0, 4)),
        ("3 in tags", "Column 'tags' holds lists of texts, but 3 is a number. Write \"3\".", (0, 1)),
        (
            "'a' in category",
            "Column 'category' holds text, not lists: after 'in' comes a list in brackets, or a column that holds "
            "lists.",
            (7, 15),
        ),
        ("price in tags", "Column 'price' holds numbers; only a text can be in a list.", (0, 5)),
        ("tags starts_with 'a'", "Column 'tags' holds lists of texts; 'starts_with' tests text.", (0, 4)),
        ("price contains 'a'", "Column 'price' holds numbers; 'contains' tests text and lists.", (0, 5)),
        ("category contains 3", "Column 'category' holds text, but 3 is a number. Write \"3\".", (18, 19)),
        ("price", "Column 'price' holds numbers: compare it, for example price is not missing.", (0, 5)),
        (
            "price == category",
            "Column 'price' holds numbers, column 'category' text: they cannot be compared.",
            (0, 17),
        ),
    ],
)
def test_a_wrong_filter_gets_a_sentence_and_a_caret(
    filter: str, sentence: str, at: tuple[int, int], columns: ItemColumns
) -> None:
    message = f"{sentence}\n  {filter}\n  {' ' * at[0]}{'^' * (at[1] - at[0])}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        compile_mask(filter, columns)


def test_compiled_filters_are_kept_and_cannot_be_written_to(columns: ItemColumns) -> None:
    filters = Filters(columns)
    mask_V = filters.mask("price < 20")
    assert filters.mask("price < 20") is mask_V
    with pytest.raises(ValueError, match="read-only"):
        mask_V[0] = True
    for i in range(MAX_CACHED_FILTERS):
        filters.mask(f"price < {i + 100}")
    assert filters.mask("price < 20") is not mask_V
    assert np.array_equal(filters.mask("price < 20"), mask_V)


def test_the_filter_of_a_request_has_a_cost(monkeypatch):
    """Ten thousand characters of tests of a title would stop a server with 100,000 items for seconds."""
    catalog = Catalog(f"i{n}" for n in range(1000))
    items = {f"i{n}": {"title": f"green tea {n}", "brand": f"b{n % 7}", "price": n} for n in range(1000)}
    filters = Filters(ItemColumns.from_items(items, catalog))
    monkeypatch.setattr(compiler, "MAX_COST", 1_000_000)
    tests = {
        'title contains "x"': 20,
        "title == brand": 4,
        "price < 3": 520,
        "not price < 3": 340,
        'brand in ["b"]': 520,
    }
    for test, count in tests.items():
        wide, small = (" or ".join([test] * number) for number in (count, count // 2))
        assert filters.request_mask(small).shape == (1001,)
        with pytest.raises(ValueError, match=r"too many tests for 1,000 items: use fewer, or add a column"):
            filters.request_mask(wide)
        assert filters.mask(wide).shape == (1001,), "those of a placement have no limit"
    monkeypatch.setattr(compiler, "MAX_COST", 1)
    assert filters.request_mask('title contains "y" and price > 3').shape == (1001,)
