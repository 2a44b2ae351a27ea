"""Lists that were shown, what followed, and the report of it."""

import random

import pytest

from segue.serving.deployment.variant_router import Deployment
from segue.serving.experiments.attribution import AttributionConfig, AttributionRecorder
from segue.serving.inference.served_model import ServedModel


@pytest.fixture
def report(shop):
    def read():
        shop.office.fleet.recorder.flush()
        return shop.web.get("/v1/admin/report").json()

    return read


def ask(shop, **fields):
    answer = shop.web.post("/v1/recommend", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def act(shop, user, item, event="view", **fields):
    sent = {"user_id": user, "item_id": item, "event": event, **fields}
    assert shop.web.post("/v1/events", json=sent).status_code == 200


def test_clicks_and_purchases_count_for_the_list_they_name(shop, report):
    first = ask(shop, user_id="ann", k=3, placement="home")
    ask(shop, user_id="ann", k=3, placement="home")
    ask(shop, user_id="bob", k=3, placement="basket")
    chosen = first["items"][1]["id"]
    for _ in range(3):
        act(shop, "ann", chosen, recommendation_id=first["recommendation_id"])
    act(shop, "ann", chosen, "purchase", value=9.5)
    found = {one["placement"]: one for one in report()["cells"]}
    assert (found["home"]["lists"], found["home"]["clicked"], found["home"]["purchases"]) == (2, 1, 1)
    assert found["home"]["value"] == 9.5
    assert found["home"]["ctr"]["value"] == 0.5
    assert (found["basket"]["lists"], found["basket"]["clicked"], found["basket"]["purchases"]) == (1, 0, 0)


def test_what_has_nothing_to_do_with_a_list_does_not_count(shop, report):
    answer = ask(shop, user_id="ann", k=2, exclude=["a"])
    act(shop, "ann", "a", recommendation_id=answer["recommendation_id"])  # was not in it
    act(shop, "ann", answer["items"][0]["id"])  # names no list
    act(shop, "ann", answer["items"][0]["id"], recommendation_id="no such list")
    act(shop, "ann", answer["items"][0]["id"], "purchase")  # without a click before
    act(shop, "ann", answer["items"][0]["id"], "rating", recommendation_id=answer["recommendation_id"])
    (cell,) = report()["cells"]
    assert (cell["lists"], cell["clicked"], cell["purchases"]) == (1, 0, 0)


def test_a_purchase_counts_for_the_last_click_of_the_same_person_within_the_window(shop, report):
    lists = [ask(shop, user_id="ann", k=2, placement=place) for place in ("one", "two")]
    item = lists[0]["items"][0]["id"]
    for answer, time_s in zip(lists, (1_000_000, 1_000_100), strict=True):
        act(shop, "ann", item, recommendation_id=answer["recommendation_id"], timestamp=time_s)
    act(shop, "bob", item, "purchase", timestamp=1_000_200)
    act(shop, "ann", item, "purchase", timestamp=1_000_000 + 2 * 86_400)
    assert [one["purchases"] for one in report()["cells"]] == [0, 0]
    act(shop, "ann", item, "purchase", timestamp=1_000_200)
    assert {one["placement"]: one["purchases"] for one in report()["cells"]} == {"one": 0, "two": 1}


def test_measurements_survive_a_restart(tmp_path, run, open_shop):
    with open_shop(tmp_path / "data", run) as shop:
        answer = ask(shop, user_id="ann", k=2)
    with open_shop(tmp_path / "data", run) as shop:
        act(shop, "ann", answer["items"][0]["id"], recommendation_id=answer["recommendation_id"])
        shop.office.fleet.recorder.flush()
        assert report.report(tmp_path / "data" / "measurements.sqlite").cells[0].clicked == 1


def test_an_experiment_that_is_won_is_seen_to_be_won(shop, report, save, ring, tmp_path):
    """People like what follows on the ring; the canary is a model that knows, the live one does not."""
    popularity = ServedModel.open(save(tmp_path / "pop", "popularity", ring))
    member = shop.office.watch._member
    fleet = shop.office.fleet
    live, canary = member(popularity), fleet.lineup.live
    fleet.swap(Deployment(live, canary, canary_share=0.3, interleave_share=0.4))
    rng = random.Random(4)
    for i in range(240):
        start = rng.randrange(12)
        answer = ask(shop, user_id=f"p{i}", k=4, event={"item_id": "abcdefghijkl"[start]})
        liked = "abcdefghijkl"[(start + 1) % 12]
        for item in answer["items"]:
            if rng.random() < (0.9 if item["id"] == liked else 0.05):
                act(shop, f"p{i}", item["id"], recommendation_id=answer["recommendation_id"])
    (found,) = report()["experiments"]
    assert found["name"] == f"{live.version}/{canary.version}/0.3/0.4"
    assert sum(found["people"].values()) == 240
    assert found["sound"] and found["sample_ratio_p"] > 0.001
    assert found["ctr_difference"]["low"] > 0
    assert found["preferred"]["canary"] > found["preferred"]["live"]
    assert found["preference"]["low"] > 0.5 and found["preference_p"] < 0.01


def test_a_split_that_lost_people_is_called_broken(shop, report):
    fleet = shop.office.fleet
    one = fleet.lineup.live
    fleet.swap(Deployment(one, one, canary_share=0.5))
    kept = 0
    for i in range(150):
        if fleet.lineup.variant(f"user_id:p{i}") == "live" or i % 4 == 0:
            ask(shop, user_id=f"p{i}", k=1)
            kept += 1
    (found,) = report()["experiments"]
    assert not found["sound"] and sum(found["people"].values()) == kept


def test_the_oldest_lists_make_room(shop, tmp_path):
    recorder = AttributionRecorder(tmp_path / "m.sqlite", lambda kind, name: name, AttributionConfig(max_lists=100))
    answer = shop.web.post("/v1/recommend", json={"k": 1})

    class Shown:
        model_version, variant, propensity, items = "v", "live", 1.0, []

    for i in range(350):
        Shown.recommendation_id = f"{i}"
        recorder.record_impression(Shown, None, None, None)
        if i % 10 == 9:
            recorder.flush()
    recorder.flush()
    kept = recorder._database.execute("SELECT min(id), count(*) FROM shown").fetchone()
    assert kept[1] <= 110 and kept[0] >= 240
    recorder.close()
    assert answer.status_code == 200


def test_too_much_at_once_is_counted_not_waited_for(tmp_path, event):
    recorder = AttributionRecorder(tmp_path / "m.sqlite", lambda kind, name: name, AttributionConfig(queue_size=5))
    from segue.serving.store.event_reader import StoredEventRow

    with recorder._turn:
        recorder.record_events([StoredEventRow(i, event("a", event="purchase")) for i in range(9)])
    assert recorder.dropped >= 3
    recorder.close()


@pytest.mark.parametrize("fields", [{"lists": 0}, {"queue_size": 0}, {"window_s": 0.0}])
def test_settings_of_nothing_are_refused(fields):
    with pytest.raises(ValueError, match="lists, queue_size and window_s must be above 0, got "):
        AttributionConfig(**fields)


def test_a_place_without_measurements_is_told(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as measurements"):
        report.report(tmp_path / "nothing.sqlite")
