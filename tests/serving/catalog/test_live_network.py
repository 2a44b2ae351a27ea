"""New items of a single network with item features: served as 'segue add-items' would make them, at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.add_items import add_items
from segue.models.artifact import Artifact
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.serving.catalog import item_cells, live_network
from segue.serving.catalog.live_model import LiveModel
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.workflows.fit_model import fit_model

IDS = [f"i{number}" for number in range(1, 25)]
ROWS = {
    item: {
        "category": f"种类{number % 4}",
        "price": float(number % 5),
        "tags": [f"t{number % 3}", f"标签{number % 2}"],
        "image": [number / 24, 1 - number / 24],
    }
    for number, item in enumerate(IDS)
}
KINDS = {"category": "category", "price": "number", "tags": "list", "image": "vector"}
NEW = {
    "新": {"category": "种类1", "price": 2.0, "tags": ["t1", "标签1"], "image": [0.5, 1], "title": "新茶"},
    "n2": {"category": "种类3", "price": 4.0},
    "n3": {"category": "unknown", "price": None},
}


@pytest.fixture(scope="module", params=[("sasrec", "learned"), ("gru4rec", "placing")])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact]:
    name, use = request.param
    rng = np.random.default_rng(1)
    rows = Sequences.from_lists([((start + np.arange(6)) % 24 + 1).tolist() for start in rng.integers(0, 24, 60)])
    no_cases = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    features = ItemFeatures([{}, *ROWS.values()], KINDS)
    split = Split("none", Catalog(IDS), rows, no_cases, rows, no_cases, False, "", "", features)
    settings = {"embedding_dim": 8, "epochs": 2, "batch_tokens": 128, "features": list(KINDS)}
    fitted = fit_model(name, split, {**settings, "feature_use": use})
    about = {"exclude_seen": True}
    model = Artifact(name, fitted.settings, Catalog(IDS), fitted.scorer.arrays(), ROWS, about)
    folder = tmp_path_factory.mktemp("network") / "run"
    artifact.save(model, folder)
    return folder, artifact.load(folder)


def expected(model: Artifact, items: dict[str, dict[str, Any]], folder: Path) -> Callable[..., list[str]]:
    """Return the lists of the model after 'segue add-items'."""
    artifact.save(add_items(model, items), folder)
    served = ServedModel.open(folder)
    known = served.catalog

    def recommend(history: list[str], exclude: tuple[str, ...] = ()) -> list[str]:
        rows = known.to_indices_list(history)
        return [item.id for item in served.top_k(rows, 40, exclude=[*rows, *known.to_indices_list(exclude)])]

    return recommend


def test_a_new_item_is_in_lists_histories_and_sequences_at_once(
    saved: tuple[Path, Artifact], tmp_path: Path, open_server: Any
) -> None:
    folder, model = saved
    of_all = expected(model, NEW, tmp_path / "larger")
    histories = (["i3"], ["i3", "新"], ["n2", "i9", "n3"], [])
    with open_server(tmp_path / "data", folder) as server:

        def call(method: str, path: str, **body: Any) -> Any:
            response = server.web.request(method, path, json=body or None)
            assert response.status_code == 200, response.text
            return response.json()

        def listed(**request: Any) -> list[str]:
            return [item["id"] for item in call("POST", "/v1/recommend", k=40, **request)["items"]]

        assert listed(user_id="ann", event={"item_id": "新"}) == listed()
        for item, cells in NEW.items():
            state = call("PUT", f"/v1/items/{item}", **{k: v for k, v in cells.items() if v is not None})
            assert state["recommendable"] is True
        for history in histories:
            assert listed(history=history) == of_all(history)
        assert listed(user_id="ann") == of_all(["新"]), "its earlier event is of a known item now"
        for item in ("i3", "n2"):
            listed(user_id="ann", event={"item_id": item})
        assert listed(user_id="ann") == of_all(["新", "i3", "n2"])
        items = call("POST", "/v1/recommend", history=["i3"], k=40)["items"]
        assert [item["title"] for item in items if item["id"] == "新"] == ["新茶"]
        assert {item["id"] for item in call("POST", "/v1/next", history=["i3"], steps=26)["items"]} == {
            *IDS,
            *NEW,
        } - {"i3"}
        refused = server.web.patch("/v1/items/n2", json={"price": "2"})
        assert refused.status_code == 422
        assert refused.json()["detail"] == "Column 'price' holds numbers, but the value is text."
        call("PATCH", "/v1/items/n2", category="种类1", price=2)
        moved = expected(model, {**NEW, "n2": {"category": "种类1", "price": 2.0}}, tmp_path / "moved")
        assert listed(history=["i3"]) == moved(["i3"])
        call("DELETE", "/v1/items/n3")
        call("PATCH", "/v1/items/%E6%96%B0", available=False)
        call("PATCH", "/v1/items/i9", available=False)
        hidden = ("n3", "新", "i9")
        assert listed(history=["i3"]) == moved(["i3"], hidden)
    with open_server(tmp_path / "data", folder) as server:  # the rows are made in another order of changes
        assert listed(history=["i3"]) == moved(["i3"], hidden)
        assert listed(user_id="ann") == moved(["新", "i3", "n2"], hidden)


def test_a_new_item_that_is_not_available_is_hidden_before_a_list_can_hold_it(
    saved: tuple[Path, Artifact], tmp_path: Path, open_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow, hidden = Engine.grow, []

    def observed(self: Engine, change: Callable[[], None]) -> None:
        def work() -> None:
            change()
            hidden.append(list(self.model.changes.hidden))

        grow(self, work)

    monkeypatch.setattr(Engine, "grow", observed)
    with open_server(tmp_path / "data", saved[0]) as server:
        assert server.web.put("/v1/items/n2", json={**NEW["n2"], "available": False}).status_code == 200
    assert hidden == [[len(IDS) + 1]]


@pytest.mark.parametrize("strategy", ["top-k", "beam", "sample", "relevance"])
def test_a_sequence_holds_only_items_that_the_request_allows(
    saved: tuple[Path, Artifact], tmp_path: Path, open_server: Any, strategy: str
) -> None:
    with open_server(tmp_path / "data", saved[0]) as server:

        def listed(**request: Any) -> set[str]:
            response = server.web.post("/v1/next", json={"history": ["i3"], "strategy": strategy, **request})
            return {item["id"] for item in response.json()["items"]}

        assert listed(steps=4, allow=["i20", "i3", "unknown", "i9"]) == {"i20", "i9"}
        assert listed(steps=4, allow=["unknown"]) == listed(steps=4, allow=[]) == set()
        assert len(listed(steps=4, temperature=1e-320)) == 4


def test_numbers_too_large_for_a_float_harm_no_list_and_no_later_change(
    saved: tuple[Path, Artifact], tmp_path: Path, open_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ({"price": 10**400}, {"image": [10**400, 0]}, {"image": [1e308, 0]}, {"image": [-3e38, 3e38]})
    with open_server(tmp_path / "data", saved[0]) as server:
        for cell in cells:
            refused = server.web.put("/v1/items/n2", json=cell)
            assert refused.status_code == 422 and next(iter(cell)) in refused.json()["detail"]
        monkeypatch.setattr(item_cells, "_check_plain", lambda name, value: None)
        monkeypatch.setattr(LiveModel, "check_cell", lambda self, name, value: None)
        for number, cell in enumerate(cells):  # stored before they were refused
            assert server.web.put(f"/v1/items/n{number}", json=cell).status_code == 200
    with open_server(tmp_path / "data", saved[0]) as server:
        for path, wanted in (("recommend", {"k": 40}), ("next", {"steps": 5})):
            response = server.web.post(f"/v1/{path}", json={"history": ["i3", "n2"], **wanted}).json()
            assert response["items"] and response.get("fallback") is None


def test_a_network_of_an_approximate_search_says_why_it_does_not_grow(
    saved: tuple[Path, Artifact], tmp_path: Path, open_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = LiveModel.apply

    def approximate(self: LiveModel, *changes: Any) -> None:
        self.model.is_approximate = True
        apply(self, *changes)

    monkeypatch.setattr(LiveModel, "apply", approximate)
    with open_server(tmp_path / "data", saved[0]) as server:
        state = server.web.put("/v1/items/n2", json=NEW["n2"]).json()
        assert state["recommendable"] is False and "its catalog is searched approximately" in state["reason"]
        assert "n2" not in [item["id"] for item in server.web.post("/v1/recommend", json={"k": 40}).json()["items"]]


def test_a_server_without_scipy_gives_no_rows_to_a_network_with_co_visitation(
    saved: tuple[Path, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ServedModel.open(saved[0])
    monkeypatch.setattr(live_network, "_has_scipy", lambda: False)
    assert live_network.growth_obstacle(model) == ""
    log = Sequences.from_lists([[1, 2, 3]])
    model.scorer = WithCovisitationPrior(model.scorer, CoVisit.fit(log, len(IDS) + 1, CoVisitConfig()), 0.3)
    assert live_network.growth_obstacle(model) == "scipy is not installed on the server"
