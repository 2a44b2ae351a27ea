"""Ids: never merged, never split; an invalid id has a reason."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.id_codes import encode_ids
from segue.data.readers.events import read_events
from segue.data.readers.ids import MAX_ID_CHARS, ids_to_text, invalid_id_reason, is_valid_id

texts = st.text(st.characters(codec="utf-8"), max_size=MAX_ID_CHARS + 3)


@given(st.lists(texts, min_size=1, max_size=10))
@settings(deadline=None)
def test_texts_come_through_unchanged(ids: list[str]) -> None:
    assert ids_to_text(pl.Series("id", ids), "item_id")[0].to_list() == ids


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=10))
@settings(deadline=None)
def test_whole_numbers_become_their_digits(numbers: list[int]) -> None:
    assert ids_to_text(pl.Series("id", numbers, dtype=pl.Int64), "item_id")[0].to_list() == [str(n) for n in numbers]


@given(st.lists(st.floats(), min_size=1, max_size=10))
@settings(deadline=None)
def test_only_exact_whole_floats_are_ids(numbers: list[float]) -> None:
    result, notes = ids_to_text(pl.Series("id", numbers, dtype=pl.Float64), "item_id")
    exact = [str(int(x)) if np.isfinite(x) and x == int(x) and abs(x) < 2**53 else None for x in numbers]
    assert result.to_list() == exact
    assert notes == ["Column 'id' holds floats; 17850.0 is read as 17850."]


@given(st.one_of(st.none(), texts))
@settings(deadline=None, max_examples=300)
def test_the_quick_look_is_never_more_lenient_than_the_close_one(text: str | None) -> None:
    if is_valid_id(pl.Series([text], dtype=pl.String))[0]:
        assert invalid_id_reason(text, "item_id", missing=False) is None


@pytest.mark.parametrize(
    ("text", "missing", "reason"),
    [
        (None, True, "item_id is missing"),
        ("", False, "item_id is missing"),
        (None, False, "item_id is not an exact whole number"),
        ("x" * (MAX_ID_CHARS + 1), False, f"item_id is longer than {MAX_ID_CHARS} characters"),
        ("a\nb", False, "item_id holds a control character"),
        ("a\x00", False, "item_id holds a control character"),
        ("a\x7f", False, "item_id holds a control character"),
        ("茶" * MAX_ID_CHARS, False, None),
        (" ", False, None),
    ],
)
def test_faults(text: str | None, missing: bool, reason: str | None) -> None:
    assert invalid_id_reason(text, "item_id", missing) == reason


@pytest.mark.parametrize("values", [[[1]], [b"x"], [{"a": 1}]])
def test_other_types_are_one_sentence(values: Any) -> None:
    with pytest.raises(ValueError, match=r"^Column 'id' holds .*, so it cannot be item_id: ids are text or numbers\.$"):
        ids_to_text(pl.Series("id", values), "item_id")


@given(st.lists(texts, min_size=1, max_size=20))
@settings(deadline=None)
def test_codes_are_places_in_the_sorted_texts(ids: list[str]) -> None:
    names, result = encode_ids(pl.Series(ids))
    assert names == sorted(set(ids), key=lambda text: text.encode())
    assert [names[code] for code in result] == ids


def test_words_for_missing_values_are_reported() -> None:
    users = ["NULL"] * 3 + ["nan", "nan", "None", "\\N", "u1"]
    log = read_events(pl.DataFrame({"user": users, "item": [f"i{i}" for i in range(8)]}))
    assert log.report.warnings == (
        "Values of user_id look like missing ones (NULL 3, nan 2, None 1, \\N 1): leave such rows out with a condition "
        "(where).",
    )


@pytest.mark.parametrize(
    "word",
    [
        "null",
        "undefined",
        "(not set)",
        "未知",
        "-",
        "匿名",
        "NaN",
        " NULL ",
        "unknown",
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_garbage_words_among_items(word: str) -> None:
    log = read_events(pl.DataFrame({"user": ["u", "v"], "item": [word, "a"], "time": [1_700_000_000, 1_700_000_001]}))
    assert log.report.warnings == (
        f"Values of item_id look like missing ones ({word.strip()} 1): leave such rows out with a condition (where).",
    )


@pytest.mark.parametrize("word", ["nano", "none-1", "0", "guest-house", "A-"])
def test_words_that_are_ids(word: str) -> None:
    log = read_events(pl.DataFrame({"user": ["u", "v"], "item": [word, "a"], "time": [1_700_000_000, 1_700_000_001]}))
    assert log.report.warnings == ()
