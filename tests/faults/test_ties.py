"""Small catalogs of equally popular items on the command line: what a random order gives on average."""

import json

import numpy as np
import pytest
from tests.support.cli import run


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (19, {"recall@10": 0.526, "ndcg@10": 0.239, "mrr@10": 0.154}),
        (20, {"recall@10": 0.5, "ndcg@10": 0.227, "mrr@10": 0.146}),
    ],
)
def test_equally_popular_items_score_as_a_random_order(tmp_path, items, expected):
    """After uma-pi1/kge #110 and cvangysel/pytrec_eval #56; half of the ties above gave recall@10 1.0 for 19 items."""
    ids = [f"i{i:02d}" for i in range(items)]
    (tmp_path / "train.txt").write_text(f"{' '.join(ids)}\n{' '.join(ids[1:] + ids[:1])}\n")
    rng = np.random.default_rng(items)
    rows = [" ".join(rng.choice(ids, 2, replace=False)) for _ in range(20)]
    (tmp_path / "test.txt").write_text("\n".join(rows) + "\n")
    options = ["--format", "sessions", "--protocol", "fixed", "--test", tmp_path / "test.txt"]
    options += ["--test-format", "sessions", "--models", "popularity", "--k", "10", "--json"]
    (row,) = json.loads(run("compare", tmp_path / "train.txt", *options).stdout)
    assert row["tie_rule"] == "expected"
    assert {name: round(row["metrics"][name], 3) for name in expected} == expected
    (half,) = json.loads(run("compare", tmp_path / "train.txt", *options, "--ties", "half").stdout)
    assert half["tie_rule"] == "half"
    assert half["metrics"]["recall@10"] == (1.0 if items == 19 else 0.0)
