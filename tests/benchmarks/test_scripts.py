"""Benchmark scripts: they and their embedded programs import, and the classes of today accept their settings."""

import ast
import importlib
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from segue.models.zoo import canonical_name
from segue.pipeline.config import decode_pipeline
from segue.workflows.fit_model import setting_names

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OPTIONAL = {"fuzz_hooks": "schemathesis", "horizon": "matplotlib", "plots": "matplotlib"}
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py"))


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def load(name: str) -> ModuleType:
    """Import a script; skip it without its optional package."""
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    return importlib.import_module(name)


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_and_its_embedded_programs_import(name: str) -> None:
    module = load(name)
    programs = [text for key, text in vars(module).items() if key.isupper() and "import sys" in str(text)]
    for program in programs:
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("segue", "tests")):
                imported = importlib.import_module(str(node.module))
                for alias in node.names:
                    if not hasattr(imported, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


def check_settings(model: str, values: dict[str, Any]) -> None:
    """Check that a model, an ensemble or a pipeline has every setting of a row."""
    if model == "pipeline":
        for source in decode_pipeline(values).source:
            if source.model in ("gru4rec", "sasrec"):
                assert set(source.settings) <= set(setting_names(source.model))
        return
    members = canonical_name(model).split("+")
    for name in values:
        owner, _, setting = name.rpartition(".")
        assert all(setting in setting_names(member) for member in ([owner] if owner else members)), name


@pytest.mark.usefixtures("scripts")
def test_the_settings_of_the_accuracy_rows_exist() -> None:
    accuracy = load("accuracy")
    rows = [row for task in accuracy.TASKS.values() for row in task.rows.values()]
    assert len(rows) > 20
    for row in rows:
        check_settings(row.model, row.values)


@pytest.mark.usefixtures("scripts")
def test_the_settings_of_the_other_benchmarks_exist() -> None:
    speed, replay, horizon, pipeline = map(load, ("speed", "replay", "horizon", "pipeline_accuracy"))
    for _, values, _ in speed.QUALITY.values():
        check_settings("sasrec", values)
    for model, values in horizon.MODELS.items():
        check_settings(model, values)
    check_settings("pipeline", tomllib.loads(replay.PIPELINE))
    for _, network, column in pipeline.LOGS.values():
        assert pipeline.sources(network, column).source
        check_settings("gru4rec", network)
