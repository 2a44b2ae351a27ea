"""Validation of events: defaults, refusals, digests."""

import msgspec
import pytest

from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn
from segue.serving.store.event import event_time_us, has_server_time, validate_event

NOW = 1_700_000_000_000_000


def test_the_server_fills_in_what_is_missing():
    event = validate_event(EventIn(item_id="a", user_id="ann"), NOW)
    assert (event.time_us, event.source, event.event, event.context) == (NOW, "api", "view", "{}")
    assert len(event.event_id) == 32


@pytest.mark.parametrize(
    ("timestamp", "time_us"),
    [
        (1000, 1_000_000_000),
        (1000.25, 1_000_250_000),
        ("1970-01-01T00:16:40Z", 1_000_000_000),
        ("1970-01-01T01:16:40+01:00", 1_000_000_000),
        ("1970-01-01 00:16:40.000001", 1_000_000_001),
        ("1970-01-02", 86_400_000_000),
        (NOW / 1e6 + 299, NOW + 299_000_000),
    ],
)
def test_times_become_utc_microseconds(timestamp, time_us):
    assert validate_event(EventIn(item_id="a", user_id="ann", timestamp=timestamp), NOW).time_us == time_us


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"user_id": None}, "The event has neither a user nor a session: give user_id, session_id or both."),
        ({"timestamp": "noon"}, "timestamp 'noon' is not ISO 8601: write it like 2026-01-31T12:00:00Z."),
        ({"timestamp": -0.5}, "timestamp -0.5 lies before 1970."),
        ({"timestamp": "1969-12-31"}, "timestamp '1969-12-31' lies before 1970."),
        (
            {"timestamp": 1.7e12},
            "timestamp 1700000000000.0 lies in the future: numbers are seconds since 1970, not milliseconds.",
        ),
        ({"timestamp": -1.7976931348623157e308}, "timestamp -1.7976931348623157e+308 lies before 1970."),
        (
            {"timestamp": 1.7976931348623157e308},
            "timestamp 1.7976931348623157e+308 lies in the future: numbers are seconds since 1970, not milliseconds.",
        ),
        (
            {"timestamp": 1e300},
            "timestamp 1e+300 lies in the future: numbers are seconds since 1970, not milliseconds.",
        ),
        (
            {"timestamp": "2999-01-31T12:00:00"},
            "timestamp '2999-01-31T12:00:00' lies in the future: a time without a zone is UTC; write the offset of "
            "another, such as +08:00.",
        ),
    ],
)
def test_impossible_events_are_refused(fields, detail):
    with pytest.raises(Problem) as refused:
        validate_event(EventIn(**{"item_id": "a", "user_id": "ann", **fields}), NOW)
    assert (refused.value.status, refused.value.detail) == (422, detail)


def test_a_resend_has_the_same_body_and_a_change_has_not():
    sent = {"item_id": "a", "user_id": "ann", "event_id": "1", "context": {"x": 1, "y": 2}}
    body = validate_event(EventIn(**sent), NOW).body
    assert validate_event(EventIn(**sent), NOW + 5).body == body, "the server's own time is no part of what was sent"
    assert validate_event(EventIn(**{**sent, "context": {"y": 2, "x": 1}}), NOW).body == body
    stamped = validate_event(EventIn(**sent, timestamp=1000), NOW).body
    assert validate_event(EventIn(**sent, timestamp="1970-01-01T00:16:40Z"), NOW).body == stamped
    changes = [{"item_id": "b"}, {"user_id": "bob"}, {"session_id": "s"}, {"event": "buy"}, {"value": 1.0}]
    changed = [validate_event(EventIn(**{**sent, **change}), NOW).body for change in [*changes, {"context": {}}]]
    assert len({body, stamped, *changed}) == 8


def test_ids_that_could_be_concatenated_have_different_digests():
    one = validate_event(EventIn(item_id="a", user_id="bc", event_id="1"), NOW)
    other = validate_event(EventIn(item_id="ab", user_id="c", event_id="1"), NOW)
    assert one.body != other.body
    assert one.checksum(1) != other.checksum(1)
    assert one.checksum(1) != one.checksum(2)


def test_the_first_second_of_1970_is_a_time_and_the_one_before_is_none() -> None:
    assert validate_event(EventIn("a", "u", timestamp=0), 10).time_us == 0
    with pytest.raises(Problem):
        validate_event(EventIn("a", "u", timestamp=-1e-6), 10)


def test_a_recommended_list_is_kept_beside_the_context() -> None:
    sent = EventIn("a", "u", recommendation_id="list-1", context={"device": "tv"})
    assert msgspec.json.decode(validate_event(sent, 10).context) == {"device": "tv", "recommendation_id": "list-1"}


def test_the_server_knows_whether_it_gave_the_time() -> None:
    for sent in (EventIn("a", "u", context={"x": 1}), EventIn("a", None, "s", value=2.5)):
        assert has_server_time(validate_event(sent, 10))
        assert not has_server_time(validate_event(msgspec.structs.replace(sent, timestamp=0), 10))
        assert validate_event(sent, 10, stamp_us=12).time_us == 12


def test_what_a_client_names_is_kept_and_a_digest_is_short() -> None:
    event = validate_event(EventIn("a", "u", event_id="own", source="app", event="buy"), 10)
    assert (event.event_id, event.source, event.event, len(event.body)) == ("own", "app", "buy", 16)


def test_the_time_of_a_sent_event() -> None:
    assert event_time_us(EventIn("a", "u"), 7) == 7
    assert event_time_us(EventIn("a", "u", timestamp=2), 10**7) == 2_000_000
    with pytest.raises(Problem) as refused:
        event_time_us(EventIn("a", "u", timestamp="x" * 39 + "YZ"), 7)
    assert refused.value.detail.startswith(f"timestamp '{'x' * 39}Y' is not ISO 8601")
