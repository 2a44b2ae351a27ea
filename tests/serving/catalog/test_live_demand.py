"""Trend scores that move with the events of the last minutes, in a single model and in a pipeline."""

import time
from dataclasses import replace

from tests.serving.catalog.test_live_items import listed
from tests.support.server_process import wait_until
from tests.support.shop_pipelines import PIPELINES, save_pipeline

from segue.models import artifact
from segue.serving.schemas.requests import RecommendRequest


def send(server, name, count, **fields):
    events = [{"user_id": f"u{number}", "item_id": name, **fields} for number in range(count)]
    assert server.web.post("/v1/events", json={"events": events}).status_code == 200


def test_a_trend_model_lists_first_what_many_choose_now(tmp_path, save, ring, open_server):
    with open_server(tmp_path / "data", save(tmp_path / "trend", "trend", ring)) as server:
        assert listed(server, k=1) != ["h"]
        send(server, "g", 300, timestamp=time.time() - 86_400)
        send(server, "h", 300)
        wait_until(lambda: listed(server, k=1) == ["h"], 10)
    with open_server(tmp_path / "data", tmp_path / "trend") as server:
        wait_until(lambda: listed(server, k=1) == ["h"], 10)


def test_a_trend_source_of_a_pipeline_and_its_fallback_move_too(tmp_path, open_server, monkeypatch):
    settings = {
        "source": [{"model": "trend"}],
        "blend": {"method": "reciprocal-rank"},
        "rank": {"method": "none"},
    }
    monkeypatch.setitem(PIPELINES, "rising", settings)
    folder = save_pipeline("rising", tmp_path / "run", placements=[])
    with open_server(tmp_path / "data", folder) as server:
        first = listed(server, k=3)
        rising = next(name for name in ("i30", "i31") if name not in first)
        send(server, rising, 300)
        wait_until(lambda: listed(server, k=1) == [rising], 10)
        scorer = server.admin.router.deployment.live.engine.scorer
        assert scorer.respond_without_scoring(RecommendRequest(k=1)).items[0].id == rising


def train_on_purchases(folder):
    """Describe the log of a saved model as one that was read with ``--events buy``."""
    saved = artifact.load(folder)
    log = {"options": {"events": ["buy"]}, "columns": {"event": "event"}}
    artifact.save(replace(saved, about={**saved.about, "log": log}), folder)
    return folder


def test_a_trend_of_purchases_does_not_move_with_views(tmp_path, save, ring, open_server):
    folder = train_on_purchases(save(tmp_path / "trend", "trend", ring))
    with open_server(tmp_path / "data", folder) as server:
        send(server, "h", 900)
        send(server, "g", 300, event="buy")
        wait_until(lambda: listed(server, k=1) == ["g"], 10)
    with open_server(tmp_path / "data", folder) as server:
        wait_until(lambda: listed(server, k=1) == ["g"], 10)


def test_views_of_a_new_item_are_no_first_events_of_a_pipeline_of_purchases(tmp_path, open_server):
    folder = train_on_purchases(save_pipeline("ranks", tmp_path / "run", placements=[]))

    def count(server):
        live = server.admin.router.deployment.live.live
        return live.pipeline.events.counts[live.model.catalog.to_indices_list(["neu"])[0]]

    with open_server(tmp_path / "data", folder) as server:
        assert server.web.put("/v1/items/neu", json={"title": "New"}).status_code == 200
        send(server, "neu", 40)
        send(server, "neu", 2, event="buy")
        wait_until(lambda: count(server) == 2, 10)
    with open_server(tmp_path / "data", folder) as server:
        assert count(server) == 2
