"""Examples of all wire types for the OpenAPI document. A test decodes each."""

from typing import Any

_VERSION, _OTHER, _LIST = "0a1b2c3d4e5f", "6f7e8d9c0b1a", "5f2f6c0b9d5f4b0e8a5c3c1f0d2b7a61"
_RATE = {"value": 0.12, "low": 0.1, "high": 0.14}
_RECEIPT = {
    "user_digest": "b3f1c2d4e5f60718293a4b5c6d7e8f90",
    "time_us": 1769860800000000,
    "events": 42,
    "sessions": 3,
    "attribution_rows": 17,
    "compacted": True,
    "affected_versions": [_VERSION],
    "proof": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_CELL = {
    "placement": "home",
    "variant": "live",
    "version": _VERSION,
    "lists": 1000,
    "users": 400,
    "clicked": 120,
    "purchases": 15,
    "value": 431.5,
    "ctr": _RATE,
    "purchase_rate": {"value": 0.015, "low": 0.008, "high": 0.022},
}
_EXPERIMENT = {
    "name": f"{_VERSION}/{_OTHER}/0.1/0",
    "users": {"canary": 41, "interleaved": 0, "live": 359},
    "expected": {"canary": 0.1, "interleaved": 0.0, "live": 0.9},
    "sample_ratio_p": 0.87,
    "sample_ratio_ok": True,
    "ctr_difference": {"value": 0.01, "low": -0.02, "high": 0.04},
    "purchase_difference": {"value": 0.001, "low": -0.01, "high": 0.012},
    "preferred": {"live": 0, "canary": 0, "tie": 0},
    "preference": {"value": None},
    "preference_p": 1.0,
}

EXAMPLES: dict[str, Any] = {
    "EventIn": {"user_id": "ann", "item_id": "22423", "event": "view", "event_id": "e-1", "recommendation_id": _LIST},
    "EventBatch": {"events": [{"session_id": "s-7", "item_id": "22423"}, {"session_id": "s-7", "item_id": "85123A"}]},
    "EventsResponse": {"accepted": 1, "duplicates": 0, "durability": "fsync", "event_ids": ["e-1"]},
    "RecommendRequest": {"user_id": "ann", "k": 2, "event": {"item_id": "22423"}, "placement": "home"},
    "ItemExplanation": {
        "en": "Often chosen next after JUMBO BAG RED RETROSPOT.",
        "zh": "选了JUMBO BAG RED RETROSPOT的人，接下来常常选它。",
        "because": ["85099B"],
    },
    "Recommendation": {"id": "85123A", "score": 3.5, "title": "White hanging heart"},
    "RecommendResponse": {
        "recommendation_id": _LIST,
        "model_version": _VERSION,
        "items": [{"id": "85123A", "score": 3.5, "title": "White hanging heart"}, {"id": "47566", "score": 2.25}],
        "unknown_items": [],
        "took_ms": 0.8,
        "variant": "live",
        "propensity": 1.0,
    },
    "SimilarRequest": {"item_id": "22423", "k": 5},
    "NextRequest": {"history": ["22423", "85123A"], "steps": 3, "strategy": "greedy"},
    "Health": {"status": "ready", "checks": {"model": True, "store": True, "serving": True}},
    "ProblemBody": {
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "The event has neither a user nor a session: give user_id, session_id or both.",
        "type": "about:blank",
    },
    "PromoteRequest": {"version": _OTHER, "canary": 0.1},
    "EmptyRequest": {},
    "ModelsResponse": {
        "roles": {"live": _VERSION, "canary": _OTHER},
        "shares": {"canary": 0.1, "interleaved": 0.0, "live": 0.9},
        "message": f"Version {_VERSION} is live.",
    },
    "StoredEvent": {
        "event_id": "e-1",
        "source": "api",
        "item_id": "22423",
        "time_us": 1769860800000000,
        "event": "view",
    },
    "UserEventsResponse": {
        "user_id": "ann",
        "events": [
            {"event_id": "e-1", "source": "api", "item_id": "22423", "time_us": 1769860800000000, "event": "view"}
        ],
    },
    "ErasureReceipt": _RECEIPT,
    "ItemOut": {"id": "22423", "title": "Regency cakestand 3 tier"},
    "ItemCells": {"title": "龙井茶 50g", "price": 57.9, "stock": 12, "tags": ["tea", "gift"], "available": True},
    "ItemVersion": {"role": "live", "version": _VERSION, "recommendable": True, "placements": ["default", "home"]},
    "PlacementSettings": {"rules": {"filter": "price < 20", "in_stock": "stock"}, "rerank": {"method": "none"}},
    "PlacementOut": {
        "name": "home",
        "revision": 3,
        "source": "live",
        "settings": {"rules": {"filter": "price < 20", "in_stock": "stock"}, "rerank": {"method": "none"}},
    },
    "PlacementsResponse": {"placements": [{"name": "default", "revision": 0, "source": "model", "settings": {}}]},
    "RollbackPlacementRequest": {"name": "home"},
    "ItemsResponse": {"items": [{"id": "22423", "title": "Regency cakestand 3 tier"}], "total": 3659, "after": "22423"},
    "RateEstimate": _RATE,
    "ReportCell": _CELL,
    "ExperimentReport": _EXPERIMENT,
    "ReportResponse": {"days": 7.0, "cells": [_CELL], "experiments": [_EXPERIMENT], "dropped": 0},
}
"""Example of each wire type, by its name."""
