"""Metrics in the Prometheus text format, and log lines without ids of users."""

import contextlib
import io
import json
import logging

import pytest

from segue.serving.http.auth import Keys
from segue.serving.observability import logs


def scraped(server):
    response = server.web.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_requests_events_and_lists_are_counted(server):
    batch = {"events": [{"user_id": "ann", "item_id": "a", "event_id": str(i % 2)} for i in range(2)]}
    server.web.post("/v1/events", json=batch)
    server.web.post("/v1/events", json=batch)
    server.web.post("/v1/recommend", json={"user_id": "ann"})
    server.web.post("/v1/similar", json={"item_id": "zz"})
    found = scraped(server)
    assert found['segue_events_total{outcome="accepted"}'] == 2
    assert found['segue_events_total{outcome="duplicate"}'] == 2
    assert found['segue_requests_total{operation="/v1/events",status="200"}'] == 2
    assert found['segue_requests_total{operation="/v1/similar",status="404"}'] == 1
    assert found['segue_request_seconds_count{operation="/v1/recommend"}'] == 1
    assert found['segue_recommendations_total{variant="live"}'] == 1
    assert found["segue_store_writable"] == 1 and found["segue_cached_histories"] == 1
    version = server.admin.router.deployment.live.version
    assert found[f'segue_deployed_version{{role="live",version="{version}"}}'] == 1


def test_series_do_not_grow_with_users_items_and_paths(server):
    def everything(name):
        server.web.post("/v1/events", json={"user_id": name, "item_id": name, "event": name, "source": name})
        server.web.post("/v1/recommend", json={"user_id": name, "placement": name})
        server.web.get(f"/v1/users/{name}")
        server.web.get(f"/v1/items/{name}")
        server.web.get(f"/{name}")

    everything("first")
    scraped(server)
    before = scraped(server).keys()
    for i in range(30):
        everything(f"canary-{i}")
    assert scraped(server).keys() == before
    assert len(before) < 300
    assert not any("canary" in name or "first" in name for name in before)


def test_metrics_need_the_admin_key(server):
    server.state.keys = Keys({"SEGUE_SERVE_KEY": "serve-serve-serve", "SEGUE_ADMIN_KEY": "admin-admin-admin"})
    messages = {key: server.web.get("/metrics", headers={"authorization": f"Bearer {key}"}).status_code
            for key in ("serve-serve-serve", "admin-admin-admin", "x")}  # fmt: skip
    assert list(messages.values()) == [403, 200, 401]
    assert server.web.get("/health/ready").status_code == 200


@pytest.fixture
def lines():
    stream = io.StringIO()
    logs.configure_logging(as_json=True, requests=True, stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger = logging.getLogger("segue.serving")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    logging.getLogger("segue.serving.requests").setLevel(logging.NOTSET)
    logging.raiseExceptions = True


def test_a_line_for_each_request_and_no_id_in_any(server, lines, monkeypatch):
    server.web.post("/v1/events", json={"user_id": "canary-7", "item_id": "canary-7"})
    server.web.post("/v1/recommend", json={"user_id": "canary-7", "session_id": "canary-7"})
    server.web.get("/v1/users/canary-7")
    server.web.delete("/v1/users/canary-7")
    monkeypatch.setattr(type(server.admin), "user_events", lambda self, name: 1 / 0)
    server.web.get("/v1/users/canary-7")
    found = lines()
    answered = [one for one in found if one["message"] == "Answered."]
    assert [(one["operation"], one["status"]) for one in answered] == [
        ("/v1/events", 200), ("/v1/recommend", 422), ("/v1/users/{id}", 200), ("/v1/users/{id}", 200),
        ("/v1/users/{id}", 500),
    ]  # fmt: skip
    assert answered[0].keys() == {"time", "level", "logger", "message", "operation", "status", "took_ms"}
    assert "canary" not in json.dumps(found)
    assert any("ZeroDivisionError" in one["message"] for one in found)


def test_a_field_outside_the_list_cannot_be_logged(lines):
    with pytest.raises(AssertionError, match="may not be logged"):
        logs.log_event(logging.getLogger("segue.serving"), logging.INFO, "Hello.", user_id="ann")


def test_a_log_that_cannot_be_written_fails_no_request(server, lines):
    with open("/dev/full", "w") as full:
        logs.configure_logging(as_json=False, requests=True, stream=full)
        assert server.web.post("/v1/similar", json={"item_id": "a"}).status_code == 200
        logs.configure_logging(as_json=True, stream=io.StringIO())
        with contextlib.suppress(OSError):
            full.close()
