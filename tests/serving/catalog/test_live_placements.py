"""Rules of placements that are read and replaced over HTTP: checked, versioned, durable, and rolled back."""

import copy

import pytest
from tests.serving.catalog.test_live_items import item, listed
from tests.support.shop_pipelines import BRANDS, IDS, PRICES

from segue.models import artifact
from segue.serving.deployment.model_registry import ModelRegistry


def put(server, name, **settings):
    answer = server.web.put(f"/v1/placements/{name}", json=settings)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(server, name, body):
    answer = server.web.put(f"/v1/placements/{name}", json=body)
    return answer.status_code, answer.json()["detail"]


def test_rules_are_replaced_at_once_and_rolled_back_step_by_step(server):
    own = set(listed(server, placement="cheap"))
    assert own == {name for name in IDS if PRICES[name] < 5}
    first = put(server, "cheap", rules={"filter": "price < 3", "exclude_seen": False})
    assert (first["source"], first["settings"]["rules"]["filter"]) == ("live", "price < 3")
    second = put(server, "cheap", rules={"filter": 'brand == "a"', "exclude_seen": False})
    assert second["revision"] > first["revision"]
    assert set(listed(server, placement="cheap")) == {name for name in IDS if BRANDS[name] == "a"}
    back = server.web.post("/v1/admin/placements/rollback", json={"name": "cheap"}).json()
    assert (back["settings"], back["source"]) == (first["settings"], "live")
    assert set(listed(server, placement="cheap")) == {name for name in IDS if PRICES[name] < 3}
    back = server.web.post("/v1/admin/placements/rollback", json={"name": "cheap"}).json()
    assert (back["source"], back["settings"]["rules"]["filter"]) == ("model", "price < 5")
    assert set(listed(server, placement="cheap")) == own
    none = server.web.post("/v1/admin/placements/rollback", json={"name": "cheap"})
    assert (none.status_code, none.json()["detail"]) == (
        409, "The placement 'cheap' has no earlier rules to roll back to.",
    )  # fmt: skip


def test_what_is_read_can_be_put_again(server):
    listing = server.web.get("/v1/placements").json()["placements"]
    assert {one["name"] for one in listing} == {"default", "cheap", "stocked", "mixed", "drawn"}
    assert {one["source"] for one in listing} == {"model"}
    for one in listing:
        again = put(server, one["name"], **one["settings"])
        assert again["settings"] == one["settings"]
        assert server.web.get(f"/v1/placements/{one['name']}").json() == again


def test_a_placement_is_added_and_removed(server):
    assert server.web.post("/v1/recommend", json={"placement": "shelf"}).status_code == 422
    added = put(server, "shelf", rules={"filter": "price > 18", "pins": [{"item": "i1", "position": 1}]})
    assert set(listed(server, placement="shelf")) == {name for name in IDS if PRICES[name] > 18}
    assert added["settings"]["rerank"]["method"] == "none"
    assert server.web.delete("/v1/placements/shelf").json()["source"] == "none"
    assert server.web.post("/v1/recommend", json={"placement": "shelf"}).status_code == 422
    assert server.web.delete("/v1/placements/shelf").status_code == 404
    assert server.web.get("/v1/placements/shelf").status_code == 404


def test_new_items_obey_live_rules_and_pins(server):
    item(server, "new", "PUT", title="New", price=19.5, brand="c", stock=True)
    put(server, "shelf", rules={"filter": "price > 18", "pins": [{"item": "new", "position": 1}]})
    assert listed(server, placement="shelf")[0] == "new"
    item(server, "new", "PATCH", price=1)
    assert "new" not in listed(server, placement="shelf")


def test_a_filter_that_nothing_passes_is_told(server):
    assert put(server, "shelf", rules={"filter": "price > 1000"})["notes"] == [
        "No item passes the filter 'price > 1000'."
    ]


REFUSED = [
    ({"rules": {"filter": "colour == 1"}}, 422, "The items have no column 'colour'."),
    ({"rules": {"filter": "price <"}}, 422, "price <"),
    ({"rules": {"in_stock": "brand"}}, 422, "in_stock names the column 'brand'"),
    ({"rules": {"filters": "price < 3"}}, 422, "Unknown setting 'rules.filters'. Did you mean 'filter'?"),
    ({"rerank": {"method": "mmr", "column": "price"}}, 422, "Column 'price' holds numbers"),
    ({"explore": {"method": "magic"}}, 422, "Setting 'explore.method' must be one of"),
    ({"rules": {"pins": [{"item": "i1", "position": 0}]}}, 422, "The pin of item 'i1'"),
    ({"name": "other"}, 422, "The body names another placement than the path"),
    ({"rule": {}}, 422, "The body is not valid"),
]


@pytest.mark.parametrize(("body", "status", "sentence"), REFUSED)
def test_wrong_rules_are_refused_with_their_reason_and_change_nothing(server, body, status, sentence):
    before = server.web.get("/v1/placements").json()
    assert refusal(server, "cheap", body)[0] == status
    assert sentence in refusal(server, "cheap", body)[1]
    assert server.web.get("/v1/placements").json() == before


def test_rules_survive_a_restart(tmp_path, shop, open_server):
    with open_server(tmp_path / "data", shop) as server:
        put(server, "cheap", rules={"filter": "price < 2", "exclude_seen": False})
    with open_server(tmp_path / "data", shop) as server:
        assert set(listed(server, placement="cheap")) == {name for name in IDS if PRICES[name] < 2}
        assert server.web.get("/v1/placements/cheap").json()["source"] == "live"


def test_a_version_without_a_column_of_a_live_rule_is_not_deployed(tmp_path, shop, open_server):
    models = ModelRegistry(tmp_path / "models")
    loaded, settings = artifact.load(shop), None
    settings = copy.deepcopy(loaded.settings)
    settings["pipeline"]["placement"] = []
    items = {name: {"title": row["title"]} for name, row in loaded.items.items()}
    bare = tmp_path / "bare"
    artifact.save(artifact.Artifact(loaded.model, settings, loaded.catalog, loaded.arrays, items, loaded.about), bare)
    one, two = models.add(shop), models.add(bare)
    models.promote(one)
    with open_server(tmp_path / "data", models.folder) as server:
        put(server, "cheap", rules={"filter": "price < 2"})
        answer = server.web.post("/v1/admin/promote", json={"version": two}).json()
        assert answer["roles"]["live"] == one
        assert "cannot apply the live rules of this server" in answer["message"]
        assert "price" in answer["message"]
        server.web.delete("/v1/placements/cheap")
        assert server.web.post("/v1/admin/promote", json={"version": two}).json()["roles"]["live"] == two
        status, detail = refusal(server, "cheap", {"rules": {"filter": "price < 2"}})
        assert (status, detail.startswith(f"Version {two}: ")) == (422, True)


def test_a_single_model_has_no_placements(tmp_path, run, open_server):
    with open_server(tmp_path / "data", run) as server:
        assert server.web.get("/v1/placements").json() == {"placements": []}
        assert refusal(server, "home", {"rules": {}}) == (
            409, "No deployed version is a pipeline: a single model has no placements.",
        )  # fmt: skip
