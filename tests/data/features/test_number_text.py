"""Numbers in text form."""

import polars as pl
import pytest

from segue.data.features.column_types import cast_column, infer_column_type
from segue.data.features.number_text import parse_numbers
from segue.data.readers.row_filter import filter_rows


@pytest.mark.parametrize(
    ("texts", "expected", "invalid"),
    [
        (["57.99", " 3 ", "-1e3", None], [57.99, 3.0, -1000.0, None], []),
        (["￥57.99", "¥ 8", "$1,299.11", "12 元", "5 EUR", "CNY 7"], [57.99, 8.0, 1299.11, 12.0, 5.0, 7.0], []),
        (["1,299", "1,299,000", "12,345.5"], [1299.0, 1_299_000.0, 12345.5], []),
        (["￥５７．９９", "１２元", "1，299.5", "３"], [57.99, 12.0, 1299.5, 3.0], []),
        (["4,5", "3,0", "1.299,11", "7"], [4.5, 3.0, 1299.11, 7.0], []),
        (["4,5", "1,299"], [4.5, 1.299], []),
        (["1'299.50", "1 299.50", "1\u00a0299"], [1299.5, 1299.5, 1299.0], []),
        (["NA", "n/a", "null", "", "-", "未知", "1"], [None] * 6 + [1.0], []),
        (["cheap", "1..2", "inf", "1-2", "$", "1,2,3", "2"], [None] * 6 + [2.0], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_spellings_of_numbers(texts: list[str | None], expected: list[float | None], invalid: list[int]) -> None:
    numbers, is_invalid = parse_numbers(pl.Series("price", texts, dtype=pl.String))
    assert numbers.to_list() == expected
    assert is_invalid.arg_true().to_list() == invalid


@pytest.mark.parametrize("odd", ["NA", "￥57.99", "1,299.11", "4,5", "broken"])
def test_one_odd_price_among_numbers_does_not_make_categories(odd: str) -> None:
    column = pl.Series("price", [*(str(n) for n in range(20)), odd])
    assert infer_column_type(column) == "number"
    assert cast_column(column, "number")[0] == 0.0


def test_words_do_not_become_numbers() -> None:
    assert infer_column_type(pl.Series("size", ["1", "2", "X", "1", "2", "X"])) == "category"
    assert infer_column_type(pl.Series("size", ["NA", "-", "?"])) != "number"


def test_a_condition_reads_prices_as_they_are_written() -> None:
    frame = pl.DataFrame({"rating": ["4,5", "3,0", "5,0", "NA"], "price": ["￥57.99", "1,299.11", "2", "3"]})
    assert filter_rows(frame, "rating > 4").height == 2
    assert filter_rows(frame, "price > 50").height == 2
