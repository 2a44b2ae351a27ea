"""Attribution of clicks and purchases to recommended lists, and the report."""

import random

import pytest

from segue.serving.config import AttributionConfig
from segue.serving.deployment.deployment import Deployment
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.experiments.report import build_report
from segue.serving.inference.served_model import ServedModel


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
    from segue.serving.store.event_reader import StoredEventRow

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
