"""Random changes of items and rules, and lists on every path after each: exactly the allowed items, no other."""

import numpy as np
import pytest
from tests.serving.catalog.test_live_items import listed
from tests.support.shop_pipelines import BRANDS, IDS, IN_STOCK, PRICES, save_pipeline

from segue.serving.schemas.requests import RecommendRequest

FILTERS = {
    "": lambda row: True,
    "price < 6": lambda row: row.get("price") is not None and row["price"] < 6,
    "not (price < 6)": lambda row: row.get("price") is None or row["price"] >= 6,
    'brand in ["a", "新"]': lambda row: row.get("brand") in ("a", "新"),
    "stock": lambda row: row.get("stock") is True,
    "brand is missing": lambda row: row.get("brand") is None,
}
"""Filters, and the same in Python."""


class Oracle:
    """The shop once more: rows, deleted items and rules as plain values."""

    def __init__(self) -> None:
        self.rows = {name: {"price": PRICES[name], "brand": BRANDS[name], "stock": IN_STOCK[name]} for name in IDS}
        self.deleted: set[str] = set()
        self.rules = {"default": ("", False), "cheap": ("price < 6", False), "stocked": ("", True)}

    def allowed(self, placement: str, filter: str) -> set[str]:
        own, in_stock = self.rules[placement]
        return {
            name
            for name, row in self.rows.items()
            if name not in self.deleted
            and row.get("available") is not False
            and FILTERS[own](row)
            and FILTERS[filter](row)
            and (not in_stock or row.get("stock") is True)
        }


def random_cells(rng: np.random.Generator) -> dict[str, object]:
    cells = {
        "price": rng.choice([1.0, 5.0, 6.0, 9.5]),
        "brand": str(rng.choice(["a", "b", "新"])),
        "stock": bool(rng.integers(0, 2)),
        "available": bool(rng.random() < 0.7),
    }
    return {name: cell for name, cell in cells.items() if rng.random() < 0.6}


def change(server, oracle: Oracle, rng: np.random.Generator) -> None:
    """Apply one random change to the server and to the oracle."""
    names = [*oracle.rows, f"n{rng.integers(0, 20)}"]
    name, kind, cells = str(rng.choice(names)), rng.random(), random_cells(rng)
    known = name in oracle.rows and name not in oracle.deleted
    if kind < 0.1:
        placement, filter = str(rng.choice(list(oracle.rules))), str(rng.choice(list(FILTERS)))
        in_stock = bool(rng.integers(0, 2))
        rules = {"filter": filter, "in_stock": "stock" if in_stock else None, "exclude_seen": False}
        assert server.web.put(f"/v1/placements/{placement}", json={"rules": rules}).status_code == 200
        oracle.rules[placement] = (filter, in_stock)
        return
    method = "PUT" if kind < 0.35 else "DELETE" if kind < 0.5 else "PATCH"
    if method == "PATCH" and known and rng.random() < 0.3:
        cells["brand"] = None
    answer = server.web.request(method, f"/v1/items/{name}", **({} if method == "DELETE" else {"json": cells}))
    if method == "PUT":
        oracle.rows[name] = cells
        oracle.deleted.discard(name)
    elif method == "DELETE" and name in oracle.rows:
        oracle.deleted.add(name)
    elif known:
        row = {**oracle.rows[name], **cells}
        oracle.rows[name] = {column: cell for column, cell in row.items() if cell is not None}
    else:
        assert answer.status_code == 404
        return
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("seed", [1, 2])
def test_lists_hold_what_is_allowed_after_every_change(seed, tmp_path, open_server):
    rng = np.random.default_rng(seed)
    placements = [
        {"name": "default", "rules": {"exclude_seen": False}},
        {"name": "cheap", "rules": {"filter": "price < 6", "exclude_seen": False}},
        {"name": "stocked", "rules": {"in_stock": "stock", "exclude_seen": False}},
    ]
    run, oracle = save_pipeline(["ranks", "weights"][seed % 2], tmp_path / "run", placements), Oracle()
    with open_server(tmp_path / "data", run) as server:
        for step in range(40):
            change(server, oracle, rng)
            placement, filter = str(rng.choice(list(oracle.rules))), str(rng.choice(list(FILTERS)))
            history = [str(name) for name in rng.choice(list(oracle.rows), int(rng.integers(0, 4)))]
            request = {"placement": placement, "filter": filter, "exclude_seen": False}
            expected = oracle.allowed(placement, filter)
            assert set(listed(server, k=100, history=history, **request)) == expected, (step, request)
            scorer = server.admin.router.deployment.live.engine.scorer
            fallback = scorer.respond_without_scoring(RecommendRequest(history=history, k=100, **request))
            assert {item.id for item in fallback.items} == expected, (step, request)
            around = server.web.post("/v1/next", json={"history": history, "steps": 5, "exclude_seen": False})
            assert {item["id"] for item in around.json()["items"]} <= oracle.allowed("default", "")
    with open_server(tmp_path / "data", run) as server:
        for placement in oracle.rules:
            assert set(listed(server, k=100, placement=placement, exclude_seen=False)) == oracle.allowed(placement, "")
