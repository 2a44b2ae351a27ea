"""Event contexts: codes, missing values, and contexts that follow their events through views and splits."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from segue.data.event_contexts import EventContexts, context_column_types
from segue.data.event_log import EventLog
from segue.data.readers.events import read_events
from segue.data.readers.items import read_users
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log

T0 = 1_700_000_000


def test_equal_contexts_share_a_code_and_missing_values_have_none() -> None:
    rows: list[dict[str, Any]] = [{"device": "tv", "age": 3.0}, {}, {"age": 3.0, "device": "tv"}, {"device": None}]
    result = EventContexts.from_rows([*rows, {"device": "tv", "age": None}])
    assert result.codes.tolist() == [1, 0, 1, 0, 2]
    assert result.features.rows == [{}, {"device": "tv", "age": 3.0}, {"device": "tv"}]
    assert result.take(np.array([4, 0])).codes.tolist() == [2, 1]


def test_context_codes_do_not_depend_on_the_order_of_rows() -> None:
    frame = pl.DataFrame({"device": ["tv", None, "tv", "phone"], "age": [3.0, float("nan"), None, 5.0]})
    result = EventContexts.from_frame(frame, {"device": "category", "age": "number"})
    known = [result.features.rows[code] for code in result.codes]
    assert known == [{"device": "tv", "age": 3.0}, {}, {"device": "tv"}, {"device": "phone", "age": 5.0}]
    assert result.codes[1] == 0 and result.features.rows[0] == {}
    turned = EventContexts.from_frame(frame.reverse(), result.features.column_types)
    assert turned.codes.tolist() == result.codes[::-1].tolist() and turned.features == result.features


def test_kinds_are_guessed_as_those_of_items() -> None:
    frame = pl.DataFrame({"device": ["tv", "phone"] * 4, "age": ["3", "5"] * 4, "tags": ["a|b", "c|d"] * 4})
    assert context_column_types(frame, ["device", "age", "tags"]) == {
        "device": "category",
        "age": "number",
        "tags": "list",
    }


def log() -> EventLog:
    """Each event's context is its item's id, so that any shift is visible."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"i{i:02d}", f"s{u}-{t // 4}", T0 + 977 * t + u, f"i{i:02d}")
        for u in range(40)
        for t, i in enumerate(rng.integers(0, 30, rng.integers(5, 14)).tolist())
    ]
    names = ["user_id", "item_id", "session_id", "timestamp", "echo"]
    frame = pl.DataFrame(rows, schema=names, orient="row").sample(fraction=1.0, shuffle=True, seed=1)
    return read_events(frame).with_context({"echo": "category"})


def assert_echoed(rows: Sequences, ids: tuple[str, ...]) -> None:
    assert rows.contexts is not None
    position = rows.positions()[1]
    for item, code in zip(rows.items[position].tolist(), rows.contexts.codes[position].tolist(), strict=True):
        assert item == 0 or rows.contexts.features.rows[code] == {"echo": ids[item - 1]}


@pytest.mark.parametrize("protocol", ["time", "leave-last-out", "leave-last-n-out", "sessions"])
def test_every_cut_keeps_contexts_with_their_events(protocol: str) -> None:
    split = split_log(log(), protocol, **({"n": 2} if protocol == "leave-last-n-out" else {}))
    for rows in (split.train, split.refit, split.validation.histories, split.test.histories):
        assert_echoed(rows, split.catalog.ids)
        assert_echoed(rows.tail(3), split.catalog.ids)
        assert_echoed(rows.drop_unknown().to_contiguous(), split.catalog.ids)
        assert_echoed(rows.take(slice(2, 9)).prefixes(np.full(len(rows.take(slice(2, 9))), -1)), split.catalog.ids)


def test_columns_of_users_stand_beside_their_events() -> None:
    users = pl.DataFrame({"user": ["u0", "u1", "u1"], "region": ["north", "south", "east"]})
    known = log().with_users(read_users(users))
    result = dict(known.frame.select("user_id", "region").unique().iter_rows())
    assert result["u0"] == "north" and result["u1"] == "south" and result["u7"] is None
    assert known.frame["item_id"].to_list() == log().frame["item_id"].to_list()
    with pytest.raises(
        ValueError,
        match=r"^The log and the users table both have a column 'region': rename the one in the users table\.$",
    ):
        known.with_users(read_users(users))
    with pytest.raises(ValueError, match=r"^No column of the users table looks like user_id; rename the one that does"):
        read_users(pl.DataFrame({"who": ["u0"]}))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(
        ValueError,
        match=r"^The log has no column 'region' to take as context\. Its columns: user_id, item_id, session_id, ",
    ):
        log().with_context(["region"])
