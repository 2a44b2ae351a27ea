"""Ids that differ by their spelling only, within a log and between a log and a table."""

import polars as pl
import pytest

from segue.data.readers.events import read_events
from segue.data.readers.id_spelling import describe_match, find_respelled, respelled_within, spelling_key
from segue.data.readers.items import read_items


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0000000001", "1"),
        ("3.0", "3"),
        ("3.00", "03"),
        ("A1", "a1"),
        (" a1 ", "a1"),
        ("a1\u3000", "a1"),
        ("Ａ１", "a1"),
        ("'0042", "42"),
        ('="0042"', "42"),
        ("\ufeffa1", "a1"),
        ("000", "0"),
        ("0.0", "0"),
    ],
)
def test_spellings_of_one_id(one: str, other: str) -> None:
    key = spelling_key(pl.Series([one, other])).to_list()
    assert key[0] == key[1]


@pytest.mark.parametrize(("one", "other"), [("1.5", "1"), ("10", "1"), ("a-1", "a1"), ("1.0.0", "1"), ("茶", "茶叶")])
def test_different_ids(one: str, other: str) -> None:
    assert spelling_key(pl.Series([one])).to_list() != spelling_key(pl.Series([other])).to_list()


def test_a_known_id_has_no_other_spelling() -> None:
    """With both in a table, 007 and 7 are two items there."""
    pairs = find_respelled(pl.Series(["007", "7", "x"]), pl.Series(["7", "y", "'"]))
    assert pairs.rows() == []
    pairs = find_respelled(pl.Series(["007", "x", None, ""]), pl.Series(["7", "y", None, "'"]))
    assert pairs.rows() == [("007", "7")]


def log_of(items: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"user": ["u"] * len(items), "item": items, "time": range(len(items))})


def test_a_table_with_other_zeros_makes_no_second_item() -> None:
    log = read_events(log_of([f"{i:010d}" for i in range(4)]), time_unit="s")
    table = read_items(pl.DataFrame({"article_id": ["0", "1", "2", "3", "9"], "title": list("abcde")}))
    joined = log.with_items(table)
    assert joined.catalog().ids == (*[f"{i:010d}" for i in range(4)], "9")
    assert joined.items is not None
    assert joined.items.warnings == (
        "None of the 5 items of the items table is in the log: its ids look like '0', those of the log like "
        "'0000000000'.",
        "4 ids of the items table are ids of the log in another spelling, as '0' for '0000000000': their rows are not "
        "used. Write the ids alike in both files.",
    )


def test_a_table_that_matches_is_reported_with_counts() -> None:
    notes, warnings = describe_match(pl.Series(["a", "b", "c"]), pl.Series(["a", "b", "b", "d"]), "user")
    assert notes == ["2 of 3 users of the log are in the users table; 1 of its users have no event."]
    assert warnings == []


def test_spellings_within_a_log() -> None:
    assert respelled_within(pl.Series(["3", "3.0", "A", "a", "b", "'", '"'])) == [("3", "3.0"), ("A", "a")]
