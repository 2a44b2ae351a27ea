"""Profile of a log small enough to count by hand, and its warnings."""

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segue.data.event_log import EventLog
from segue.data.profile import profile_log
from segue.data.readers.events import read_events

DATA = Path(os.environ.get("SEGUE_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
DAY = 86_400
T0 = 1_704_067_200
"""2024-01-01."""


def log_of(rows: list[tuple[str, str, int]], **columns: Any) -> EventLog:
    frame = pl.DataFrame([(u, i, T0 + t) for u, i, t in rows], schema=["user", "item", "time"], orient="row")
    return read_events(frame.with_columns(**columns))


SMALL = [
    ("ann", "a", 0),
    ("ann", "b", 10),
    ("ann", "a", 10),
    ("ann", "a", 10),
    ("bob", "a", 5),
    ("bob", "c", DAY),
    ("cy", "d", 2 * DAY),
]


def test_a_log_counted_by_hand() -> None:
    profile = profile_log(log_of(SMALL))
    assert (profile.events, profile.users, profile.items, profile.sessions) == (7, 3, 4, None)
    assert (profile.first, profile.last) == ("2024-01-01T00:00:00Z", "2024-01-03T00:00:00Z")
    assert profile.events_per_user == {"min": 1, "median": 2, "p90": 4, "max": 4}
    assert profile.one_event_users == pytest.approx(1 / 3)
    assert profile.top_percent_share == pytest.approx(4 / 7)  # one item is the least there can be of 1 %
    assert profile.one_event_items == pytest.approx(3 / 4)
    assert profile.repeats == pytest.approx(2 / 7)
    assert profile.exact_duplicates == 1
    assert profile.same_time_neighbors == pytest.approx(2 / 4)  # ann: 0|10 10 10, bob: 5|1 d
    assert profile.last_pair_tied == pytest.approx(1 / 2)
    assert profile.visits == 4  # one each, and bob's second day
    assert profile.pauses_s["median"] == pytest.approx(5.0)  # of 0 0 10 and bob's day
    assert profile.new_items_by_tenth == ()


def test_new_items_over_time() -> None:
    """Twenty events, two in each tenth; the items of the first half occur again in the second, except the last."""
    items = [f"i{n}" for n in range(10)] * 2
    items[-1] = "new"
    profile = profile_log(log_of([("u", item, n) for n, item in enumerate(items)]))
    assert profile.new_items_by_tenth == (1.0,) * 5 + (0.0,) * 4 + (0.5,)


def test_a_profile_is_json_and_lines() -> None:
    profile = profile_log(log_of(SMALL))
    assert json.loads(json.dumps(profile.to_dict()))["events"] == 7
    lines = dict(profile.lines())
    assert lines["sessions by pauses of 30 min"] == "4"
    assert lines["pause between events"].startswith("5 s (median) .. ")
    assert lines["events per user"] == "1 .. 2 (median) .. 4 (p90) .. 4"


def test_an_order_without_times(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("7 a b a\n8 c\n")
    profile = profile_log(read_events(path, format="sequences"))
    assert (profile.first, profile.last, profile.visits, profile.pauses_s) == (None, None, None, {})
    assert profile.warnings[0] == "The log has an order but no times: a time split and recency are not possible."
    assert dict(profile.lines())["from"] == "no times"


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        (SMALL, {}, "50% of users have two last events with equal times: leave-last-out is arbitrary there."),
        (SMALL, {}, "1 events repeat the user, item and time of another."),
        (SMALL, {}, "33% of users have one event only, and so no event to predict."),
        (SMALL, {}, "29% of events are on an item of the history: do not exclude seen items blindly."),
        (SMALL, {}, "1 % of the items take 57% of the events."),
        (
            [("u", f"i{n}", n) for n in range(20)],
            {},
            "100% of the last tenth's events are on items that are new by then.",
        ),
        (
            [("u", f"i{n % 7}", n) for n in range(1001)],
            {},
            "One user has far more events than the median of 1,001 (u 1,001): a reseller, a robot or a shared id?",
        ),
        (
            [("u", "a", -T0 + 5)],
            {},
            "All times lie before 1990, up to 1970-01-01T00:00:05Z: check their unit, or whether they are only an "
            "order.",
        ),
        (
            SMALL,
            {"event": pl.Series(["view"] * 5 + ["buy"] * 2)},
            "There are 2 types of event, and 71% are 'view': select those that mean interest with a condition.",
        ),
        (
            SMALL,
            {"Quantity": pl.Series([1, 2, -1, 3, -7, 1, 1])},
            "In 2 events 'Quantity' is negative, as for returns: leave them out with Quantity > 0.",
        ),
    ],
)
def test_warnings_are_sentences(rows: list[tuple[str, str, int]], columns: dict[str, Any], sentence: str) -> None:
    assert sentence in profile_log(log_of(rows, **columns)).warnings


def test_a_plain_log_has_no_warnings() -> None:
    rows = [(f"u{u}", f"i{(u + k) % 10}", u * 100 + k * 7) for u in range(10) for k in range(5)]
    assert profile_log(log_of(rows)).warnings == ()


@pytest.mark.skipif(not DATA.exists(), reason=f"the benchmark logs are not at {DATA} (set SEGUE_DATA)")
def test_beauty_is_known_for_its_ties() -> None:
    profile = profile_log(read_events(DATA / "beauty" / "events.csv.gz"))
    assert (profile.events, profile.users, profile.items) == (198_502, 22_363, 12_101)
    assert profile.last_pair_tied == pytest.approx(0.43, abs=0.01)
    assert profile.repeats == 0


def test_garbage_shared_sessions_robots_and_cancellations_are_named() -> None:
    rows = [(f"u{u}", f"i{(u + k) % 9}", u * 100 + k * 7) for u in range(20) for k in range(5)]
    rows += [("NULL", "i1", 5), ("undefined", "未知", 6), *(("bot", f"i{n % 9}", 3 * n) for n in range(600))]
    kinds = pl.Series(["view"] * (len(rows) - 3) + ["refund", "取消订单", "取消订单"])
    sessions = pl.Series([f"s{n % 7}" for n in range(len(rows))])
    warnings = profile_log(log_of(rows, event=kinds, session=sessions)).warnings
    for sentence in (
        "Values of user_id look like missing ones (NULL 1, undefined 1): leave such rows out with a condition (where).",
        "Values of item_id look like missing ones (未知 1): leave such rows out with a condition (where).",
        "7 of 7 session ids are shared by users; each user's part is a session of its own.",
        "One user has far more events than the median of 5 (bot 600): a reseller, a robot or a shared id?",
        "Events are cancellations (取消订单 2, refund 1): leave them out with a condition.",
    ):
        assert sentence in warnings, warnings


def test_items_that_differ_by_spelling_are_named() -> None:
    sentence = "2 items differ from another by the spelling of their id only, as '3' and '3.0'."
    assert sentence in profile_log(log_of([("u", i, n) for n, i in enumerate(["3", "3.0", "A", "a"])])).warnings


def test_events_of_the_future_are_named() -> None:
    times = [1_600_000_000, 1_600_000_010, 4_294_967_295]
    log = read_events(pl.DataFrame({"user": list("aab"), "item": list("xyx"), "time": times}))
    warnings = profile_log(log).warnings
    assert any(one.startswith("1 events lie in the future, up to 2106-02-07T06:28:15Z: ") for one in warnings)
    early = read_events(pl.DataFrame({"user": list("ab"), "item": list("xy"), "time": times[:2]}))
    assert not any("in the future" in one for one in profile_log(early).warnings)
