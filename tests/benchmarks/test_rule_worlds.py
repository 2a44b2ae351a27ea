"""Random filters, rules and histories under a naive judge: the suite's share of the benchmark's 10,000."""

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
def test_no_list_is_ever_wrong(worlds, seed: int, items: int) -> None:
    """Never a forbidden item, never fewer than k while k are allowed, seen items never return, pins where asked."""
    dice = worlds.Dice(np.random.default_rng(seed))
    world = worlds.make_world(dice.rng, items)
    placement = worlds.make_placement(dice, items)
    mask_V = compile_mask(placement.config.filter, world.facts.columns)
    assert mask_V.tolist() == [False] + [bool(placement.passes(row)) for row in world.rows[1:]]
    wrong, found = worlds.ask(world, placement, dice)
    assert not wrong, (wrong, placement.config, found)


def test_the_judge_sees_what_is_wrong(worlds) -> None:
    """The naive judge is no rubber stamp: each mistake, made on purpose, is named."""
    dice = worlds.Dice(np.random.default_rng(4))
    world = worlds.make_world(dice.rng, 20)
    config = worlds.RulesConfig(pins=(worlds.Pin("item 6", 2),), quotas=(Quota(filter="in_stock", at_most=1),))
    placement = worlds.Placement(
        config, lambda row: True, lambda row: True, (lambda row: row.get("in_stock") == "true",)
    )
    everything = list(range(1, 21))
    right = RankedList.from_items([3, 7, 1, 2], [4, 3, 2, 1], sources=("model",))

    def said(found: RankedList, wanted: list[int], k: int = 4) -> str:
        return "; ".join(worlds.judge(world, placement, k, wanted, found))

    assert "forbidden items [3]" in said(right, [i for i in everything if i != 3])
    assert "4 items where 5 were due" in said(right, everything, 5)
    assert "item 7 is not at its place 2" in said(right.take([1, 0, 2, 3]), everything)
    stocked = [i for i in everything if world.rows[i].get("in_stock") == "true" and i != 7]
    many = RankedList.from_items([stocked[0], 7, *stocked[1:3]], [4, 3, 2, 1], sources=("model",))
    assert "of Quota(" in said(many, everything)
    relaxed = RankedList.from_items([3, 7, 1, 2], [4, 3, 2, 1], sources=("model",), reason=PlacementReason.RELAXED)
    assert "breaks a quota without need" in said(relaxed, everything)
