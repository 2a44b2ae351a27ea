"""The operations of those who run the server, over HTTP: items, sequences, models, keys for each."""

import math

import pytest
from tests.support.live_server import live_client

from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.http.app import ENDPOINTS, App
from segue.serving.http.auth import ROLES, Keys, RateLimit


def test_items_come_page_by_page(server):
    first = server.web.get("/v1/items?limit=5").json()
    assert [one["id"] for one in first["items"]] == list("abcde")
    assert (first["total"], first["after"], first["items"][0]["title"]) == (12, "e", "The first")
    rest = server.web.get("/v1/items?after=e").json()
    assert [one["id"] for one in rest["items"]] == list("fghijkl")
    assert "after" not in rest
    assert server.web.get("/v1/items/a").json() == {"id": "a", "title": "The first"}
    gone = server.web.get("/v1/items/zz")
    assert (gone.status_code, gone.json()["detail"]) == (404, "The catalog does not know the item 'zz'.")
    for wrong in ("0", "1001", "x", "nan"):
        answer = server.web.get(f"/v1/items?limit={wrong}")
        assert (answer.status_code, answer.json()["detail"]) == (422, "limit must be a number from 1 to 1000.")
    half = server.web.get("/v1/items?limit=2.5")
    assert (half.status_code, half.json()["detail"]) == (422, "limit must be a whole number, got 2.5.")


def test_a_path_with_two_methods_names_both_where_it_is_asked_for_a_third(server):
    """Two routes of one path each denied the other's method, and 405 told of the first one's only."""
    refused = server.web.options("/v1/users/ann")
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}
    server.web.post("/v1/events", json={"user_id": "ann", "item_id": "a"})
    assert server.web.head("/v1/users/ann").status_code == server.web.get("/v1/users/ann").status_code == 200
    assert server.web.delete("/v1/users/ann").json()["events"] == 1


def test_an_id_in_the_path_ends_where_the_path_ends(server):
    """A line end at the end of the path was dropped, so that somebody else's id was taken; one within was a 404."""
    server.web.post("/v1/events", json={"user_id": "ann", "item_id": "a"})
    for path in ("ann%0A", "an%0An", "%0A", "a%00"):
        for answer in (server.web.delete(f"/v1/users/{path}"), server.web.get(f"/v1/users/{path}")):
            assert (answer.status_code, answer.json()["detail"]) == (
                422,
                "The id in the path must have 1 to 512 characters, none of them a control one.",
            )
    assert len(server.web.get("/v1/users/ann").json()["events"]) == 1


def test_the_next_items_one_after_the_other(server):
    answer = server.web.post("/v1/next", json={"history": ["c", "d"], "steps": 4}).json()
    assert [one["id"] for one in answer["items"]] == ["e", "f", "g", "h"]
    server.web.post("/v1/events", json={"user_id": "ann", "item_id": "i"})
    stored = server.web.post("/v1/next", json={"user_id": "ann", "steps": 3}).json()
    assert [one["id"] for one in stored["items"]] == ["j", "k", "l"]
    drawn = [
        server.web.post(
            "/v1/next", json={"history": ["c"], "strategy": "sample", "seed": seed, "temperature": 20}
        ).json()["items"]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    for item in drawn[0]:
        assert item["propensity"] == pytest.approx(math.exp(item["score"]))
    bold = server.web.post("/v1/next", json={"history": ["c"], "strategy": "sample", "seed": 1, "temperature": 0.01})
    assert [one["id"] for one in bold.json()["items"][:3]] == ["d", "e", "f"]
    assert server.web.post("/v1/next", json={"temperature": 0}).status_code == 422
    both = server.web.post("/v1/next", json={"history": [], "user_id": "ann"})
    assert both.json()["detail"] == "user_id and history name different histories: give one of them."
    assert server.web.post("/v1/next", json={"steps": 101}).status_code == 422
    assert server.web.post("/v1/next", json={"strategy": "magic"}).status_code == 422


def test_too_many_lists_at_once_are_put_off(server):
    server.state.generating = 16
    answer = server.web.post("/v1/next", json={"history": ["c"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "16 lists are being generated just now: try again in a moment."
    server.state.generating = 0
    assert server.web.post("/v1/next", json={"history": ["c"]}).status_code == 200
    assert server.state.generating == 0


def test_versions_are_promoted_and_taken_back_over_http(save, ring, tmp_path, open_server):
    models = ModelRegistry(tmp_path / "models")
    one, two = (models.add(save(tmp_path / name, name, ring)) for name in ("markov", "covisit"))
    models.promote(one)
    with open_server(tmp_path / "data", models.folder) as server:
        assert server.web.get("/v1/admin/models").json() == {
            "roles": {"live": one},
            "shares": {"live": 1.0},
            "message": "",
            "notes": [],
        }
        said = server.web.post("/v1/admin/promote", json={"version": two, "canary": 0.25}).json()
        assert said["roles"] == {"live": one, "canary": two}
        assert said["shares"] == {"canary": 0.25, "interleaved": 0.0, "live": 0.75}
        assert (
            server.web.post("/v1/admin/promote", json={"version": two}).json()["message"] == f"Version {two} is live."
        )
        assert server.web.post("/v1/recommend", json={}).json()["model_version"] == two
        assert server.web.post("/v1/admin/rollback", json={}).json()["roles"]["canary"] == two
        assert server.web.post("/v1/admin/rollback", json={}).json()["roles"] == {"live": one, "previous": two}
        nothing = server.web.post("/v1/admin/rollback", json={})
        assert nothing.status_code == 409
        assert nothing.json()["detail"].endswith("has had only one deployment: there is nothing to roll back to.")
        models.promote(two)
        assert server.web.post("/v1/admin/reload", json={}).json()["roles"]["live"] == two
        wrong = server.web.post("/v1/admin/promote", json={"version": "nope"})
        assert (wrong.status_code, wrong.json()["detail"]) == (
            409,
            f"{models.folder} has no version 'nope': 'segue models {models.folder}' lists them.",
        )


def test_a_plain_folder_has_nothing_to_promote(server):
    answer = server.web.post("/v1/admin/promote", json={"version": "x"})
    assert answer.json()["detail"] == (
        "This server serves one model folder, not a registry: 'segue promote' makes one."
    )


def test_an_id_with_a_line_break_is_refused_like_any_other_that_no_event_could_have(server):
    """It was met with "There is nothing": the router stopped reading the path at the line break."""
    for method in ("GET", "DELETE"):
        answer = server.web.request(method, "/v1/users/a%0Ab")
        told = "The id in the path must have 1 to 512 characters, none of them a control one."
        assert (answer.status_code, answer.json()["detail"]) == (422, told)
    assert server.web.get("/v1/items/%0A").status_code == 422


EVERYTHING = [(endpoint.method, endpoint.path, endpoint.role) for endpoint in ENDPOINTS]


@pytest.mark.parametrize(("method", "path", "role"), EVERYTHING)
def test_each_operation_opens_to_its_own_key_and_to_no_other(server, method, path, role):
    server.state.keys = Keys({f"SEGUE_{one.upper()}_KEY": f"{one}-key-of-some-length" for one in ROLES})
    url = path.replace("{id}", "a")
    body = {"json": {}} if method == "POST" else {}
    statuses = {
        one: server.web.request(
            method, url, headers={"authorization": f"Bearer {one}-key-of-some-length"}, **body
        ).status_code
        for one in ROLES
    }
    assert statuses.pop(role) not in (401, 403)
    assert set(statuses.values()) == {403}
    assert server.web.request(method, url, **body).status_code == 401


def test_a_key_that_only_asks_cannot_write_by_asking(server):
    server.state.keys = Keys({"SEGUE_SERVE_KEY": "serve-serve-serve"})
    headers = {"authorization": "Bearer serve-serve-serve"}
    question = {"user_id": "ann", "event": {"item_id": "a"}}
    answer = server.web.post("/v1/recommend", json=question, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "This key has the roles serve; the request needs a key for ingest.",
    )
    assert server.admin.store.count() == 0
    assert server.web.post("/v1/recommend", json={"user_id": "ann"}, headers=headers).status_code == 200


def test_too_many_requests_are_told_when_to_come_back(server):
    server.state.limit = RateLimit(1)
    statuses = [server.web.post("/v1/similar", json={"item_id": "a"}) for _ in range(3)]
    assert [one.status_code for one in statuses] == [200, 200, 429]
    assert statuses[2].headers["retry-after"] == "1"
    assert server.web.get("/health/live").status_code == 200


def test_a_browser_of_a_named_site_may_ask(server, tmp_path):
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in server.web.options("/v1/recommend", headers=asked).headers
    server.state.origins = ("https://shop.example",)
    with live_client(App(server.state)) as web:
        allowed = web.options("/v1/recommend", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        other = web.options("/v1/recommend", headers={**asked, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
