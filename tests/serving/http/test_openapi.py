"""The OpenAPI document: complete, true to the types, with examples that decode."""

import json
import re

import jsonschema_rs
import msgspec
import pytest

from segue.serving.http.app import ENDPOINTS
from segue.serving.http.openapi import openapi_document
from segue.serving.schemas import admin, requests
from segue.serving.schemas.examples import EXAMPLES


@pytest.fixture(scope="module")
def described():
    return json.loads(msgspec.json.encode(openapi_document(ENDPOINTS)))


def test_every_operation_is_described_in_words_and_types(described):
    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) == {
        "/v1/events", "/v1/recommend", "/v1/similar", "/v1/next", "/v1/items", "/v1/items/{id}", "/v1/users/{id}",
        "/v1/placements", "/v1/placements/{id}", "/v1/admin/placements/rollback",
        "/v1/admin/models", "/v1/admin/report", "/v1/admin/promote", "/v1/admin/rollback", "/v1/admin/reload",
        "/metrics", "/health/live", "/health/ready",
    }  # fmt: skip
    for methods in described["paths"].values():
        for operation in methods.values():
            assert re.fullmatch(r"[A-Z].*\.", operation["summary"])
            assert "200" in operation["responses"]


def test_every_reference_leads_somewhere(described):
    schemas = described["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert used <= set(schemas)
    assert {"EventIn", "EventBatch", "RecommendRequest", "RecommendResponse", "ProblemBody"} <= used


def test_a_key_is_declared_where_the_server_asks_for_one(described):
    asks = {
        json.dumps(one["security"])
        for path in described["paths"].values()
        for one in path.values()
        if "security" in one
    }
    assert asks == {'[{}, {"key": []}]'}, "without keys on the server everybody may ask"
    keyed = openapi_document(ENDPOINTS, keys=True)["paths"]
    assert keyed["/metrics"]["get"]["security"] == keyed["/v1/events"]["post"]["security"] == [{"key": []}]
    assert "security" not in keyed["/health/live"]["get"]


NOBODYS = "The event has neither a user nor a session: give user_id, session_id or both."
BODIES = [
    ("EventWithOwner", {"item_id": "a", "user_id": "ann"}, None),
    ("EventWithOwner", {"item_id": "a", "session_id": "s", "user_id": None}, None),
    ("EventWithOwner", {"item_id": "a"}, NOBODYS),
    ("EventBatch", {"events": [{"item_id": "a", "user_id": "ann"}, {"item_id": "a", "user_id": None}]}, NOBODYS),
    ("RecommendRequest", {}, None),
    ("RecommendRequest", {"user_id": "ann", "event": {"item_id": "a"}}, None),
    ("RecommendRequest", {"history": ["a"], "event": {"item_id": "a", "session_id": "s"}}, None),
    ("RecommendRequest", {"history": ["a"], "event": {"item_id": "a"}}, NOBODYS),
    ("RecommendRequest", {"user_id": "ann", "session_id": "s"},
     "user_id and session_id name different histories: give one of them."),
    ("NextRequest", {"history": [], "session_id": None}, None),
    ("NextRequest", {"history": [], "session_id": "s"},
     "session_id and history name different histories: give one of them."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "sentence"), BODIES)
def test_the_document_refuses_what_the_server_refuses(described, server, name, body, sentence):
    """What the types alone cannot say was taken by the document and refused by the server."""
    validator = jsonschema_rs.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **described})
    path = {"RecommendRequest": "/v1/recommend", "NextRequest": "/v1/next"}.get(name, "/v1/events")
    answer = server.web.post(path, json=body)
    assert validator.is_valid(body) == (answer.status_code == 200) == (sentence is None)
    assert answer.json().get("detail") == sentence


CELLS: list[tuple[dict[str, object], bool]] = [
    ({"title": "龙井", "价格": 57.9, "tags": ["tea", 3, True], "available": False, "stock": None}, True),
    ({"x" * 512: "y" * 4096}, True),
    *[({name: 1}, False) for name in ("", "a\x01", "\x7f", "line\nbreak", "x" * 513)],
    *[({"a": value}, False) for value in ({"b": 1}, [None], [["b"]], ["b"] * 257, "y" * 4097, ["y" * 4097])],
    ({f"c{number}": number for number in range(65)}, False),
    *[(body, False) for body in ({"title": 3}, {"title": "y" * 4097}, {"available": "no"}, {"available": ["no"]})],
]


@pytest.mark.parametrize(("cells", "is_valid"), CELLS)
def test_names_and_values_of_cells_are_limited_by_the_document_as_by_the_server(described, server, cells, is_valid):
    validator = jsonschema_rs.Draft202012Validator({"$ref": "#/components/schemas/ItemCells", **described})
    response = server.web.put("/v1/items/a", json=cells)
    has_form = response.status_code == 200 or "The items have no column" in response.json()["detail"]
    assert validator.is_valid(cells) == has_form == is_valid, response.text


def test_ids_in_paths_and_numbers_behind_the_question_mark_have_their_limits(described, server):
    path = described["paths"]["/v1/users/{id}"]["get"]["parameters"][0]["schema"]
    assert (path["minLength"], path["maxLength"]) == (1, 512)
    assert not re.search(path["pattern"], "a\x1f")
    days = described["paths"]["/v1/admin/report"]["get"]["parameters"][0]["schema"]
    for value, status in [(days["minimum"], 200), (days["maximum"], 200), (0, 422), (days["maximum"] + 1, 422)]:
        assert server.web.get(f"/v1/admin/report?days={value}").status_code == status


def test_unknown_fields_are_declared_as_refused(described):
    for name in ("EventIn", "EventBatch", "RecommendRequest", "SimilarRequest"):
        assert described["components"]["schemas"][name]["additionalProperties"] is False


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_a_value_of_its_type(described, name):
    assert described["components"]["schemas"][name]["examples"] == [EXAMPLES[name]]
    msgspec.json.decode(msgspec.json.encode(EXAMPLES[name]), type=getattr(requests, name, None) or getattr(admin, name))


def test_the_pattern_of_ids_means_the_same_to_a_browser(described):
    pattern = described["components"]["schemas"]["EventIn"]["properties"]["item_id"]["pattern"]
    for text, taken in [("a", True), ("a b", True), ("é", True), ("a\n", False), ("\x00", False), ("a\x7fb", False)]:
        assert bool(re.search(pattern, text)) == taken
