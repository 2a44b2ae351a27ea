"""Rules are checked against the catalog before a training."""

from pathlib import Path

import polars as pl
import pytest

import segue
from segue.data.catalog import Catalog
from segue.pipeline.config import PlacementConfig, decode_pipeline
from segue.pipeline.placements.check_placements import check_placements
from segue.pipeline.placements.diversification import DiversificationConfig
from segue.pipeline.placements.rules import Pin, RulesConfig
from segue.workflows.train_pipeline import train_pipeline

CATALOG = Catalog(["a", "b", "c"])
ITEMS = {"a": {"price": 1.0, "brand": "x"}, "b": {"price": 9.0, "brand": "y"}, "c": {"brand": "x"}}


def refusal(placement: PlacementConfig, items: dict = ITEMS, **options: bool) -> str:
    with pytest.raises(ValueError) as refused:
        check_placements([placement], CATALOG, items, **options)
    return str(refused.value)


def test_sound_placements_have_no_notes() -> None:
    rules = RulesConfig(filter="price < 7", exclude_seen=("purchases",))
    assert check_placements([PlacementConfig("home", rules)], CATALOG, ITEMS, ["view", "支付"]) == []


def test_a_column_that_the_items_lack_is_refused() -> None:
    cheap = PlacementConfig("cheap", RulesConfig(filter="prize < 7"))
    assert refusal(cheap).startswith("Placement 'cheap': The items have no column 'prize'. Did you mean 'price'?")
    assert refusal(cheap, {}).endswith("No items table with such columns was given.")
    assert refusal(PlacementConfig("home", RulesConfig(in_stock="stock"))).startswith(
        "Placement 'home': The items have"
    )


def test_a_column_of_another_type_is_refused() -> None:
    items = {**ITEMS, "b": {"price": "NA", "brand": "y"}}
    assert "'price' holds text" in refusal(PlacementConfig("cheap", RulesConfig(filter="price < 7")), items)


def test_a_diversification_by_embeddings_that_no_source_has_is_refused() -> None:
    varied = PlacementConfig("varied", rerank=DiversificationConfig("mmr"))
    assert refusal(varied, has_embeddings=False).startswith("Placement 'varied': ")
    assert check_placements([varied], CATALOG, ITEMS) == []


def test_rules_without_effect_are_noted() -> None:
    rules = RulesConfig(pins=(Pin("b", 1),), filter="price < 7", exclude_seen=("purchases", "gift"))
    notes = check_placements([PlacementConfig("home", rules)], CATALOG, ITEMS, ["view"])
    assert notes == [
        "Placement home: The pin of 'b' at position 1 is never shown: the filter, the exclusions or the stock of the "
        "placement leave it out.",
        "Placement home: no event is of the types exclude_seen = ['purchases', 'gift'], the log has the types view.",
    ]
    assert check_placements([PlacementConfig("home", rules)], CATALOG, ITEMS)[1].endswith("the log has no event types.")


def test_a_training_from_python_is_refused_before_it_begins(tmp_path: Path) -> None:
    rows = [(f"u{user}", "abc"[(user + step) % 3], 100 * step + user) for user in range(9) for step in range(4)]
    log = segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    config = decode_pipeline(
        {"source": [{"model": "markov"}], "placement": [{"name": "home", "rules": {"in_stock": "s"}}]}
    )
    stages: list[str] = []
    with pytest.raises(ValueError, match=r"^Placement 'home': The items have no column 's'"):
        train_pipeline(log, config, tmp_path / "run", progress=lambda stage, state: stages.append(stage))
    assert stages == [] and not (tmp_path / "run").exists()
