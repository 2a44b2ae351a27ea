"""The OpenAPI document: complete, true to the types, with examples that decode."""

import json
import re

import msgspec
import pytest

from segue.serving import reports, schema
from segue.serving.admin import READS
from segue.serving.api import OPERATIONS
from segue.serving.examples import EXAMPLES
from segue.serving.openapi import document


@pytest.fixture(scope="module")
def described():
    return json.loads(msgspec.json.encode(document(OPERATIONS, READS)))


def test_every_operation_is_described_in_words_and_types(described):
    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) == {
        "/v1/events", "/v1/recommend", "/v1/similar", "/v1/next", "/v1/items", "/v1/items/{id}", "/v1/users/{id}",
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
    assert {"EventIn", "EventBatch", "RecommendRequest", "RecommendAnswer", "ProblemBody"} <= used


def test_unknown_fields_are_declared_as_refused(described):
    for name in ("EventIn", "EventBatch", "RecommendRequest", "SimilarRequest"):
        assert described["components"]["schemas"][name]["additionalProperties"] is False


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_a_value_of_its_type(described, name):
    assert described["components"]["schemas"][name]["examples"] == [EXAMPLES[name]]
    msgspec.json.decode(msgspec.json.encode(EXAMPLES[name]), type=getattr(schema, name, None) or getattr(reports, name))


def test_the_pattern_of_ids_means_the_same_to_a_browser(described):
    pattern = described["components"]["schemas"]["EventIn"]["properties"]["item_id"]["pattern"]
    for text, taken in [("a", True), ("a b", True), ("é", True), ("a\n", False), ("\x00", False), ("a\x7fb", False)]:
        assert bool(re.search(pattern, text)) == taken
