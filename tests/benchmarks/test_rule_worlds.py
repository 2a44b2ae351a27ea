"""Random filters, rules and histories under a naive checker: a part of the benchmark's 10,000."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.pipeline.filters.compiler import compile_mask
from segue.pipeline.placements.quotas import Quota
from segue.pipeline.ranked_list import PlacementReason, RankedList

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def worlds():
    """The script as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import rule_worlds as script

        yield script


@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32), items=st.integers(2, 60))
def test_random_lists_have_no_error(worlds, seed: int, items: int) -> None:
    """No list has a forbidden item, fewer than k of k allowed items, an excluded seen item or a pin at another
    position."""
    dice = worlds.Dice(np.random.default_rng(seed))
    world = worlds.make_world(dice.rng, items)
    placement = worlds.make_placement(dice, items)
    mask_V = compile_mask(placement.config.filter, world.item_data.columns)
    assert mask_V.tolist() == [False] + [bool(placement.passes(row)) for row in world.rows[1:]]
    errors, ranked = worlds.check_request(world, placement, dice)
    assert not errors, (errors, placement.config, ranked)


def test_the_checker_reports_every_error(worlds) -> None:
    """Each error, made on purpose, is reported."""
    dice = worlds.Dice(np.random.default_rng(4))
    world = worlds.make_world(dice.rng, 20)
    config = worlds.RulesConfig(pins=(worlds.Pin("item 6", 2),), quotas=(Quota(filter="in_stock", at_most=1),))
    placement = worlds.Placement(
        config, lambda row: True, lambda row: True, (lambda row: row.get("in_stock") == "true",)
    )
    all_items = list(range(1, 21))
    valid = RankedList.from_items([3, 7, 1, 2], [4, 3, 2, 1], sources=("model",))

    def errors_of(ranked: RankedList, allowed: list[int], k: int = 4) -> str:
        return "; ".join(worlds.list_errors(world, placement, k, allowed, ranked))

    assert "forbidden items [3]" in errors_of(valid, [i for i in all_items if i != 3])
    assert "4 items where 5 were expected" in errors_of(valid, all_items, 5)
    assert "item 7 is not at its position 2" in errors_of(valid.take([1, 0, 2, 3]), all_items)
    stocked = [i for i in all_items if world.rows[i].get("in_stock") == "true" and i != 7]
    many = RankedList.from_items([stocked[0], 7, *stocked[1:3]], [4, 3, 2, 1], sources=("model",))
    assert "of Quota(" in errors_of(many, all_items)
    relaxed = RankedList.from_items([3, 7, 1, 2], [4, 3, 2, 1], sources=("model",), reason=PlacementReason.RELAXED)
    assert "breaks a quota without need" in errors_of(relaxed, all_items)
