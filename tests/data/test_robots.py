"""Users with far too many events, and bursts within a second."""

import polars as pl

from segue.data.event_log import EventLog
from segue.data.readers.events import read_events
from segue.data.robots import find_robots

T0 = 1_704_067_207


def log_of(rows: list[tuple[str, float]]) -> EventLog:
    frame = pl.DataFrame({"user": [u for u, _ in rows], "item": [f"i{n}" for n in range(len(rows))]})
    return read_events(frame.with_columns(time=pl.Series([T0 + t for _, t in rows], dtype=pl.Float64)), time_unit="s")


VISITORS = [(f"u{u}", 100.0 * step + u) for u in range(40) for step in range(5)]


def test_visitors_are_no_robots() -> None:
    assert find_robots(log_of(VISITORS)) == []


def test_users_with_far_too_many_events_are_named() -> None:
    robot = [("robot", 7.0 * n) for n in range(900)]
    assert find_robots(log_of(VISITORS + robot)) == [
        "One user has far more events than the median of 5 (robot 900): a reseller, a robot or a shared id?"
    ]
    more = [("bot", 9.0 * n) for n in range(600)]
    assert find_robots(log_of(VISITORS + robot + more)) == [
        "2 users have far more events than the median of 5 (robot 900, bot 600): resellers, robots or shared ids?"
    ]


def test_bursts_within_a_second() -> None:
    burst = [("bot", 50 + 0.09 * n) for n in range(10)]
    assert find_robots(log_of(VISITORS + burst)) == [
        "One user has 10 or more events within a second (as bot at 2024-01-01T00:00:57Z): a robot, or a basket "
        "with one time?"
    ]
    assert find_robots(log_of(VISITORS + burst[:9])) == []
    slow = [("u", 50 + 0.12 * n) for n in range(10)]
    assert find_robots(log_of(VISITORS + slow)) == []
    others = [(f"v{n}", 50 + 0.01 * n) for n in range(30)]
    assert find_robots(log_of(VISITORS + others)) == [], "many visitors within a second are none"


def test_times_in_whole_minutes_have_no_bursts() -> None:
    baskets = [("u", 53.0 + 60 * (n // 20)) for n in range(40)]
    assert find_robots(log_of(baskets)) == []


def test_a_log_without_times(tmp_path) -> None:
    (tmp_path / "s.txt").write_text("7 a b a\n8 c\n")
    assert find_robots(read_events(tmp_path / "s.txt", format="sequences")) == []
