"""Attribution of clicks and purchases to recommended lists, and the report."""

import os
import random

import apsw
import pytest

from segue.serving.config import AttributionConfig
from segue.serving.deployment.deployment import Deployment
from segue.serving.experiments import attribution, attribution_file
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.experiments.attribution_file import files_set_aside, set_aside
from segue.serving.experiments.report import build_report
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import Recommendation, RecommendResponse
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.file_digest import matches_digest, remove_digest


@pytest.fixture
def report(server):
    def read():
        server.admin.router.recorder.flush()
        return server.web.get("/v1/admin/report").json()

    return read


def recommend(server, **fields):
    response = server.web.post("/v1/recommend", json=fields)
    assert response.status_code == 200, response.text
    return response.json()


def act(server, user, item, event="view", **fields):
    sent = {"user_id": user, "item_id": item, "event": event, **fields}
    assert server.web.post("/v1/events", json=sent).status_code == 200


def test_clicks_and_purchases_are_attributed_to_the_list_they_name(server, report):
    first = recommend(server, user_id="ann", k=3, placement="home")
    recommend(server, user_id="ann", k=3, placement="home")
    recommend(server, user_id="bob", k=3, placement="basket")
    chosen = first["items"][1]["id"]
    for _ in range(3):
        act(server, "ann", chosen, recommendation_id=first["recommendation_id"])
    act(server, "ann", chosen, "purchase", value=9.5)
    found = {one["placement"]: one for one in report()["cells"]}
    assert (found["home"]["lists"], found["home"]["clicked"], found["home"]["purchases"]) == (2, 1, 1)
    assert found["home"]["value"] == 9.5
    assert found["home"]["ctr"]["value"] == 0.5
    assert (found["basket"]["lists"], found["basket"]["clicked"], found["basket"]["purchases"]) == (1, 0, 0)


def test_events_unrelated_to_a_list_are_not_attributed(server, report):
    response = recommend(server, user_id="ann", k=2, exclude=["a"])
    act(server, "ann", "a", recommendation_id=response["recommendation_id"])  # was not in it
    act(server, "ann", response["items"][0]["id"])  # names no list
    act(server, "ann", response["items"][0]["id"], recommendation_id="no such list")
    act(server, "ann", response["items"][0]["id"], "purchase")  # without a click before
    act(server, "ann", response["items"][0]["id"], "rating", recommendation_id=response["recommendation_id"])
    (cell,) = report()["cells"]
    assert (cell["lists"], cell["clicked"], cell["purchases"]) == (1, 0, 0)


def test_a_purchase_is_attributed_to_the_users_last_click_within_the_window(server, report):
    lists = [recommend(server, user_id="ann", k=2, placement=place) for place in ("one", "two")]
    item = lists[0]["items"][0]["id"]
    for response, time_s in zip(lists, (1_000_000, 1_000_100), strict=True):
        act(server, "ann", item, recommendation_id=response["recommendation_id"], timestamp=time_s)
    act(server, "bob", item, "purchase", timestamp=1_000_200)
    act(server, "ann", item, "purchase", timestamp=1_000_000 + 2 * 86_400)
    assert [one["purchases"] for one in report()["cells"]] == [0, 0]
    act(server, "ann", item, "purchase", timestamp=1_000_200)
    assert {one["placement"]: one["purchases"] for one in report()["cells"]} == {"one": 0, "two": 1}


def test_attribution_survives_a_restart(tmp_path, run, open_server):
    with open_server(tmp_path / "data", run) as server:
        response = recommend(server, user_id="ann", k=2)
    with open_server(tmp_path / "data", run) as server:
        act(server, "ann", response["items"][0]["id"], recommendation_id=response["recommendation_id"])
        server.admin.router.recorder.flush()
        assert build_report(tmp_path / "data" / "attribution.sqlite").cells[0].clicked == 1


def test_a_better_canary_wins_the_experiment(server, report, save, ring, tmp_path):
    """Users prefer the next item of the ring; the canary is trained on the order, the live version has not."""
    popularity = ServedModel.open(save(tmp_path / "pop", "popularity", ring))
    load = server.admin.reloader._load
    router = server.admin.router
    live, canary = load(popularity), router.deployment.live
    router.swap(Deployment(live, canary, canary_share=0.3, interleave_share=0.4))
    rng = random.Random(4)
    for i in range(240):
        start = rng.randrange(12)
        response = recommend(server, user_id=f"p{i}", k=4, event={"item_id": "abcdefghijkl"[start]})
        liked = "abcdefghijkl"[(start + 1) % 12]
        for item in response["items"]:
            if rng.random() < (0.9 if item["id"] == liked else 0.05):
                act(server, f"p{i}", item["id"], recommendation_id=response["recommendation_id"])
    (found,) = report()["experiments"]
    assert found["name"] == f"{live.version}/{canary.version}/0.3/0.4"
    assert sum(found["users"].values()) == 240
    assert found["sample_ratio_ok"] and found["sample_ratio_p"] > 0.001
    assert found["ctr_difference"]["low"] > 0
    assert found["preferred"]["canary"] > found["preferred"]["live"]
    assert found["preference"]["low"] > 0.5 and found["preference_p"] < 0.01


def test_a_split_that_lost_users_is_reported_as_broken(server, report):
    router = server.admin.router
    one = router.deployment.live
    router.swap(Deployment(one, one, canary_share=0.5))
    kept = 0
    for i in range(150):
        if router.deployment.variant_for(f"user_id:p{i}") == "live" or i % 4 == 0:
            recommend(server, user_id=f"p{i}", k=1)
            kept += 1
    (found,) = report()["experiments"]
    assert not found["sample_ratio_ok"] and sum(found["users"].values()) == kept


def test_the_oldest_lists_are_removed(server, tmp_path):
    recorder = AttributionRecorder(tmp_path / "m.sqlite", lambda kind, name: name, AttributionConfig(max_lists=100))
    response = server.web.post("/v1/recommend", json={"k": 1})

    class Shown:
        model_version, variant, propensity, items = "v", "live", 1.0, []

    for i in range(350):
        Shown.recommendation_id = f"{i}"
        recorder.record_impression(Shown, None, None, None)
        if i % 10 == 9:
            recorder.flush()
    recorder.flush()
    kept = recorder._database.execute("SELECT min(id), count(*) FROM impressions").fetchone()
    assert kept[1] <= 110 and kept[0] >= 240
    recorder.close()
    assert response.status_code == 200


def test_events_over_the_queue_size_are_dropped_and_counted(tmp_path, event):
    recorder = AttributionRecorder(tmp_path / "m.sqlite", lambda kind, name: name, AttributionConfig(queue_size=5))
    with recorder._writing:
        recorder.record_events([StoredEventRow(i, event("a", event="purchase")) for i in range(9)])
    assert recorder.dropped >= 3
    recorder.close()


@pytest.mark.parametrize("fields", [{"max_lists": 0}, {"queue_size": 0}, {"window_s": 0.0}])
def test_attribution_settings_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match=f"{next(iter(fields))} must be (at least 1|above 0), got 0"):
        AttributionConfig(**fields)


def test_a_missing_attribution_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as recorded lists"):
        build_report(tmp_path / "nothing.sqlite")


def test_a_restart_keeps_the_lists_and_compares_the_digest_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "m.sqlite"
    AttributionRecorder(path, digest).close()
    assert matches_digest(path) is True
    recorder = AttributionRecorder(path, digest)
    record(recorder, "one")
    assert matches_digest(path) is True, "the new list is in the write-ahead log"
    monkeypatch.setattr(attribution_file, "MIN_LOG_BYTES", 1)
    record(recorder, "three")
    assert (tmp_path / "m.sqlite-wal").stat().st_size == 0 and matches_digest(path) is True
    recorder.close()
    recorder = AttributionRecorder(path, digest)
    record(recorder, "two")
    assert build_report(path).cells[0].lists == 3
    recorder.close()
    assert files_set_aside(path) == [] and recorder.notices == []


def digest(kind, name):
    return f"{kind}-{name}"


def record(recorder, list_id, key=("user_id", "ann"), flush=True):
    response = RecommendResponse(list_id, "v", [Recommendation("a", 1.0)], [], 0.1)
    recorder.record_impression(response, None, key, None)
    if flush:
        recorder.flush()


def damage_a_page(path):
    raw = bytearray(path.read_bytes())
    raw[4096:] = bytes(b ^ 0xFF for b in raw[4096:])
    path.write_bytes(raw)


def flip_a_value(path):
    """Change one letter of a recorded list: SQLite itself notices nothing."""
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"keep-me", b"keep-ne"))


def as_directory(path):
    path.unlink()
    path.mkdir()
    (path / "something").write_text("of somebody")


def newer_format(path):
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    remove_digest(path)


def other_tables(path):
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE impressions (x); PRAGMA user_version = 1")
    connection.close()
    remove_digest(path)


@pytest.mark.parametrize("was_killed", [False, True])
@pytest.mark.parametrize(
    "harm",
    [
        damage_a_page,
        as_directory,
        newer_format,
        other_tables,
        lambda path: path.write_bytes(b"a page of somebody else" * 500),
        lambda path: os.truncate(path, path.stat().st_size - 5000),
        lambda path: os.truncate(path, 100),
    ],
)
def test_an_unusable_file_is_set_aside_and_recording_begins_anew(tmp_path, harm, was_killed, caplog):
    path = tmp_path / "m.sqlite"
    recorder = AttributionRecorder(path, digest)
    for i in range(30):
        record(recorder, f"keep-me-{i}", ("user_id", f"user-{i}"))
    recorder.close()
    if was_killed:
        remove_digest(path)
    harm(path)
    again = AttributionRecorder(path, digest)
    record(again, "new")
    assert again.recording and again.dropped == 0
    assert build_report(path).cells[0].lists == 1
    (kept,) = files_set_aside(path)
    assert again.forget([("user_id", "ann")]) == 1
    assert files_set_aside(path) == [], "rows of an erased user may be in it"
    again.close()
    assert matches_digest(path) is True
    assert kept.name.startswith("m.sqlite.unusable-")


def test_a_single_changed_letter_at_rest_is_noticed(tmp_path):
    path = tmp_path / "m.sqlite"
    recorder = AttributionRecorder(path, digest)
    record(recorder, "keep-me")
    recorder.close()
    flip_a_value(path)
    again = AttributionRecorder(path, digest)
    again.flush()
    assert len(files_set_aside(path)) == 1
    assert build_report(path).cells == []
    again.close()


def test_damage_while_running_is_set_aside_too(tmp_path):
    path = tmp_path / "m.sqlite"
    recorder = AttributionRecorder(path, digest)
    for i in range(300):
        record(recorder, f"{i}-{'x' * 500}")
    with recorder._writing:
        recorder._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        damage_a_page(path)
        recorder._database.execute("PRAGMA cache_size = 1; PRAGMA shrink_memory").fetchall()
    for i in range(400):
        record(recorder, f"after-{i}")
        if files_set_aside(path):
            break
    record(recorder, "new")
    assert len(files_set_aside(path)) == 1 and recorder.recording
    assert recorder._thread.is_alive()
    assert build_report(path).cells[0].lists >= 1
    recorder.close()


def test_a_locked_file_pauses_the_recording_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(attribution, "_REOPEN_S", 0.0)
    path = tmp_path / "m.sqlite"
    recorder = AttributionRecorder(path, digest)
    record(recorder, "one")
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    recorder._database.set_busy_timeout(10)
    record(recorder, "two")
    assert not recorder.recording and recorder.dropped == 1
    with pytest.raises(Problem, match="cannot be written, and still holds rows"):
        recorder.forget([("user_id", "ann")])
    other.execute("ROLLBACK")
    record(recorder, "three")
    assert recorder.recording and files_set_aside(path) == []
    assert build_report(path).cells[0].lists == 2
    recorder.close()
    other.close()


def test_a_folder_that_permits_nothing_only_stops_the_recording(tmp_path, monkeypatch):
    path = tmp_path / "gone" / "m.sqlite"
    recorder = AttributionRecorder(path, digest)
    record(recorder, "one")
    assert not recorder.recording and recorder._thread.is_alive()
    recorder.close()


@pytest.mark.parametrize("value", [5, None, {"a": 1}, ["x"], True])
def test_a_context_with_an_odd_recommendation_id_ends_nothing(tmp_path, event, value):
    recorder = AttributionRecorder(tmp_path / "m.sqlite", digest)
    odd = event("a", context={"recommendation_id": value})
    recorder.record_events([StoredEventRow(1, odd)])
    record(recorder, "one")
    assert recorder.recording and recorder.dropped == 0 and files_set_aside(recorder.path) == []
    recorder.close()


def test_forgotten_rows_leave_no_byte(tmp_path):
    path = tmp_path / "m.sqlite"
    recorder = AttributionRecorder(path, digest)
    record(recorder, "canary-list", ("user_id", "canary-user"))
    for i in range(20):
        record(recorder, f"other-{i}", ("user_id", "bob"))
    recorder.forget([("user_id", "canary-user")])
    for file in tmp_path.iterdir():
        assert b"canary" not in file.read_bytes(), file
    recorder.close()


def test_old_unusable_files_are_deleted(tmp_path):
    path = tmp_path / "m.sqlite"
    for i in range(6):
        path.write_text(f"{i}")
        set_aside(path)
    assert [file.read_text() for file in files_set_aside(path)] == ["3", "4", "5"]


def test_an_erasure_does_not_wait_for_the_lists_of_others_in_the_queue(tmp_path, monkeypatch):
    recorder = AttributionRecorder(tmp_path / "m.sqlite", digest)
    recorder.flush()
    with monkeypatch.context() as paused:
        paused.setattr(recorder, "_write_some", lambda: False)
        for number in range(1_000):
            record(recorder, f"list-{number}", key=("user_id", f"u{number % 10}"), flush=False)
        assert recorder.count_rows([["user_id-u3", "user_id-u4"], ["user_id-u33"]]) == [200, 0]
        assert recorder.forget([("user_id", "u3")]) == 100
        assert len(recorder._queue) == 1_000, "nothing was written"
    recorder.flush()
    assert recorder.count_rows([["user_id-u3"], ["user_id-u4"]]) == [0, 100]
    recorder.close()
    assert b"user_id-u3" not in (tmp_path / "m.sqlite").read_bytes()


def test_a_file_without_a_digest_since_an_erasure_opens_after_a_crash(tmp_path):
    recorder = AttributionRecorder(tmp_path / "m.sqlite", digest)
    record(recorder, "one")
    assert recorder.forget([("user_id", "ann")]) == 1
    assert matches_digest(tmp_path / "m.sqlite") is None
    again = AttributionRecorder(tmp_path / "m.sqlite", digest)
    record(again, "two")
    assert again.count_rows([["user_id-ann"]]) == [1] and again.notices == []
    again.close()
    recorder.close()


def test_chinese_purchases_count_and_cancellations_do_not(server, report):
    first = recommend(server, user_id="ann", k=3, placement="home")
    chosen, other = (item["id"] for item in first["items"][:2])
    act(server, "ann", chosen, "点击", recommendation_id=first["recommendation_id"])
    for event in ("取消订单", "退款", "refund", "未支付"):
        act(server, "ann", chosen, event, value=5.0)
        act(server, "ann", other, event, recommendation_id=first["recommendation_id"])
    cell = report()["cells"][0]
    assert (cell["clicked"], cell["purchases"], cell["value"]) == (1, 0, 0)
    act(server, "ann", chosen, "支付", value=7.5)
    cell = report()["cells"][0]
    assert (cell["clicked"], cell["purchases"], cell["value"]) == (1, 1, 7.5)


def test_purchases_are_a_setting():
    from segue.cli.commands.serve import ServerOptions

    config = ServerOptions(purchase_event=["checkout done", "买单"]).config().attribution
    assert config.purchase_events == ("checkout done", "买单")
    assert "购买" in ServerOptions().config().attribution.purchase_events
