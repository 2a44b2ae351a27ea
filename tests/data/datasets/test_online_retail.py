"""Bundled log: sizes of its README, and equality with the output of the committed script."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segue.data.datasets.online_retail import load_online_retail, sample_folder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_sample", ROOT / "scripts" / "make_sample.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundled():
    return load_online_retail()


def test_the_log_has_the_size_of_its_readme(bundled):
    log, items = bundled
    frame = log.frame
    sizes = (frame.height, frame["user_id"].n_unique(), frame["item_id"].n_unique())
    assert sizes == (386_326, 4_334, 3_659)
    readme = (sample_folder() / "README.md").read_text()
    for number in ("386,326", "4,334", "3,659", "10.24432/C5BW33", "Attribution 4.0"):
        assert number in readme
    assert frame.group_by("user_id").len()["len"].max() == 7_469
    titles = pl.read_csv(items, infer_schema=False)
    assert titles["item_id"].to_list() == list(log.catalog().ids)
    assert titles["title"].null_count() == 0
    assert log.report.rejected == {}


def test_the_log_keeps_a_shops_real_habits(bundled):
    """A basket has one customer and (but for a few that two minutes share) one time; users buy items again."""
    log, _ = bundled
    baskets = log.frame.group_by("session_id").agg(pl.col("user_id", "timestamp").n_unique())
    assert baskets["user_id"].max() == 1
    assert (baskets["timestamp"] == 1).mean() > 0.99
    assert np.all(np.diff(log.frame["timestamp"].to_numpy()) >= 0)
    again = 1 - log.frame.unique(["user_id", "item_id"]).height / log.frame.height
    assert 0.25 < again < 0.35


def test_cleaning_removes_the_rows_it_reports(script):
    raw = pl.DataFrame(
        {
            "InvoiceNo": ["1", "1", "1", "C2", "3", "4", "5", "6"],
            "StockCode": ["10001", "10001", "10002A", "10001", "POST", "10003", "10004", "10001"],
            "Description": ["b", "a", " x ", "b", "p", None, "y", "b"],
            "Quantity": [1, 2, 1, -1, 1, 1, 1, 1],
            "UnitPrice": [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0],
            "CustomerID": [7.0, 7.0, 7.0, 7.0, 7.0, 7.0, None, 7.0],
        },
    ).with_columns(pl.datetime(2011, 1, pl.int_range(1, 9)).alias("InvoiceDate"))
    events, report = script.clean(raw)
    assert events.rows() == [
        ("7", "10001", "2011-01-01T00:00Z", "1"),
        ("7", "10002A", "2011-01-03T00:00Z", "1"),
        ("7", "10001", "2011-01-08T00:00Z", "6"),
    ]
    assert report == [
        "8 rows read",
        "1 without a customer",
        "1 cancelled or returned",
        "1 no product (postage, fees, samples)",
        "1 given away",
        "1 second lines of a product in one basket",
        "3 events kept",
    ]
    assert script.titles(raw, events).rows() == [("10001", "b"), ("10002A", "x")]


@pytest.mark.slow
def test_the_script_makes_the_bundled_rows(script, tmp_path):
    """Made from the published file, if it is available (SEGUE_DATA)."""
    if not script.source().exists():
        pytest.skip(f"There is no {script.source()}; set SEGUE_DATA (now {os.environ.get('SEGUE_DATA')}).")
    raw = pl.read_parquet(script.source())
    events, _ = script.clean(raw)
    script.write(events, script.titles(raw, events), tmp_path)
    for name in ("events.csv.gz", "items.csv"):
        made, kept = (pl.read_csv(f / name, infer_schema=False) for f in (tmp_path, sample_folder()))
        assert made.equals(kept)
