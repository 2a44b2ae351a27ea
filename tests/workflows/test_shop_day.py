"""A shop's day from end to end: a small shop of ``benchmarks/shop_day.py``, in each encoding."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MOST = 0.01
"""Largest distance to the ndcg@10 of the true probabilities."""


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The script as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("shop_day")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_day_breaks_no_rule_and_finds_the_planted_one(script: Any, tmp_path: Path) -> None:
    found = script.run_day(script.SMALL, "gb18030", 1, tmp_path)
    assert found["first violations"] == []
    paths = {"recommend", "filter", "next", "similar", "batch of files", "batch of data", "command line", "python"}
    assert set(found["lists"]) == paths
    assert found["largest gap to the best honest ndcg@10"] < MOST, found["ndcg@10"]


def test_the_same_log_with_a_byte_order_mark(script: Any, tmp_path: Path) -> None:
    day = script.Day(tmp_path, script.SMALL, "utf-8-sig", 2)
    script.read_and_fit(day)
    assert day.largest_gap() < MOST, day.ndcg


def test_the_checker_reports_broken_rules(script: Any) -> None:
    """Each rule in turn, so that the day is no test that cannot fail."""
    world = importlib.import_module("shop_world")
    shop = world.make_shop(3, 60)
    state = world.State(dict(shop.items), {"首页": world.home_rules(""), "购物车": world.basket_rules(shop.ids[4:5])})
    allowed = [item for item in shop.ids if shop.items[item].in_stock and state.rules["首页"].passes(shop.items[item])]
    pin = allowed[0]
    state.rules["首页"] = world.home_rules(pin)
    counts: dict[str, list[str]] = {}
    for item in allowed:
        counts.setdefault(shop.items[item].category, []).append(item)
    good = [pin, *(item for items in counts.values() for item in items[:3] if item != pin)][:6]
    history = [(good[2], "购买"), (shop.ids[-1], "点击")]

    def errors(items: list[str], placement: str | None = "首页", **more: Any) -> str:
        return "; ".join(state.errors(items, len(good), more.pop("history", []), placement, **more))

    assert errors(good) == ""
    assert errors(good, history=history) == f"{good[2]} is not allowed"
    assert "is not allowed" in errors([pin, *good[2:], next(i for i in shop.ids if not shop.items[i].in_stock)])
    assert errors([*good[1:], pin]) == f"the pin {pin} is not first"
    assert "an item occurs twice" in errors([pin, pin, *good[2:]])
    assert f"5 items where {len(good)} are allowed" in errors(good[:5])
    crowded = max(counts.values(), key=len)
    assert "items of" in errors([pin, *[item for item in crowded if item != pin][:5]])
    assert errors(good, None, history=[(good[1], "点击")]) == f"{good[1]} is not allowed"
    assert errors([shop.ids[4], *good[1:]], "购物车").startswith(f"{shop.ids[4]} is not allowed")
    del state.items[good[3]]
    assert f"{good[3]} is not allowed" in errors(good)


def test_the_true_probabilities_rank_best(script: Any) -> None:
    """Known by hand: the two successors are first and second, whatever comes after them."""
    shop = importlib.import_module("shop_world").make_shop(1, 30)
    order = [shop.ids[i] for i in (-shop.next_II[0]).argsort()]
    assert shop.best_ndcg([shop.ids[0]] * 2, order[:2]) == pytest.approx((1 + 0.6309) / 2, abs=1e-4)
    assert shop.best_ndcg([shop.ids[0]], [order[12]]) == 0
    assert shop.next_II.sum(axis=1) == pytest.approx(1) and shop.next_II[0, 0] == 0
