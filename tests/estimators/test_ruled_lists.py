"""Lists in Python: seen items as in the evaluation, rules of a loaded pipeline, refusals by a single model."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.shop_pipelines import BRANDS, IDS, PRICES, save_pipeline

import segue
from segue.data.splits.split import PROTOCOLS, excludes_seen, split_log
from segue.estimators.trained_model import TrainedModel
from segue.pipeline.config import PlacementConfig
from segue.pipeline.placements.rules import RulesConfig
from segue.serving.inference.served_model import ServedModel

PLACEMENTS: list[dict[str, Any]] = [
    {"name": "cheap", "rules": {"filter": "price < 5", "exclude_seen": False}},
    {"name": "bought", "rules": {"exclude_seen": ["purchases"]}},
    {
        "name": "mixed",
        "rules": {"quotas": [{"column": "brand", "at_most": 1}], "pins": [{"item": "i39", "position": 2}]},
    },
]


@pytest.fixture(scope="module")
def log() -> segue.EventLog:
    rows = [(f"u{u}", f"i{(u + s) % 9}", 100 * s + u) for u in range(12) for s in range(6)]
    return segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return segue.load(save_pipeline("weights", tmp_path_factory.mktemp("pipeline") / "run", PLACEMENTS))


def ids(lists: list[list[tuple[str, float]]]) -> list[str]:
    return [item for item, _ in lists[0]]


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"fixed"}))
def test_a_protocol_excludes_seen_items_in_a_model_as_in_its_split(log: segue.EventLog, protocol: str) -> None:
    options = {"n": 2} if protocol == "leave-last-n-out" else {}
    assert excludes_seen(protocol) == split_log(log, protocol, **options).exclude_seen
    assert excludes_seen(protocol.replace("-", "_")) == excludes_seen(protocol)


@pytest.mark.parametrize(
    ("protocol", "hidden"), [("time", {"i3"}), ("leave-last-out", {"i2", "i3"}), ("sessions", {"i3"})]
)
def test_seen_items_are_left_out_as_in_the_evaluation_before_and_after_saving(
    log: segue.EventLog, tmp_path: Path, protocol: str, hidden: set[str]
) -> None:
    model = segue.Popularity().fit(log, protocol=protocol)
    everything = {f"i{i}" for i in range(9)}
    assert set(ids(model.recommend([["i2", "i3"]], k=9))) == everything - hidden
    assert set(ids(model.recommend([["i2", "i3", "no such item"]], k=9))) == everything - hidden
    assert set(ids(model.recommend([["i2", "i3"]], k=9, exclude_seen=True))) == everything - {"i2", "i3"}
    assert set(ids(model.recommend([["i2", "i3"]], k=9, exclude_seen=False))) == everything
    model.save(tmp_path / "run")
    assert ids(segue.load(tmp_path / "run").recommend([["i2", "i3"]], k=9)) == ids(model.recommend([["i2", "i3"]], k=9))
    assert ServedModel.open(tmp_path / "run").exclude_seen == (hidden == {"i2", "i3"})
    loaded = segue.load(tmp_path / "run")
    assert set(ids(loaded.generate([["i2", "i3"]], steps=9, strategy="greedy"))) == everything - hidden
    assert ids([model.similar("i3", k=9)]).count("i3") == 0


def test_a_loaded_pipeline_keeps_the_rules_of_its_placements(pipeline: TrainedModel) -> None:
    cheap = {item for item in IDS if PRICES[item] < 5}
    rules: dict[str, Any] = {"placement": "cheap", "filter": "price > 1", "exclude": ["i3", "no such item"]}
    allowed = {item for item in cheap if PRICES[item] > 1} - {"i3"}
    assert set(ids(pipeline.recommend([["i8", "i9"]], k=40, **rules))) == allowed
    assert set(ids(pipeline.recommend([["i8"]], k=40, items=["i20", "i6"], **rules))) == allowed & {"i20", "i6"}
    assert set(ids([pipeline.similar("i12", k=40, **rules)])) == allowed - {"i12"}
    for strategy in ("top-k", "greedy", "sample", "reciprocal-rank"):
        assert set(ids(pipeline.generate([["i8"]], steps=40, strategy=strategy, **rules))) == allowed
        mixed = ids(pipeline.generate([["i8"]], steps=4, strategy=strategy, placement="mixed"))
        assert mixed[1] == "i39" and len({BRANDS[item] for item in mixed}) == 4


def test_event_types_in_the_contexts_of_a_history_are_read(pipeline: TrainedModel) -> None:
    contexts = [[{"event": "buy"}, {"event": "view"}, {}, {"event": "view"}]]
    history = [["i1", "i2", "i3", "i4"]]
    for listed in (
        pipeline.recommend(history, k=40, placement="bought", contexts=contexts),
        pipeline.generate(history, steps=40, strategy="greedy", placement="bought", contexts=contexts),
    ):
        assert set(IDS) - set(ids(listed)) == {"i1", "i4"}
    assert set(IDS) - set(ids(pipeline.recommend(history, k=40, placement="bought"))) == {"i4"}


def test_other_placements_of_a_loaded_pipeline(pipeline: TrainedModel) -> None:
    other = pipeline.with_placements([PlacementConfig("dear", RulesConfig(filter="price > 15"))])
    assert all(PRICES[item] > 15 for item in ids(other.recommend([["i1"]], k=40, placement="dear")))
    with pytest.raises(ValueError, match="There is no placement 'dear'"):
        pipeline.recommend([["i1"]], placement="dear")
    with pytest.raises(ValueError, match="Placement 'dear': The items have no column 'colour'"):
        pipeline.with_placements([PlacementConfig("dear", RulesConfig(filter="colour == 1"))])


def test_rules_that_cannot_be_kept_are_refused(log: segue.EventLog, pipeline: TrainedModel) -> None:
    single = segue.Popularity().fit(log).fitted
    refused: dict[str, Any] = {"placement": "home", "filter": "price < 3"}
    for name, value in refused.items():
        for call in (single.recommend, single.generate):
            with pytest.raises(ValueError, match="This is a single model, popularity"):
                call([["i1"]], **{name: value})
        with pytest.raises(ValueError, match="This is a single model, popularity"):
            single.similar("i1", **{name: value})
    with pytest.raises(TypeError, match=r"There is no rule 'plcement'\. The rules of a request: exclude_seen, items, "):
        pipeline.recommend([["i1"]], plcement="cheap")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="exclude is a list of item ids, got the text 'i1'"):
        single.recommend([["i1"]], exclude="i1")
    with pytest.raises(ValueError, match="The items have no column 'colour'"):
        pipeline.recommend([["i1"]], filter="colour == 1")
