"""Strict decoding: hostile bodies are refused with a status and a sentence, never with a crash."""

import msgspec
import pytest

from segue.serving.schemas import requests
from segue.serving.schemas.problems import DECODE_ERRORS, invalid_body
from segue.serving.schemas.requests import NextRequest, RecommendRequest, decode_events, decode_request

EVENTS = [
    (b"", 400, "The body is not JSON: input data was truncated."),
    (b"[]", 422, "The body is not valid: expected 'object', got 'array'."),
    (b"{}", 422, "The body is not valid: object missing required field 'item_id'."),
    (b'{"item_id":"a"} x', 400, "The body is not JSON: trailing characters (byte 17)."),
    (b'{"item_id":"a\xff"}', 400, "The body is not JSON: it holds bytes that are not UTF-8."),
    (b'{"item_id":"\\ud800"}', 400, "The body is not JSON: input data was truncated."),
    (b'{"item_id":"\\ud800abcdefgh"}', 400, "The body is not JSON: unexpected end of hex escape (byte 18)."),
    (b'{"item_id":"a","value":NaN}', 400, "The body is not JSON: invalid character (byte 23)."),
    (b'{"item_id":"a","value":Infinity}', 400, "The body is not JSON: invalid character (byte 23)."),
    (b'{"item_id":"a","value":1e999}', 422, "value is not valid: number out of range."),
    (b'{"item_id":"a","value":' + b"9" * 5000 + b"}", 422, "value is not valid: number out of range."),
    (b'{"item_id":"a","value":"1"}', 422, "value is not valid: expected 'float | null', got 'str'."),
    (b'{"item_id":1}', 422, "item_id is not valid: expected 'str', got 'int'."),
    (b'{"item_id":true}', 422, "item_id is not valid: expected 'str', got 'bool'."),
    (b'{"item_id":""}', 422, "item_id is not valid: expected 'str' of length >= 1."),
    (b'{"item_id":"a\\u0000"}', 422, "item_id is not valid: it must not hold control characters."),
    (b'{"item_id":"a\\n"}', 422, "item_id is not valid: it must not hold control characters."),
    (b'{"item_id":"\\u007f"}', 422, "item_id is not valid: it must not hold control characters."),
    (b'{"item_id":"' + b"a" * 513 + b'"}', 422, "item_id is not valid: expected 'str' of length <= 512."),
    (b'{"item_id":"a","user":"b"}', 422, "The body is not valid: object contains unknown field 'user'."),
    (b'{"events":[]}', 422, "events is not valid: expected 'array' of length >= 1."),
    (b'{"events":[{"item_id":"a"},{"item_id":2}]}', 422, "events[1].item_id is not valid: expected 'str', got 'int'."),
    (b'{"events":[{"item_id":"a"}],"item_id":"a"}', 422,
     "The body is not valid: object contains unknown field 'item_id'."),
    (b'{"item_id":"a","context":{"x":[1]}}', 422,
     "context[...] is not valid: expected 'bool | int | float | str | null', got 'array'."),
    (b'{"item_id":"a","context":' + b'{"a":' * 5000, 400, "The body is nested too deeply to be a request."),
    (b'{"events":' + b"[" * 100_000, 400, "The body is nested too deeply to be a request."),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "detail"), EVENTS)
def test_hostile_events_are_refused(body, status, detail):
    with pytest.raises(DECODE_ERRORS) as error:
        decode_events(body)
    problem = invalid_body(error.value)
    assert (problem.status, problem.detail) == (status, detail)


def test_one_event_and_a_batch_are_decoded():
    assert [one.item_id for one in decode_events(b'{"item_id":"a"}').events] == ["a"]
    assert [one.item_id for one in decode_events(b'{"events":[{"item_id":"a"},{"item_id":"b"}]}').events] == ["a", "b"]


@pytest.mark.parametrize("name", ["é", "e\u0301", "商品 1", "\U0001f600", " ", "1", "1.0", "true", "'; --", "\u202e"])
def test_ids_are_never_normalized(name):
    assert decode_request(RecommendRequest, msgspec.json.encode({"history": [name]})).history == [name]


def test_k_has_bounds():
    for k in (0, 1001):
        with pytest.raises(msgspec.ValidationError):
            decode_request(RecommendRequest, msgspec.json.encode({"k": k}))
    assert decode_request(RecommendRequest, b'{"k":1000}').k == 1000


def test_an_integer_may_be_written_as_a_float():
    """JSON knows one kind of number, and its schema calls 10.0 an integer; 10.5 is none, and neither is a text."""
    assert decode_request(RecommendRequest, b'{"k":10.0}').k == 10
    found = decode_request(NextRequest, b'{"steps":2.0,"seed":9007199254740992.0,"history":["1.0"]}')
    assert (found.steps, found.seed, found.history) == (2, 2**53, ["1.0"])
    for body, sentence in [
        (b'{"k":10.5}', "k is not valid: expected 'int', got 'float'."),
        (b'{"k":10.0,"steps":1}', "The body is not valid: object contains unknown field 'steps'."),
        (b'{"k":1001.0}', "k is not valid: expected 'int' <= 1000."),
        (b'{"k":1e300}', "k is not valid: expected 'int' <= 1000."),
        (b'{"k":"10.0"}', "k is not valid: expected 'int', got 'str'."),
    ]:
        with pytest.raises(DECODE_ERRORS) as error:
            decode_request(RecommendRequest, body)
        assert invalid_body(error.value).detail == sentence


def test_too_many_events_are_counted_before_they_are_decoded(monkeypatch):
    """A megabyte of tiny events took the processor for a tenth of a second before it was refused."""
    many = b'{"events":[' + b",".join([b'{"user_id":"u","item_id":"i"}'] * 33_000) + b"]}"
    monkeypatch.setattr(requests, "decode_request", None)
    with pytest.raises(DECODE_ERRORS) as error:
        decode_events(many)
    assert invalid_body(error.value).detail == "events is not valid: expected 'array' of length <= 10000."
    monkeypatch.undo()
    for wrong in (b'{"events":"' + b"x" * 200_000 + b'"}', b'{"events":{"a":"' + b"x" * 200_000 + b'"}}'):
        with pytest.raises(DECODE_ERRORS) as error:
            decode_events(wrong)
        assert invalid_body(error.value).detail.startswith("events is not valid: expected 'array', got ")
    large = b",".join([b'{"item_id":"' + b"i" * 30 + b'"}'] * 9000)
    assert len(decode_events(b'{"events":[' + large + b"]}").events) == 9000


def test_only_a_long_batch_is_counted_before_it_is_decoded(monkeypatch):
    counted = []
    monkeypatch.setattr(requests, "_check_number", lambda events: counted.append(len(events)))
    one, limit = b'{"item_id":"a","user_id":"u"}', requests.MAX_EVENTS * len('{"item_id":"a"},')
    for length, is_counted in ((1000, False), (limit, False), (limit + 1, True)):
        counted.clear()
        decode_events(b'{"events":[%s]}' % (one + b" " * (length - len(one) - 2)))
        assert bool(counted) is is_counted
