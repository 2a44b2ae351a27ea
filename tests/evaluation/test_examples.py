"""Examples in the docstrings of the evaluation package: they run, and the functions for users have one."""

import doctest
import importlib
import pkgutil

import pytest

from segue import evaluation

MODULES = [f"segue.evaluation.{module.name}" for module in pkgutil.iter_modules(evaluation.__path__)]
WITH_EXAMPLES = ("beyond_accuracy", "click_simulator", "multi_step", "off_policy", "order_sensitivity")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name.rpartition(".")[2] not in WITH_EXAMPLES
