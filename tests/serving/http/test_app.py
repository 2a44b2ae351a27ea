"""The HTTP door in process: statuses, sentences, limits, keys, probes."""

import logging
import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.live_server import live_client, shorten_deadlines

from segue.serving.config import BatchingConfig, EngineConfig
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http.app import ENDPOINTS, App
from segue.serving.http.auth import Keys
from segue.serving.http.handlers import AppState, readiness
from segue.serving.http.openapi import openapi_document
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.group_commit import GroupCommitWriter

POST = ("/v1/events", "/v1/recommend", "/v1/similar")


@pytest.fixture
def door(run, store):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    engine = Engine(model, sessions, writer)
    yield AppState(VariantRouter.from_engine(engine, sessions))
    engine.close()
    writer.close()


@pytest.fixture
def web(door):
    with live_client(App(door)) as client:
        yield client


def refused(answer, status, detail):
    """Asserts a problem of RFC 9457 in full."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["title"]
    assert answer.json()["detail"] == detail


def test_an_event_is_acknowledged_with_what_that_is_worth(web):
    answer = web.post("/v1/events", json={"user_id": "ann", "item_id": "c", "event_id": "1"})
    assert answer.status_code == 200
    assert answer.json() == {"accepted": 1, "duplicates": 0, "durability": "fsync", "event_ids": ["1"]}
    assert web.post("/v1/events", json={"user_id": "ann", "item_id": "c", "event_id": "1"}).json()["duplicates"] == 1
    refused(
        web.post("/v1/events", json={"user_id": "ann", "item_id": "d", "event_id": "1"}),
        409,
        "Event '1' of source 'api' is already stored with another body; "
        "the first one stays, and nothing of this request was stored.",
    )


def test_generated_ids_are_told_in_order(web, store):
    batch = {"events": [{"user_id": "ann", "item_id": item} for item in "abc"]}
    ids = web.post("/v1/events", json=batch).json()["event_ids"]
    assert [one.event.event_id for one in store.newest("user_id", "ann", 9)] == ids
    assert len(set(ids)) == 3


def test_a_bad_event_keeps_its_whole_batch_out(web, store):
    batch = {"events": [{"user_id": "ann", "item_id": "a"}, {"item_id": "b"}]}
    refused(
        web.post("/v1/events", json=batch),
        422,
        "The event has neither a user nor a session: give user_id, session_id or both.",
    )
    assert store.count() == 0


def test_an_event_in_the_question_is_stored_and_seen_in_the_answer(web, store):
    answer = web.post("/v1/recommend", json={"user_id": "ann", "k": 1, "event": {"item_id": "e"}})
    assert [item["id"] for item in answer.json()["items"]] == ["f"]
    assert [one.event.item_id for one in store.newest("user_id", "ann", 9)] == ["e"]


def test_an_event_in_a_question_for_nobody_is_refused(web):
    answer = web.post("/v1/recommend", json={"history": ["a"], "event": {"item_id": "e"}})
    refused(answer, 422, "The event has neither a user nor a session: give user_id, session_id or both.")


def test_an_answer_has_all_its_fields(web):
    answer = web.post("/v1/recommend", json={"history": ["l", "zz"], "k": 1}).json()
    (item,) = answer["items"]
    assert (item["id"], item["title"]) == ("a", "The first")
    assert isinstance(item["score"], float)
    assert answer["unknown_items"] == ["zz"]
    assert len(answer["recommendation_id"]) == 32
    assert answer["took_ms"] >= 0
    other = web.post("/v1/recommend", json={"history": ["a"], "k": 1}).json()
    assert "title" not in other["items"][0]
    assert other["recommendation_id"] != answer["recommendation_id"]


@pytest.mark.parametrize("path", POST)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"nonsense", 400), (b"\xff\xfe", 400), (b"null", 422), (b"[]", 422), (b'"a"', 422),
        (b"[" * 100_000, 422), (b'{"item_id":' + b'{"a":' * 20_000, 422), (b'{"k":1e999}', 422),
        (b'{"item_id":"\\ud800"}', 400), (b'{"nope":1}', 422), (b'{"item_id":"\\u0000"}', 422),
    ],
)  # fmt: skip
def test_hostile_bodies_are_the_clients_fault(web, path, body, status):
    answer = web.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (status, 400, 422)
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"].endswith(".")


def test_only_json_is_read(web):
    answer = web.post("/v1/similar", content=b"{}", headers={"content-type": "text/plain"})
    refused(answer, 415, "The Content-Type must be application/json, not 'text/plain'.")


def test_a_body_has_a_limit_whether_it_says_so_or_not(web):
    detail = "The body is larger than 1000000 bytes: send fewer events in one request."
    headers = {"content-type": "application/json"}
    refused(web.post("/v1/events", content=b" " * 1_000_001, headers=headers), 413, detail)
    parts = (b" " * 100_000 for _ in range(11))
    refused(web.post("/v1/events", content=parts, headers=headers), 413, detail)
    fits = b'{"item_id":"a"' + b" " * 999_985 + b"}"
    assert len(fits) == 1_000_000
    assert web.post("/v1/similar", content=fits, headers=headers).status_code == 200


def test_paths_and_methods_that_are_not_there(web):
    refused(web.post("/v1/nothing"), 404, "There is nothing at /v1/nothing: /openapi.json lists what there is.")
    answer = web.get("/v1/events")
    refused(answer, 405, "/v1/events does not take GET: use POST.")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", POST)
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", "k" * 20, "Bearer " + "k" * 19, "Bearer é", "Basic " + "k" * 20]
)
def test_a_key_opens_every_route_and_nothing_else_does(door, path, given):
    door.keys = Keys({"SEGUE_API_KEY": "k" * 20})
    headers = {} if given is None else {"authorization": given.encode()}
    with live_client(App(door)) as web:
        answer = web.post(path, json={"item_id": "a"}, headers=headers)
        refused(answer, 401, "The key is missing or wrong: send it as 'Authorization: Bearer KEY'.")
        assert answer.headers["www-authenticate"] == "Bearer"
        right = web.post(path, json={"item_id": "a"}, headers={"authorization": "Bearer " + "k" * 20})
        assert right.status_code != 401
        assert web.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    ("writable", "draining", "status"),
    [(True, False, "ready"), (True, True, "not ready"), (False, False, "not ready"), (False, True, "not ready")],
)
def test_readiness_is_the_truth(writable, draining, status):
    health = readiness(writable=writable, draining=draining)
    assert health.status == status
    assert health.checks == {"model": True, "store": writable, "serving": not draining}


def test_the_probes_follow_the_real_conditions(web, door, store):
    assert web.get("/health/ready").status_code == 200
    store._write.execute(f"PRAGMA max_page_count = {store._write.execute('PRAGMA page_count').get}")
    batch = {"events": [{"user_id": "ann", "item_id": "a" * 500} for _ in range(100)]}
    refused(
        web.post("/v1/events", json=batch),
        503,
        "The event log cannot be written, nothing was stored: is the disk full? Send the events again later.",
    )
    answer = web.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]["store"]) == (503, False)
    assert web.get("/health/live").json() == {"status": "alive", "checks": {}}
    assert web.post("/v1/recommend", json={"user_id": "ann"}).status_code == 200, "questions are answered all the same"
    store._write.execute("PRAGMA max_page_count = 1000000")
    assert web.post("/v1/events", json=batch).status_code == 200
    assert web.get("/health/ready").status_code == 200
    door.draining = True
    assert web.get("/health/ready").json()["checks"]["serving"] is False


def test_a_bug_is_answered_and_logged_without_anybodys_id(web, door, monkeypatch, caplog):
    def bug(self, request):
        raise KeyError(request.user_id)

    monkeypatch.setattr(VariantRouter, "recommend", bug)
    with caplog.at_level(logging.DEBUG):
        answer = web.post("/v1/recommend", json={"user_id": "canary-77"})
    refused(answer, 500, "The server failed to answer; its log says where.")
    assert "/v1/recommend failed with KeyError" in caplog.text
    assert "test_app.py" in caplog.text
    assert "canary-77" not in caplog.text + answer.text


def test_a_slow_body_is_given_up(web, monkeypatch):
    """A client that sends a byte now and then must not hold a request open."""
    shorten_deadlines(monkeypatch, 0.3, "body")

    def trickle():
        for _ in range(100):
            time.sleep(0.05)
            yield b" "

    answer = web.post("/v1/similar", content=trickle(), headers={"content-type": "application/json"})
    refused(answer, 408, "The body did not arrive within 0.3 seconds.")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
FIELDS = sorted({name for kind in (EventIn, RecommendRequest) for name in kind.__struct_fields__} | {"events"})
SENSIBLE = st.sampled_from([["a"], "a", 3, {"item_id": "b", "user_id": "u"}, [{"item_id": "c", "user_id": "u"}], 1.5])
REQUESTS = st.dictionaries(st.sampled_from(FIELDS), SENSIBLE | ANYTHING, max_size=5)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(POST), REQUESTS | ANYTHING)
def test_no_request_makes_the_server_fail(web, path, request):
    """Whatever is sent: an answer, or a refusal in a sentence that the document lists."""
    answer = web.post(path, content=msgspec.json.encode(request), headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 404, 409, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["detail"].endswith((".", ".'", "..."))
    declared = openapi_document(ENDPOINTS)["paths"][path]["post"]["responses"]
    assert str(answer.status_code) in declared


def test_an_acknowledgement_says_what_it_is_worth(web, store):
    event = {"user_id": "ann", "item_id": "c"}
    loose = web.post("/v1/events", json={"events": [event], "durability": "memory"}).json()
    assert (loose["durability"], store.unsynced) == ("memory", True)
    asked = {"user_id": "ann", "k": 1, "event": {"item_id": "e"}}
    answer = web.post("/v1/recommend", json={**asked, "durability": "memory"}).json()
    assert (answer["durability"], answer["items"][0]["id"]) == ("memory", "f"), "seen in this very answer all the same"
    answer = web.post("/v1/recommend", json=asked).json()
    assert (answer["durability"], store.unsynced) == ("fsync", False)
    assert "durability" not in web.post("/v1/recommend", json={"user_id": "ann"}).json()
    wrong = web.post("/v1/recommend", json={**asked, "durability": "hope"})
    refused(wrong, 422, "durability is not valid: invalid enum value 'hope'.")


def test_the_servers_own_class_holds_where_a_request_does_not_say(run, store):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    engine = Engine(model, sessions, writer, EngineConfig(durability="memory"))
    event = {"user_id": "ann", "item_id": "c"}
    with live_client(App(AppState(VariantRouter.from_engine(engine, sessions)))) as web:
        assert web.post("/v1/events", json=event).json()["durability"] == "memory"
        assert web.post("/v1/events", json={"events": [event], "durability": "fsync"}).json()["durability"] == "fsync"
    engine.close()
    writer.close()


def test_whoever_would_wait_too_long_gets_the_last_list_or_a_popular_one(run, store, monkeypatch):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    engine = Engine(model, sessions, writer, EngineConfig(BatchingConfig(timeout_ms=100)))
    lists = engine.scorer._score_single
    with live_client(App(AppState(VariantRouter.from_engine(engine, sessions)))) as web:
        asked = {"user_id": "ann", "k": 3, "event": {"item_id": "e"}}
        before = web.post("/v1/recommend", json=asked).json()
        assert "fallback" not in before
        monkeypatch.setattr(engine.scorer, "_score_single", lambda *given: time.sleep(0.3) or lists(*given))
        # The loop itself answers while answers are quick: from the first slow one on it is the thread.
        assert "fallback" not in web.post("/v1/recommend", json={"user_id": "ann", "k": 3}).json()
        last = web.post("/v1/recommend", json={"user_id": "ann", "k": 3, "exclude": ["g"]}).json()
        assert last["fallback"] == "cached"
        kept = [i["id"] for i in before["items"] if i["id"] != "g"]
        assert [i["id"] for i in last["items"]][: len(kept)] == kept and len(last["items"]) == 3
        assert "e" not in [i["id"] for i in last["items"]]
        popular = web.post("/v1/recommend", json={"history": ["a"], "k": 2, "allow": ["a", "b", "l", "?"]}).json()
        assert (popular["fallback"], [i["id"] for i in popular["items"]]) == ("popular", ["b", "l"])
        assert popular["unknown_items"] == ["?"]
        similar = web.post("/v1/similar", json={"item_id": "a", "k": 1}).json()
        assert (similar["fallback"], [i["id"] for i in similar["items"]]) == ("popular", ["b"])
    engine.close()
    writer.close()


def test_a_busy_door_says_when_to_come_back(web, door):
    door.loop_lag.lag_ms = lambda: 1000.0
    answer = web.post("/v1/recommend", json={})
    refused(answer, 503, "The server is busy: try again in a moment.")


def test_while_too_much_waits_lists_are_refused_unread_and_events_are_taken(web, door, store, monkeypatch):
    """The refusal came after the event had been stored, and cost half of an answer."""
    monkeypatch.setattr(Engine, "busy", property(lambda self: True))
    question = {"user_id": "ann", "event": {"item_id": "a"}}
    for answer in (web.post("/v1/recommend", json=question), web.post("/v1/similar", content=b"no JSON")):
        refused(answer, 503, "The server is busy: try again in a moment.")
        assert answer.headers["retry-after"] == "1"
    assert store.count() == 0
    assert web.post("/v1/events", json={"user_id": "ann", "item_id": "a"}).status_code == 200
    assert web.get("/health/ready").status_code == 200
    assert 'segue_requests_total{operation="/v1/recommend",status="503"} 1.0' in web.get("/metrics").text
    monkeypatch.undo()
    assert web.post("/v1/recommend", json=question).status_code == 200
    assert answer.headers["retry-after"] == "1"
    assert web.get("/health/live").status_code == 200
