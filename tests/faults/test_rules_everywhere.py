"""Rules on every path to a list: a small part of ``benchmarks/rules_everywhere.py``, and the checker's own mistakes."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.support.cli import run

from segue.serving.schemas.requests import RecommendRequest

LISTS = 240
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """The scripts as modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        names = ("rule_worlds", "rules_world", "rules_everywhere")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def paths(scripts: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    shop = scripts.rules_world.make_shop(3, 0)
    opened = scripts.rules_everywhere.Paths(shop, tmp_path_factory.mktemp("shop"), workers=1)
    yield opened
    opened.close()


def test_no_list_of_any_path_breaks_a_rule(scripts: Any, paths: Any) -> None:
    found = scripts.rules_everywhere.check_lists(paths, (3, 0), LISTS)
    assert found["violations"] == []
    assert set(found["lists"]) == set(scripts.rules_everywhere.SHARES) and sum(found["lists"].values()) >= LISTS


@pytest.mark.parametrize("name", ["single", "shared"])
def test_one_answer_to_seen_items(scripts: Any, paths: Any, name: str) -> None:
    """The command line, Python and the server make one list of a history, by default and where a request states it."""
    dice = scripts.rule_worlds.Dice(np.random.default_rng(4))
    for number in range(8):
        ids = [dice.pick(paths.shop.ids) for _ in range(1 + number)]
        for exclude_seen, option in ((None, ()), (True, ("--exclude-seen",)), (False, ("--include-seen",))):
            request = RecommendRequest(history=ids, k=9, exclude_seen=exclude_seen)
            served = [item.id for item in paths.engines[name].recommend(request).items]
            listed = paths.models[name].recommend([ids], k=9, exclude_seen=exclude_seen)[0]
            assert [item for item, _ in listed] == served
            if number % 4 == 1:
                history = [part for item in ids for part in ("--history", item)]
                shown = run("recommend", paths.runs[name], *history, "--k", 9, *option, "--json").stdout
                assert [item["item_id"] for item in json.loads(shown)["items"]] == served


def test_the_checker_sees_broken_rules(scripts: Any) -> None:
    """Each rule in turn, so that the checker of the lists is no test that cannot fail."""
    world = scripts.rules_world
    shop, rule = world.make_shop(3, 0), world.Rule
    plain = world.RandomRequest(None, "", lambda row: True, (), None, None, len(shop.ids))
    everything, unseen = list(shop.ids), shop.ids[2:]
    history = [(shop.ids[0], "view"), (shop.ids[1], "purchase")]

    def error(items: list[str], rule: Any, request: Any = plain) -> str:
        errors = world.list_errors(shop, request, history, items, rule=rule)
        return errors[0] if errors else ""

    assert error(unseen, rule(None, True)) == ""
    assert error(everything, rule(None, True)) == f"forbidden: {shop.ids[0]}"
    assert error(unseen, rule(None, "last")).startswith(f"{len(unseen)} items where")
    assert error([shop.ids[0], *unseen], rule(None, "last")) == ""
    assert error(everything, rule(None, False)) == ""
    bought = rule(None, ("purchases",))
    assert error(everything, bought) == f"forbidden: {shop.ids[1]}"
    assert error([shop.ids[0], *unseen], bought) == ""
    assert error(unseen, rule(None, True), replace(plain, exclude=(shop.ids[3],))) == f"forbidden: {shop.ids[3]}"
    assert error(unseen, rule(None, True), replace(plain, allow=(shop.ids[2],))) == f"forbidden: {shop.ids[3]}"
    assert error(unseen, rule(None, True), replace(plain, passes=lambda row: False)) == f"forbidden: {shop.ids[2]}"
    assert error([unseen[0], unseen[0]], rule(None, True)) == "an item occurs twice"


def test_the_checker_sees_broken_pins_and_quotas(scripts: Any) -> None:
    """Lists that a builder without pins, or without quotas, would make."""
    world, broken = scripts.rules_world, {"pin": 0, "quota": 0}
    for number in range(6):
        shop = world.make_shop(3, number)
        for rule in shop.rules.values():
            request = world.RandomRequest(None, "", lambda row: True, (), None, False, 6)
            allowed = [item for item in shop.ids if world._is_allowed(shop, rule, request, item)]
            for start in range(max(0, len(allowed) - 6)):
                errors = world.list_errors(shop, request, [], allowed[start : start + 6], rule=rule)
                broken["pin"] += any("pin" in error for error in errors)
                broken["quota"] += any("quota" in error for error in errors)
    assert min(broken.values()) > 20
