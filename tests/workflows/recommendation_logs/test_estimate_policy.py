"""Off-policy estimates from a server's own data directory: propensities are kept, exported and used."""

import importlib
import json
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import apsw
import numpy as np
import polars as pl
import pytest
from tests.support.cli import run

from segue.config.history_events import HistoryEvents
from segue.data.catalog import PAD
from segue.models.counting.popularity import Popularity
from segue.models.retrieval.retriever import RetrievalQuery
from segue.pipeline.placements.placement import PlacementRequest
from segue.serving.config import ServingConfig
from segue.serving.deployment.model_source import model_source
from segue.serving.experiments.attribution_file import FORMAT, close_file, open_file
from segue.serving.experiments.shown_lists import MAX_CONDITION_IDS, read_shown_lists
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.server import open_services
from segue.workflows.recommendation_logs.estimate_policy import estimate_policy, replay
from segue.workflows.recommendation_logs.logged_requests import LoggedRequest, logged_requests

USERS = 400


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The benchmark: its simulated users and its server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
        return importlib.import_module("off_policy_server")


@pytest.fixture(scope="module")
def world(script, tmp_path_factory):
    return script.World.make(tmp_path_factory.mktemp("world"), script.LOGGING["plackett-luce"], 0)


@pytest.fixture(scope="module")
def data(script, world, tmp_path_factory) -> Path:
    """Data directory of a server that explored for 400 users."""
    folder = tmp_path_factory.mktemp("served") / "data"
    script.serve(world, folder, USERS, 1)
    return folder


def test_the_truth_is_within_the_intervals(script, world, data):
    truth = world.true_value()
    one = script.estimate(world, data)
    assert (one.placement, one.reward, one.lists, one.users) == ("home", "clicks", USERS, USERS)
    assert one.is_supported and one.is_reliable
    for name in script.ESTIMATORS:
        estimate = getattr(one, name)
        assert estimate.low <= truth <= estimate.high, name
        assert estimate.high - estimate.low < 1.0
    assert one.logged.low <= one.logged.value <= one.logged.high


def test_the_served_pipeline_itself_has_weights_of_one(world, data):
    """Made again from history, rules and time, every list has the very propensities that were recorded."""
    report = estimate_policy(data, world.served, days=1.0)
    one = report.estimates[0]
    assert report.skipped == {}
    assert one.mean_weight.value == pytest.approx(1.0, abs=1e-9)
    assert one.inverse_propensity.value == pytest.approx(one.logged.value, abs=1e-9)
    assert one.self_normalized is not None
    assert one.self_normalized.value == pytest.approx(one.logged.value, abs=1e-9)


def test_only_lists_of_the_interval_count(world, data):
    """``now_us`` ends the interval: a list at that time or later is not in it."""
    times = sorted(shown.time_us for chunk in read_shown_lists(data / "attribution.sqlite") for shown in chunk)
    until_us, since_us = times[200], times[100]
    days = (until_us - since_us) / 86_400e6
    report = estimate_policy(data, world.evaluated, days=days, now_us=until_us)
    assert report.estimates[0].lists == sum(since_us <= time_us < until_us for time_us in times)
    assert estimate_policy(data, world.evaluated, days=1.0).estimates[0].lists == USERS


def test_lists_are_exported_with_their_propensities_and_clicks(script, data, tmp_path):
    out = tmp_path / "shown.parquet"
    assert json.loads(run("export", data, "--shown", "--out", out, "--json").stdout)["rows"] == USERS * 3
    frame = pl.read_parquet(out)
    assert frame["position"].unique().sort().to_list() == [1, 2, 3]
    assert frame["propensity"].is_between(0, 1, closed="right").all()
    assert frame["propensity"].min() < 0.2
    assert set(frame["user_id"]) == {f"u{user}" for user in range(USERS)}
    assert 0 < frame["clicked"].sum() < USERS * 3
    assert not frame["purchased"].any()
    listed = [shown for chunk in read_shown_lists(data / "attribution.sqlite") for shown in chunk]
    wanted = [item.propensity for shown in listed for item in shown.items]
    assert frame["propensity"].to_list() == pytest.approx(wanted)
    clicks = sum(len(shown.clicks) for shown in listed)
    assert frame["clicked"].sum() == clicks
    run("export", data, "--shown", "--out", tmp_path / "shown.csv")
    assert len(pl.read_csv(tmp_path / "shown.csv")) == USERS * 3


def test_the_command_reports_both_rewards(world, data):
    shown = json.loads(run("report", data, "--off-policy", world.evaluated, "--json").stdout)
    assert [row["reward"] for row in shown["estimates"]] == ["clicks", "purchases"]
    text = run("report", data, "--off-policy", world.evaluated, "--placement", "home").stdout
    assert "IPS" in text and "doubly robust" in text
    assert "intervals are too narrow" not in text
    refused = run("report", data, "--off-policy", world.evaluated, "--placement", "nowhere", code=2)
    assert "has propensities" in refused.stderr
    assert "--off-policy" in run("report", data, "--placement", "home", code=2).stderr


def test_a_log_without_propensities_is_refused(script, world, tmp_path):
    """The same server without exploration: every list is certain, and nothing can be said of another pipeline."""
    plain = script.save_pipeline(
        tmp_path / "plain",
        world.simulator.click_XA[:, : script.ITEMS + 1],
        {"method": "none"},
        np.random.default_rng(0),
    )
    silent = script.World(world.simulator, plain, world.evaluated)
    script.serve(silent, tmp_path / "data", 30, 2)
    refused = run("report", tmp_path / "data", "--off-policy", world.evaluated, code=2)
    assert "has propensities (lists: 30 without propensities)" in refused.stderr
    frame_file = tmp_path / "shown.jsonl"
    run("export", tmp_path / "data", "--shown", "--out", frame_file)
    rows = [json.loads(line) for line in frame_file.read_text().splitlines()]
    assert len(rows) == 90
    assert all(row["propensity"] is None for row in rows)


def test_a_single_model_is_known_to_lack_support(script, world, data, tmp_path):
    """A list without draws equals few recorded ones: the estimate says that the log knows little of it."""
    from segue.data.catalog import Catalog
    from segue.data.sequences import Sequences
    from segue.models import artifact
    from segue.models.counting.popularity import Popularity, PopularityConfig

    catalog = Catalog(script.IDS)
    scorer = Popularity.fit(Sequences.from_lists([[9, 9, 9, 10, 10, 1]]), catalog.size, PopularityConfig())
    saved = artifact.Artifact("popularity", {}, catalog, scorer.arrays(), {}, {"exclude_seen": True})
    artifact.save(saved, tmp_path / "run")
    report = estimate_policy(data, tmp_path / "run", days=1.0)
    assert report.estimates[0].inverse_propensity.value == 0.0  # items of the types are never drawn
    assert report.estimates[0].self_normalized is None
    assert not report.estimates[0].is_supported
    assert not report.estimates[0].is_reliable
    shown = run("report", data, "--off-policy", tmp_path / "run").stdout
    assert "lower bound" in shown
    assert "the 400 lists have the information of 0 lists" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("exclude_seen", "stated", "listed"),
    [(False, None, 1), (True, None, 2), (False, False, 0), (True, False, 0), (False, True, 2), (True, "last", 1)],
)
def test_a_single_model_leaves_out_seen_items_as_it_is_served(world, exclude_seen, stated, listed, tmp_path):
    """Items 1, 2, 3 are popular in this order, and the history is 2, 1, and an unknown item."""
    model = ServedModel.open(world.served)
    model = replace(
        model,
        scorer=Popularity(np.array([0, 3, 2, 1], dtype=np.float32)),
        pipeline_service=None,
        exclude_seen=exclude_seen,
    )
    query = RetrievalQuery([2, 1, PAD])
    request = PlacementRequest(exclude_seen=stated)
    logged = LoggedRequest(cast(Any, None), np.array([3], dtype=np.int32), query, request, 1)
    (one,) = replay(model, logged)
    assert one.items.tolist() == [[1, 2, 3][listed]]


def serve_requests(world: Any, folder: Path, requests: list[RecommendRequest]) -> list[Any]:
    import asyncio

    folder.mkdir()
    with ExitStack() as stack:
        admin = open_services(folder, model_source(world.served), ServingConfig(), lambda line: None, stack)
        admin.router.store([EventIn("type1", user_id="ann"), EventIn("a3", user_id="ann")], "memory")[0].result()
        return [asyncio.run(admin.router.recommend(request)) for request in requests]


def test_the_conditions_of_a_request_are_kept_and_made_again(world, tmp_path):
    many = [f"x{number}" for number in range(MAX_CONDITION_IDS + 1)]
    requests = [
        RecommendRequest(user_id="ann", k=5, placement="home", exclude=["a1", "a2"]),
        RecommendRequest(history=["type2", "a8"], k=2, placement="home", allow=["a4", "a5", "a6"]),
        RecommendRequest(user_id="new", k=3, placement="home", exclude_seen=False),
        RecommendRequest(session_id="s1", k=3, placement="home", exclude=many),
        RecommendRequest(user_id="ann", k=3),  # the default placement, which does not explore
    ]
    answers = serve_requests(world, tmp_path / "data", requests)
    skipped = Counter[str]()
    model = ServedModel.open(world.served)
    logged = list(logged_requests(tmp_path / "data", model, skipped))
    assert dict(skipped) == {"of requests with too many ids": 1, "without propensities": 1}
    assert [one.k for one in logged] == [5, 2, 3]
    ids = model.catalog.to_ids
    assert [ids(one.query.history) for one in logged] == [["type1", "a3"], ["type2", "a8"], []]
    assert ids(logged[0].request.exclude) == ["a1", "a2"]
    for one, answer in zip(logged, answers, strict=False):
        assert ids(one.items) == [item.id for item in answer.items]
        recorded = [item.propensity for item in answer.items]
        assert [item.propensity for item in one.shown.items] == pytest.approx(recorded)
        assert [part.probability for part in replay(model, one)] == pytest.approx(recorded)


def test_a_history_is_made_again_of_the_event_types_of_the_training(world, tmp_path):
    serve_requests(world, tmp_path / "data", [RecommendRequest(user_id="ann", k=5, placement="home")])
    model = ServedModel.open(world.served)
    model.history_events = HistoryEvents(("buy",))
    (one,) = logged_requests(tmp_path / "data", model, Counter())
    assert len(one.query.history) == 0
    assert one.request.seen is not None and one.request.seen.event_types.tolist() == ["view", "view"]
    assert model.catalog.to_ids(one.request.seen.items) == ["type1", "a3"]


def test_recently_recommended_items_are_left_out_again(script, world, tmp_path):
    """With ``exclude_shown`` a user's second list has none of the first: it has the recorded propensities too."""
    folder = script.save_pipeline(
        tmp_path / "served",
        world.simulator.click_XA[:, : script.ITEMS + 1],
        script.EVALUATED,
        np.random.default_rng(0),
        exclude_shown=True,
    )
    requests = [RecommendRequest(user_id=user, k=3, placement="home") for user in ("ann", "bob", "ann")]
    answers = serve_requests(script.World(world.simulator, folder, folder), tmp_path / "data", requests)
    listed = [{item.id for item in answer.items} for answer in answers]
    assert listed[0].isdisjoint(listed[2])
    model = ServedModel.open(folder)
    logged = list(logged_requests(tmp_path / "data", model, Counter()))
    assert [set(model.catalog.to_ids(one.request.impressions)) for one in logged] == [set(), set(), listed[0]]
    for one, answer in zip(logged, answers, strict=True):
        recorded = [item.propensity for item in answer.items]
        assert [part.probability for part in replay(model, one)] == pytest.approx(recorded)


def test_a_file_of_the_first_format_is_kept(tmp_path, world, data):
    """It gets the column of conditions, and its lists stay."""
    path = tmp_path / "attribution.sqlite"
    shutil.copy(data / "attribution.sqlite", path)
    old = apsw.Connection(str(path))
    old.execute("ALTER TABLE impressions DROP COLUMN conditions")
    old.execute("PRAGMA user_version = 1")
    old.close()
    assert sum(len(chunk) for chunk in read_shown_lists(path)) == USERS
    connection = open_file(path)
    assert connection.execute("PRAGMA user_version").get == FORMAT == 2
    assert connection.execute("SELECT count(*) FROM impressions WHERE conditions IS NULL").get == USERS
    close_file(path, connection)
