"""Erasure of a user: no byte is left, no event comes back, and the next model is trained without the user."""

import threading

import apsw
import numpy as np
import polars as pl
import pytest

from segue.data.erasure_list import ErasureList
from segue.data.readers.events import read_events
from segue.models.counting.markov import Markov, MarkovConfig
from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.inference.engine import Engine
from segue.serving.schemas.requests import EventIn
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event import validate_event

CANARY = "canary-person-0451"


def fill(server, users=40):
    """Store events of many users, and of one with a session that began before the user was known."""
    for i in range(users):
        events = [{"user_id": f"p{i}", "item_id": "abcdefghijkl"[(i + j) % 12]} for j in range(5)]
        assert server.web.post("/v1/events", json={"events": events}).status_code == 200
        if i % 8 == 0:
            send(server, session_id=f"{CANARY}-s", item_id="a")
            send(server, session_id=f"{CANARY}-s", user_id=CANARY, item_id="b", context={"mail": f"{CANARY}@shop"})
            server.web.post("/v1/recommend", json={"user_id": CANARY, "event": {"item_id": "e"}, "placement": "home"})
            server.web.post("/v1/recommend", json={"session_id": f"{CANARY}-s"})
    server.admin.router.recorder.flush()


def send(server, **event):
    response = server.web.post("/v1/events", json=event)
    assert response.status_code == 200, response.text
    return response.json()


def test_every_stored_event_of_a_user_is_returned(server):
    send(server, user_id="ann", item_id="c", event_id="1", timestamp=5, value=2.5, context={"device": "phone"})
    send(server, user_id="ann", item_id="a", event_id="2", timestamp=4)
    response = server.web.get("/v1/users/ann").json()
    assert [one["event_id"] for one in response["events"]] == ["2", "1"]
    assert response["events"][1]["context"] == {"device": "phone"}
    unknown_user = server.web.get("/v1/users/bob")
    assert (unknown_user.status_code, unknown_user.json()["detail"]) == (404, "No event of that user is stored.")
    assert server.web.get("/v1/users/a%2Fb%20c").status_code == 404
    assert server.web.get("/v1/users/a%00b").status_code == 422


def test_an_erasure_leaves_no_byte(server):
    fill(server)
    assert "events.sqlite-wal" in server.bytes_with(CANARY) or "events.sqlite" in server.bytes_with(CANARY)
    receipt = server.web.delete(f"/v1/users/{CANARY}").json()
    assert server.bytes_with(CANARY) == []
    assert (receipt["events"], receipt["sessions"], receipt["compacted"]) == (15, 1, True)
    assert receipt["attribution_rows"] == 10
    assert receipt["affected_versions"] == [server.admin.router.deployment.live.version]
    assert len(receipt["proof"]) == 64
    assert CANARY not in str(receipt)
    assert server.web.get(f"/v1/users/{CANARY}").status_code == 404
    assert len(server.web.get("/v1/users/p3").json()["events"]) == 5, "others keep theirs"
    new_user = server.web.post("/v1/recommend", json={"k": 12}).json()["items"]
    for who in ({"user_id": CANARY}, {"session_id": f"{CANARY}-s"}):
        assert server.web.post("/v1/recommend", json={**who, "k": 12}).json()["items"] == new_user
    server.admin.router.recorder.flush()
    assert server.bytes_with(CANARY) == [], "asking again leaves nothing either"


def test_events_of_another_user_in_a_shared_session_stay(server):
    send(server, session_id="s", user_id="ann", item_id="a")
    send(server, session_id="s", user_id="bob", item_id="b")
    assert server.web.delete("/v1/users/ann").json()["events"] == 1
    assert [one["item_id"] for one in server.web.get("/v1/users/bob").json()["events"]] == ["b"]


def test_resent_events_do_not_restore_an_erased_user(server):
    old = {"user_id": CANARY, "item_id": "c", "event_id": "1", "timestamp": 1_000}
    send(server, **old)
    server.web.delete(f"/v1/users/{CANARY}")
    response = server.web.post(
        "/v1/events", json={"events": [old, {"user_id": "bob", "item_id": "a", "event_id": "2"}]}
    )
    assert (response.json()["accepted"], response.json()["event_ids"]) == (1, ["1", "2"])
    assert server.web.get(f"/v1/users/{CANARY}").status_code == 404
    assert send(server, user_id=CANARY, item_id="d")["accepted"] == 1, "somebody who comes back is a new customer"
    assert len(server.web.get(f"/v1/users/{CANARY}").json()["events"]) == 1


def test_a_restored_backup_does_not_restore_an_erased_user(tmp_path, run, open_server):
    with open_server(tmp_path / "data", run) as server:
        fill(server, 9)
    backup = (tmp_path / "data" / "events.sqlite").read_bytes()
    with open_server(tmp_path / "data", run) as server:
        server.web.delete(f"/v1/users/{CANARY}")
    (tmp_path / "data" / "events.sqlite").write_bytes(backup)
    with open_server(tmp_path / "data", run) as server:
        assert server.messages == [
            f"1 erased users or sessions were in {tmp_path / 'data' / 'events.sqlite'} again, and were erased from it."
        ]
        assert server.web.get(f"/v1/users/{CANARY}").status_code == 404
        assert server.bytes_with(CANARY) == []


def test_reading_and_erasing_need_different_keys(server):
    from segue.serving.http.auth import Keys

    server.state.keys = Keys({"SEGUE_ADMIN_KEY": "admin-admin-admin", "SEGUE_ERASE_KEY": "erase-erase-erase"})
    responses = {
        (name, method): server.web.request(
            method, "/v1/users/x", headers={"authorization": f"Bearer {name}"}
        ).status_code
        for name in ("admin-admin-admin", "erase-erase-erase", "nobody")
        for method in ("GET", "DELETE")
    }
    assert list(responses.values()) == [404, 403, 403, 200, 401, 401]


@pytest.fixture
def log():
    rows = [(user, item, 1_000_000 * t) for t, (user, item) in enumerate(["aA", "bA", "aB", "bB", "cC", "aC"])]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return read_events(frame.with_columns(pl.from_epoch("timestamp", "us")))


def test_the_next_model_equals_one_without_the_erased_user(log, tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "a")], 10**12)
    kept = ErasureList.read(tmp_path).filter_log(log)
    never = log.with_frame(log.frame.filter(pl.col("user_id") != "a"))
    assert kept.frame.equals(never.frame)
    models = []
    for one in (kept, never):
        catalog = one.catalog()
        models.append(Markov.fit(one.sequences(catalog)[0], catalog.size, MarkovConfig()).arrays())
    assert models[0].keys() == models[1].keys()
    for name in models[0]:
        assert np.array_equal(models[0][name], models[1][name])


def test_events_after_the_erasure_are_trained_on(log, tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "a")], 2_000_000)
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["A", "B", "C", "C"]
    assert erasures.covers("a", None, 2_000_000) and not erasures.covers("a", None, 2_000_001)
    assert not erasures.covers("b", None, 0) and not erasures.covers(None, "a", 0)
    assert not erasures.covers("b", "a", 0)


def test_the_erasure_list_contains_no_ids(tmp_path):
    ErasureList.open(tmp_path).add([("user_id", CANARY)], 5)
    assert CANARY not in (tmp_path / "erasures.json").read_text() + (tmp_path / "erasures.key").read_text()
    other = ErasureList.open(tmp_path / "other")
    assert other.digest("user_id", CANARY) != ErasureList.read(tmp_path).digest("user_id", CANARY)
    assert (tmp_path / "erasures.key").stat().st_mode & 0o77 == 0


def test_a_missing_and_a_damaged_erasure_list_are_refused(tmp_path):
    with pytest.raises(ValueError) as error:
        ErasureList.read(tmp_path)
    assert str(error.value) == f"{tmp_path} has no list of erased users: name a server's data directory."
    ErasureList.open(tmp_path)
    (tmp_path / "erasures.json").write_text('{"a": "b"}')
    with pytest.raises(ValueError) as error:
        ErasureList.read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'erasures.json'} is damaged: restore it from a backup, or erased users come back."
    )


def test_an_erasure_among_commits_loses_no_other_event(server):
    """Erasures take turns with commits in the one writing thread."""

    def write(name):
        for i in range(60):
            server.admin.router.store([EventIn(item_id="a", user_id=name, event_id=f"{name}-{i}")])[0].result(20)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("p", "q")]
    for thread in threads:
        thread.start()
    for i in range(5):
        server.admin.router.store([EventIn(item_id="b", user_id=f"gone{i}")])[0].result(20)
        assert server.admin.erase(f"gone{i}").events == 1
    for thread in threads:
        thread.join()
    assert all(len(server.admin.user_events(name).events) == 60 for name in ("p", "q"))


def test_events_of_a_returned_user_stay(tmp_path, run, open_server):
    with open_server(tmp_path / "data", run) as server:
        send(server, user_id="ann", item_id="a")
        server.web.delete("/v1/users/ann")
        send(server, user_id="ann", item_id="b")
    with open_server(tmp_path / "data", run) as server:
        assert server.messages == []
        assert [one["item_id"] for one in server.web.get("/v1/users/ann").json()["events"]] == ["b"]
        server.admin.store.append([[validate_event(EventIn(item_id="c", user_id="ann", timestamp=5), 10**15)]])
    with open_server(tmp_path / "data", run) as server:
        assert server.messages != []
        assert [one["item_id"] for one in server.web.get("/v1/users/ann").json()["events"]] == ["b"]


class Swapper:
    """Threads that swap deployments of one model and request lists of the canary, until the block ends."""

    def __init__(self, server):
        self.server, self.models, self.ended = server, [server.admin.router.deployment.live], threading.Event()
        self.threads = [threading.Thread(target=work) for work in (self.swap, self.recommend, self.recommend)]

    def swap(self):
        admin, model = self.server.admin, self.models[0].engine.model
        while not self.ended.is_set():
            sessions = SessionCache(admin.store, model.catalog)
            new = LoadedModel(Engine(model, sessions, admin.writer), sessions)
            self.models = [*self.models[-2:], new]
            admin.router.swap(Deployment(new, previous=self.models[-2]))

    def recommend(self):
        while not self.ended.is_set():
            assert self.server.web.post("/v1/recommend", json={"user_id": CANARY}).status_code == 200

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.ended.set()
        for thread in self.threads:
            thread.join(20)


def test_an_erasure_beside_swaps_leaves_no_history_in_any_version(server):
    """Neither in the deployed versions nor in one that was just retired, with requests under way in all."""
    with Swapper(server) as swapper:
        for _ in range(5):
            send(server, user_id=CANARY, session_id=f"{CANARY}-s", item_id="c")
            assert server.web.delete(f"/v1/users/{CANARY}").status_code == 200
    for model in swapper.models:
        assert not {("user_id", CANARY), ("session_id", f"{CANARY}-s")} & set(model.sessions._histories)
    new_user = server.web.post("/v1/recommend", json={}).json()["items"]
    assert server.web.post("/v1/recommend", json={"user_id": CANARY}).json()["items"] == new_user
    server.admin.router.recorder.flush()
    assert server.bytes_with(CANARY) == []


def test_an_erasure_over_http_is_refused_with_503_and_never_500(server, monkeypatch):
    """A damaged list, a list that cannot be written, and an attribution file that cannot."""
    send(server, user_id=CANARY, item_id="c")
    path = server.folder / "erasures.json"
    for content in (b"{", b"[]"):
        path.write_bytes(content)
        refused = server.web.delete(f"/v1/users/{CANARY}")
        assert refused.status_code == 503 and "is damaged: restore it from a backup" in refused.json()["detail"]
    path.unlink()
    (server.folder / "erasures.json.writing").mkdir()
    refused = server.web.delete(f"/v1/users/{CANARY}")
    assert refused.status_code == 503 and "the erasure list: Is a directory" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "1"
    (server.folder / "erasures.json.writing").rmdir()
    lock = apsw.Connection(str(server.folder / "attribution.sqlite"))
    lock.execute("BEGIN IMMEDIATE")
    refused = server.web.delete(f"/v1/users/{CANARY}")
    assert refused.status_code == 503 and "still holds rows" in refused.json()["detail"]
    assert server.web.get(f"/v1/users/{CANARY}").status_code == 404, "deleted, without a receipt"
    lock.execute("ROLLBACK")
    lock.close()
    assert server.web.delete(f"/v1/users/{CANARY}").json()["events"] == 1
    assert server.bytes_with(CANARY) == []
