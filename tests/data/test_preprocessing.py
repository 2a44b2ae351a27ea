"""Preprocessing: k-core against a naive version, sessions and repeats by hand, and counts of every removed event."""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.event_log import EventLog
from segue.data.preprocessing import PreprocessingConfig, drop_repeats, k_core, sessionize
from segue.data.readers.events import read_events

MINUTE = 60


def log_of(rows: list[tuple[str, str, int]], **options: Any) -> EventLog:
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return read_events(frame, time_unit="s", **options)


def pairs(log: EventLog) -> list[tuple[str, str]]:
    return log.frame.select("user_id", "item_id").rows()


def naive_core(events: list[tuple[str, str]], min_user_events: int, items: int) -> list[tuple[str, str]]:
    """Remove one user or item at a time, by definition."""
    while True:
        users, item_counts = Counter(u for u, _ in events), Counter(i for _, i in events)
        bad_user = next((u for u, n in users.items() if n < min_user_events), None)
        bad_item = next((i for i, n in item_counts.items() if n < items), None)
        if bad_user is None and bad_item is None:
            return events
        events = [(u, i) for u, i in events if (u != bad_user if bad_user is not None else i != bad_item)]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
)
@settings(deadline=None)
def test_the_core_is_that_of_the_definition(events: list[tuple[str, str]], min_user_events: int, items: int) -> None:
    log = log_of([(u, i, t) for t, (u, i) in enumerate(events)])
    expected = naive_core(events, min_user_events, items)
    if not expected:
        with pytest.raises(ValueError, match=r"^No event is left with at least"):
            k_core(log, min_user_events=min_user_events, min_item_events=items)
        return
    core = k_core(log, min_user_events=min_user_events, min_item_events=items)
    assert pairs(core) == expected
    assert core.report.kept == len(core)


def test_the_core_reports_what_it_removed() -> None:
    # c goes first; then y has one event and goes; then b has one event and goes; then x has one.
    log = log_of([("a", "x", 1), ("a", "z", 2), ("a", "z", 3), ("b", "x", 4), ("b", "y", 5), ("c", "y", 6)])
    core = k_core(log, min_user_events=2, min_item_events=2)
    assert pairs(core) == [("a", "z"), ("a", "z")]
    assert core.report.notes[-1] == (
        "Users with fewer than 2 events and items with fewer than 2 are removed in 4 rounds: 2 of 3 users and 2 of "
        "3 items."
    )
    assert core.report.removed == {"users or items with too few events": 4}
    assert core.report.lines()[0] == "the table: 6 rows read, 2 events kept."
    assert core.report.lines()[-1] == "4 events removed: users or items with too few events."


def test_an_empty_core_is_one_sentence() -> None:
    with pytest.raises(
        ValueError,
        match=r"^No event is left with at least 2 events per user and 1 per item: lower the minimum\.$",
    ):
        log_of([("a", "x", 1)], min_user_events=2)


def test_sessions_begin_after_a_pause() -> None:
    minutes = [0, 10, 40, 71, 200, 5]
    log = log_of([("ann", f"i{k}", m * MINUTE) for k, m in enumerate(minutes)] + [("bob", "x", 0)])
    cut = sessionize(log, 30 * MINUTE)
    # By time: 0 5 10 40 | 71 | 200; a pause of exactly half an hour is none.
    assert cut.frame["session_id"].to_list() == ["ann#1", "ann#1", "ann#1", "ann#2", "ann#3", "ann#1", "bob#1"]
    assert cut.report.notes[-1] == "A pause of more than 1800 s begins a new session: 4 sessions."
    assert "session_id" not in log.frame.columns


def test_sessions_by_pauses_replace_the_logs_own_with_a_note() -> None:
    frame = pl.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "time": [0, 9], "session": ["s", "s"]})
    log = read_events(frame, session_gap_s=5)
    assert log.frame["session_id"].to_list() == ["u#1", "u#2"]
    assert log.report.notes[-1] == (
        "A pause of more than 5 s begins a new session: 2 sessions. The log's own session_id is replaced."
    )


def test_sessions_of_two_users_never_share_an_id() -> None:
    log = sessionize(log_of([("a", "x", 0), ("a", "y", 99), ("a#1", "x", 0), ("a#1", "y", 99)]), 10)
    assert log.frame["session_id"].n_unique() == 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), min_size=1, max_size=30), st.integers(1, 20))
@settings(deadline=None)
def test_sessions_are_those_of_a_plain_walk(events: list[tuple[str, int]], gap: int) -> None:
    cut = sessionize(log_of([(user, "x", second) for user, second in events]), gap)
    last: dict[str, int] = {}
    number: Counter[str] = Counter()
    expected = [""] * len(events)
    for k in sorted(range(len(events)), key=lambda k: (events[k][1], k)):
        user, second = events[k]
        if user not in last or second - last[user] > gap:
            number[user] += 1
        last[user] = second
        expected[k] = f"{user}#{number[user]}"
    assert cut.frame["session_id"].to_list() == expected


def test_a_log_without_times_has_no_pauses(tmp_path: Any) -> None:
    path = tmp_path / "s.txt"
    path.write_text("7 a b\n")
    with pytest.raises(
        ValueError,
        match=r"^Sessions cannot be cut at pauses, because this log has an order but no times\.$",
    ):
        read_events(path, format="sequences", session_gap_s=60)


def test_repeats_are_kept_by_default() -> None:
    rows = [("u", "a", 1), ("u", "a", 2), ("u", "b", 3), ("u", "a", 4), ("v", "a", 0), ("u", "a", 5)]
    assert len(log_of(rows)) == 6
    log = log_of(rows, drop_repeats=True)
    assert pairs(log) == [("u", "a"), ("u", "b"), ("u", "a"), ("v", "a")]
    assert log.frame["timestamp"].to_list() == [1_000_000, 3_000_000, 4_000_000, 0]
    assert log.report.removed == {"repeats of the preceding item": 2}


def test_a_purchase_is_kept_in_place_of_the_click_before_it() -> None:
    rows = [
        *(("u", "a", 1, "点击"), ("u", "a", 2, "加购"), ("u", "a", 3, "购买"), ("u", "a", 4, "支付")),
        *(("u", "b", 5, "点击"), ("u", "b", 6, None), ("v", "b", 7, "点击"), ("v", "b", 8, "退款")),
        ("u", "a", 9, "Order Paid"),
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "event"], orient="row")
    kept = read_events(frame, drop_repeats=True).frame
    assert kept.select("item_id", "event").rows() == [("a", "购买"), ("b", "点击"), ("b", "点击"), ("a", "Order Paid")]
    assert len(read_events(frame.drop("event"), drop_repeats=True)) == 4


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 9)), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_kept_events_have_no_repeats_and_every_change(events: list[tuple[str, str, int]]) -> None:
    log = log_of(events)
    catalog = log.catalog()
    for row, trimmed in zip(log.sequences(catalog)[0], drop_repeats(log).sequences(catalog)[0], strict=True):
        changes = np.concatenate([[True], row[1:] != row[:-1]])
        assert trimmed.tolist() == row[changes].tolist()


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(1, 4),
)
@settings(deadline=None)
def test_of_a_flood_the_newest_events_are_kept(events: list[tuple[str, str, int]], limit: int) -> None:
    log = log_of(events, max_user_item_events=limit)
    newest: list[tuple[str, str, int]] = []
    for pair in {event[:2] for event in events}:
        newest += sorted((event for event in events if event[:2] == pair), key=lambda event: event[2])[-limit:]
    kept = [(*pair, time // 1_000_000) for pair, time in zip(pairs(log), log.frame["timestamp"], strict=True)]
    assert sorted(kept) == sorted(newest)
    reason = f"more than {limit} events of a user on an item"
    assert log.report.removed.get(reason, 0) == len(events) - len(newest)


def test_all_trims_in_one_reading_add_up() -> None:
    rows = [("u", "a", 0), ("u", "a", 1), ("u", "b", 2), ("v", "a", 0), ("v", "b", 5000), ("w", "c", 0)]
    log = log_of(rows, drop_repeats=True, session_gap_s=1800, min_user_events=2, min_item_events=2)
    assert pairs(log) == [("u", "a"), ("u", "b"), ("v", "a"), ("v", "b")]
    assert log.frame["session_id"].to_list() == ["u#1", "u#1", "v#1", "v#2"]
    assert log.report.kept == len(log) == 6 - sum(log.report.removed.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"session_gap_s": 0.0}, r"^session_gap_s must be above 0, or none, got 0\.0\.$"),
        ({"session_gap_s": float("inf")}, r"^session_gap_s must be above 0, or none, got inf\.$"),
        ({"min_user_events": 0}, r"^min_user_events must be at least 1, got 0\.$"),
        ({"min_item_events": -1}, r"^min_item_events must be at least 1, got -1\.$"),
    ],
)
def test_impossible_preprocessing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreprocessingConfig(**options)


def test_a_fixed_test_set_is_not_preprocessed(tmp_path: Any) -> None:
    path = tmp_path / "x.txt"
    path.write_text("a b\tc\n")
    with pytest.raises(
        ValueError, match=r"^A fixed test set is evaluated as it is: preprocess the training log, not this one\.$"
    ):
        read_events(path, format="prefixes", drop_repeats=True)
