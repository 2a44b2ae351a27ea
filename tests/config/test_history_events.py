"""Event types of histories: the same as those that the reader of a log keeps."""

import polars as pl
import pytest

from segue.config.history_events import HistoryEvents
from segue.data.log_description import LogDescription
from segue.data.readers.event_types import keep_event_types
from segue.data.readers.row_filter import filter_rows
from segue.serving.config import SessionsConfig

TYPES = ["buy", "Buy", " buy", "view", "cart", "purchase order", "下单", "取消订单", "4", "4.0", "x4"]
TEXTS = [
    'behavior == "buy"',
    'behavior != "view" and behavior != "cart"',
    'behavior in ["buy", "下单"]',
    'behavior not in ["view", "cart"]',
    'not (behavior == "view" or behavior contains "CAR")',
    'behavior contains "BUY"',
    'behavior not contains "取消"',
    'behavior starts_with "Pur" or behavior == "4"',
    'behavior > "c"',
    '"buy" == behavior',
    '"a" <= behavior < "d"',
    "behavior == behavior",
    "behavior is missing",
    "behavior is not missing",
]
NUMBERS = ["behavior == 4", "behavior in [1, 4]", "behavior != 4", "2 < behavior <= 4", "not behavior < 3"]


def rule(where: str | None = None, types: list[str] | None = None, column: str | None = "behavior") -> HistoryEvents:
    events = HistoryEvents.of_log({"where": where, "events": types}, column)
    assert events is not None
    return events


@pytest.mark.parametrize("where", TEXTS)
def test_a_condition_on_event_types_keeps_those_that_the_reader_keeps(where: str) -> None:
    events, frame = rule(where), pl.DataFrame({"behavior": TYPES})
    assert [name for name in TYPES if name in events] == filter_rows(frame, where)["behavior"].to_list()
    assert not events.ignored


@pytest.mark.parametrize("where", NUMBERS)
@pytest.mark.parametrize("dtype", [pl.Int64, pl.String])
def test_types_that_are_numbers_are_compared_as_numbers(where: str, dtype: type[pl.DataType]) -> None:
    events, frame = rule(where), pl.DataFrame({"behavior": ["1", "2", "3", "4"]}).cast(dtype)
    kept = filter_rows(frame, where)["behavior"].cast(pl.String).to_list()
    assert [name for name in "1234" if name in events] == kept


def test_listed_types_are_those_that_the_reader_keeps() -> None:
    frame = pl.DataFrame({"behavior": TYPES})
    kept = keep_event_types(frame, "behavior", ["buy", "下单"])[0]["behavior"].to_list()
    assert [name for name in TYPES if name in rule(types=["buy", "下单"])] == kept == ["buy", " buy", "下单"]


def test_tests_of_further_columns_are_left_out_and_named() -> None:
    where = 'behavior == "buy" and (price > 3 or behavior == "x") and not behavior contains "q"'
    events = rule(where)
    assert "buy" in events and "view" not in events
    assert events.ignored == where
    named, left_out = events.sentences()
    assert named == (
        f"Histories hold only events that meet the condition on event types in {where}: events of other types are "
        "stored and left out."
    )
    assert left_out.startswith(f"The condition of the training log ({where}) names further columns")
    only_others = rule("price > 3")
    assert "view" in only_others and not only_others.selects and len(only_others.sentences()) == 1
    assert not rule('behavior == "buy"', column=None).selects


def test_a_log_of_all_types_has_no_rule() -> None:
    assert HistoryEvents.of_log({"time_zone": "Asia/Shanghai"}, "behavior") is None
    assert LogDescription({"min_user_events": 3}, {"event": "behavior"}).history_events() is None


def test_a_description_names_the_column() -> None:
    options = {"where": 'behavior == "buy"'}
    events = LogDescription(options, {"event": "behavior"}).history_events()
    assert events is not None and "view" not in events
    declined = LogDescription(options, {"event": "none"}).history_events()
    assert declined is not None and not declined.selects and declined.ignored


@pytest.mark.parametrize("options", [{"events": "buy"}, {"events": [1]}, {"where": "behavior =="}])
def test_options_that_are_not_valid_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        HistoryEvents.of_log(options, "behavior")


def test_a_server_may_name_other_types_or_all() -> None:
    trained = rule(types=["buy"])
    assert SessionsConfig().events_of(trained) is trained
    assert SessionsConfig(history_events=("all",)).events_of(trained) is None
    own = SessionsConfig(history_events=("view",)).events_of(trained)
    assert own is not None and "view" in own and "buy" not in own
    for wrong in ((), ("all", "view")):
        with pytest.raises(ValueError, match="history_events names event types"):
            SessionsConfig(history_events=wrong)
