"""``segue placements``: rules of a running server read, replaced, rolled back; of a stopped one reset."""

import json

import pytest
from tests.serving.conftest import opened
from tests.support.cli import run
from tests.support.live_server import live_server
from tests.support.shop_pipelines import save_pipeline

from segue.models import artifact
from segue.serving.http.app import App

TOML = """
[[source]]
model = "markov"

[[placement]]
name = "cheap"
rules = {filter = "price < 2", exclude_seen = false}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return save_pipeline("ranks", tmp_path_factory.mktemp("shop") / "run")


def test_rules_are_listed_shown_replaced_and_rolled_back(shop, tmp_path):
    (tmp_path / "shop.toml").write_text(TOML, encoding="utf-8")
    (tmp_path / "one.toml").write_text("[rules]\nin_stock = 'stock'\n", encoding="utf-8")
    with opened(tmp_path / "data", shop) as server, live_server(App(server.state)) as port:
        url = f"http://127.0.0.1:{port}"
        names = [one["name"] for one in json.loads(run("placements", url, "--json").stdout)]
        assert set(names) == {"default", "cheap", "stocked", "mixed", "drawn"}
        assert "price < 5" in run("placements", url).stdout
        assert "the model's own" in run("placements", url, "cheap").stdout
        assert "price < 2" in run("placements", url, "cheap", "--set", tmp_path / "shop.toml").stdout
        second = json.loads(run("placements", url, "cheap", "--set", tmp_path / "one.toml", "--json").stdout)
        assert second["settings"]["rules"]["in_stock"] == "stock"
        assert "price < 2" in run("placements", url, "cheap", "--rollback").stdout
        assert "the model's own" in run("placements", url, "cheap", "--reset").stdout
        for arguments, sentence in [
            (("cheap", "--rollback", "--reset"), "--set, --rollback and --reset exclude each other"),
            (("--rollback",), "Name the placement that is to be changed."),
            (("attic",), "There is no placement 'attic'."),
            (
                ("stocked", "--set", tmp_path / "shop.toml"),
                "has no rules, rerank or explore for the placement 'stocked'",
            ),
        ]:
            assert sentence in run("placements", url, *arguments, code=2).stderr


def test_a_server_that_cannot_start_for_a_live_rule_is_mended_in_its_directory(shop, tmp_path):
    with opened(tmp_path / "data", shop) as server:
        assert server.web.put("/v1/placements/home", json={"rules": {"filter": "price < 2"}}).status_code == 200
    loaded = artifact.load(shop)
    settings = {**loaded.settings, "pipeline": {**loaded.settings["pipeline"], "placement": []}}
    bare = tmp_path / "bare"
    artifact.save(artifact.Artifact(loaded.model, settings, loaded.catalog, loaded.arrays, {}, loaded.about), bare)
    with (
        pytest.raises(
            ValueError, match=r"cannot apply the live rules of this server .reset a placement with .segue pl"
        ),
        opened(tmp_path / "data", bare),
    ):
        pass
    assert "use --rollback or --reset" in run("placements", tmp_path / "data", "home", code=2).stderr
    run("placements", tmp_path / "data", "home", "--reset")
    with opened(tmp_path / "data", bare) as server:
        assert server.web.get("/v1/placements/home").status_code == 404
    run("placements", tmp_path / "data", "home", "--rollback")
    with opened(tmp_path / "data", shop) as server:
        assert server.web.get("/v1/placements/home").json()["settings"]["rules"]["filter"] == "price < 2"
