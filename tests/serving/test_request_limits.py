"""Requests at their limits: each row of docs/guide/serving-requests.md, sent to a server."""

import re
import time
from pathlib import Path

import pytest

from segue.serving.schemas.requests import EventIn

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guide" / "serving-requests.md"


def recommend(server, status=200, **fields):
    response = server.web.post("/v1/recommend", json={"k": 3, **fields})
    assert response.status_code == status, response.text
    return response.json()


def ids(response):
    return [item["id"] for item in response["items"]]


def store(server, status=200, **fields):
    response = server.web.post("/v1/events", json=fields)
    assert response.status_code == status, response.text
    return response.json()


def test_the_page_names_files_that_exist():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    files = [re.search(r"`([\w/]+\.py)` \|$", row) for row in rows]
    assert len(rows) > 25
    for row, match in zip(rows, files, strict=True):
        assert match is not None and (ROOT / "src/segue/serving" / match[1]).is_file(), row


def test_unknown_items_are_ignored_and_listed(server):
    response = recommend(server, history=["?", "d", "?", "e"], exclude=["!"], allow=["f", "h", "#"])
    assert response["unknown_items"] == ["?", "!", "#"]
    assert set(ids(response)) == {"f", "h"}
    assert ids(recommend(server, history=["?", "d"])) == ids(recommend(server, history=["d"]))
    assert ids(recommend(server, allow=["?"])) == []
    assert server.web.post("/v1/similar", json={"item_id": "?"}).status_code == 404


def test_an_event_with_an_unknown_item_is_stored_and_changes_no_list(server):
    store(server, user_id="ann", item_id="d")
    before = recommend(server, user_id="ann")
    after = recommend(server, user_id="ann", event={"item_id": "?"})
    assert ids(after) == ids(before) and after["unknown_items"] == ["?"]
    assert [event["item_id"] for event in server.web.get("/v1/users/ann").json()["events"]] == ["d", "?"]
    assert recommend(server, history=["d"], event={"item_id": "?", "session_id": "s"})["unknown_items"] == ["?"]


def test_an_empty_history_and_an_unknown_user_get_the_list_of_a_new_user(server):
    new_user = ids(recommend(server))
    assert len(new_user) == 3
    for fields in ({"history": []}, {"user_id": "unknown"}, {"session_id": "unknown"}, {"history": ["?"]}):
        assert ids(recommend(server, **fields)) == new_user
    store(server, user_id="ann", item_id="d")
    assert ids(recommend(server, session_id="ann")) == new_user, "a session with a user's id is another history"


def test_contradictory_histories_are_refused(server):
    recommend(server, 422, user_id="a", history=["a"])
    recommend(server, 422, user_id="a", session_id="a")
    recommend(server, 422, user_id="a", event={"user_id": "b", "item_id": "a"})
    assert server.web.get("/v1/users/b").status_code == 404


def test_sizes_have_limits(server):
    for k in (0, 1001):
        recommend(server, 422, k=k)
    assert len(ids(recommend(server, k=1000))) == 12
    assert len(ids(recommend(server, k=1000, history=["a", "b"], exclude_seen=True))) == 10
    recommend(server, 422, history=["a"] * 10_001)
    recommend(server, 413, history=["a" * 500] * 2_100)
    recommend(server, 422, sort="price")


def test_a_long_stored_history_uses_its_newest_events(server):
    events = [{"user_id": "ann", "item_id": "abcdefghijkl"[n % 12], "timestamp": n} for n in range(205)]
    store(server, events=events)
    history = server.admin.router.deployment.live.sessions.history(("user_id", "ann"))
    assert history == [n % 12 + 1 for n in range(5, 205)]


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 422), ({"user_id": "a", "timestamp": -1}, 422), ({"user_id": "a", "timestamp": "yesterday"}, 422)],
    ids=["no owner", "before 1970", "not ISO 8601"],
)
def test_events_without_owner_or_with_impossible_times_are_refused(server, fields, status):
    store(server, status, item_id="a", **fields)


def test_times_default_to_the_server_and_may_be_five_minutes_ahead(server):
    now = time.time()
    store(server, user_id="ann", item_id="a")
    store(server, user_id="ann", item_id="b", timestamp=now + 240)
    store(server, 422, user_id="ann", item_id="c", timestamp=now + 420)
    store(server, user_id="ann", item_id="d", timestamp=10)
    events = server.web.get("/v1/users/ann").json()["events"]
    assert [event["item_id"] for event in events] == ["d", "a", "b"]
    assert events[1]["time_us"] == pytest.approx(now * 1e6, abs=60e6)
    assert events[2]["time_us"] == round((now + 240) * 1e6)
    assert server.admin.router.deployment.live.sessions.history(("user_id", "ann")) == [4, 1, 2], "in order of time"


def test_a_resent_event_is_a_duplicate_and_another_content_a_conflict(server):
    event = {"user_id": "ann", "item_id": "a", "event_id": "1"}
    assert store(server, **event)["accepted"] == 1
    assert store(server, **event)["duplicates"] == 1
    store(server, 409, events=[{"user_id": "ann", "item_id": "c"}, {**event, "item_id": "b"}])
    assert len(server.web.get("/v1/users/ann").json()["events"]) == 1


def test_filters_and_explanations_need_a_pipeline(server):
    recommend(server, 422, filter="price < 3")
    recommend(server, 422, explain=True)


def test_the_error_of_a_version_is_covered_by_the_previous_one(server, monkeypatch):
    from segue.serving.deployment.deployment import Deployment

    router = server.admin.router
    live = router.deployment.live
    previous = server.admin.reloader._load(live.engine.model)

    async def fail(request):
        raise RuntimeError("broken")

    monkeypatch.setattr(live.engine, "respond", fail)
    router.swap(Deployment(live, previous=previous))
    router.store([EventIn(item_id="d", user_id="ann")])[0].result(10)
    response = recommend(server, user_id="ann", k=1)
    assert (response["variant"], ids(response)) == ("previous", ["e"])
