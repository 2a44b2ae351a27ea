"""Quotas while a list grows, and the settings that are refused."""

import re
from typing import Any

import numpy as np
import pytest

from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.placements.quotas import Quota, Quotas


def test_counts_close_and_serve(columns: ItemColumns) -> None:
    quotas = (
        Quota(column="tags", at_most=1),
        Quota(filter="price < 20", at_most=2),
        Quota(filter='category == "tea"', at_least=2),
    )
    count = Quotas(quotas, Filters(columns)).start()
    assert count.num_required == 2 and np.flatnonzero(count.required_items()).tolist() == [1, 2, 4]
    count.add(1)  # sencha: a gift, green, cheap, a tea
    assert np.flatnonzero(count.is_closed_V).tolist() == [1, 3]
    count.add(6)  # cheap too
    assert np.flatnonzero(count.is_closed_V).tolist() == [1, 3, 6]
    assert count.num_required == 1
    count.add(4)
    assert count.num_required == 0 and not count.required_items().any()


def test_none_is_false(columns: ItemColumns) -> None:
    assert not Quotas((), Filters(columns))
    assert Quotas((Quota(column="tags", at_most=1),), Filters(columns))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"at_most": 1}, "A quota counts either the values of a column or the items that pass a filter: name one."),
        (
            {"column": "a", "filter": "b", "at_most": 1},
            "A quota counts either the values of a column or the items that pass a filter: name one.",
        ),
        ({"column": "a"}, "The quota on column 'a' has neither at_most nor at_least."),
        (
            {"column": "a", "at_least": 1},
            "The quota on column 'a' requires at least 1 of every value, which no list can hold: name one value with a "
            "filter.",
        ),
        (
            {"filter": "b", "at_least": 3, "at_most": 2},
            "The quota on the filter 'b' must have at_most of at least 1 and at_least between 0 and at_most, got "
            "at_most 2 and at_least 3.",
        ),
        (
            {"column": "a", "at_most": 0},
            "The quota on column 'a' must have at_most of at least 1 and at_least between 0 and at_most, got at_most 0 "
            "and at_least None.",
        ),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Quota(**values)


def test_a_column_must_have_values_to_count(columns: ItemColumns) -> None:
    message = (
        "A quota counts the values of column 'price', which holds numbers: only text and lists have values to count; "
        "use a filter."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Quotas((Quota(column="price", at_most=1),), Filters(columns))
