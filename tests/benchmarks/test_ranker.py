"""Benchmark of click rankers: rows of an earlier run, and means over seeds."""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ranker(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ranker as script

    return script


def test_rows_of_the_same_cases_are_kept_and_others_are_not(ranker, tmp_path):
    path = tmp_path / "ranker-log.json"
    fixed = {"data": "abc", "test cases": 3, "cases": {"newest_share": 0.2}}
    assert ranker.earlier(path, fixed) == {}
    rows = {"din": {"0": {"test": {"auc": 0.5}}}}
    path.write_text(json.dumps({**fixed, "rankers": rows, "date": "then"}))
    assert ranker.earlier(path, fixed) == rows
    assert ranker.earlier(path, {**fixed, "test cases": 4}) == {}


def test_means_report_the_number_of_seeds(ranker):
    rows = [{"test": {"auc": 0.5, "ece": 0.02}}, {"test": {"auc": 0.7, "ece": 0.04}}]
    assert ranker.mean(rows) == {"auc": 0.6, "ece": 0.03, "seeds": 2}
