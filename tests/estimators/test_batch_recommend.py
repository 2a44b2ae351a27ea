"""Batch recommendation: lists of all users equal single recommendations, for every block size."""

import polars as pl
import pytest

import segue
from segue.estimators import batch_recommend


@pytest.fixture(scope="module")
def log():
    rows = [(f"u{p:02d}", f"i{(p + s) % 12}", p * 100 + s) for p in range(25) for s in range(2 + p % 5)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return segue.read_events(frame.with_columns(pl.from_epoch("timestamp", "s")))


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_every_list_is_the_one_that_is_recommended(log, tmp_path, monkeypatch, block, exclude_seen):
    model = segue.Markov().fit(log)
    monkeypatch.setattr(batch_recommend, "BLOCK_BYTES", 4 * model.fitted.catalog.size * block)
    reports = []
    out = tmp_path / "lists.parquet"
    users_done = batch_recommend.recommend_all(
        model.fitted,
        log,
        out,
        k=11,
        exclude_seen=exclude_seen,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert users_done == 25
    assert reports[-1] == (25, 25) and len(reports) == -(-25 // block)
    found = pl.read_parquet(out)
    users = sorted(log.frame["user_id"].unique().to_list())
    assert found["user_id"].unique(maintain_order=True).to_list() == users
    for user, answer in zip(users, model.recommend(users=users, k=11, exclude_seen=exclude_seen), strict=True):
        rows = found.filter(pl.col("user_id") == user)
        assert rows["rank"].to_list() == list(range(1, len(answer) + 1))
        assert rows["item_id"].to_list() == [item for item, _ in answer]
        assert rows["score"].to_list() == pytest.approx(
            [score for _, score in answer], rel=1e-4
        )  # another block rounds otherwise


def test_users_of_another_log_and_unknown_items(log, tmp_path):
    model = segue.Markov().fit(log)
    later = segue.read_events(
        pl.DataFrame({"user_id": ["new", "odd"], "item_id": ["i3", "?"], "timestamp": ["2024-01-01"] * 2})
    )
    batch_recommend.recommend_all(model.fitted, later, tmp_path / "lists.csv", k=2)
    found = pl.read_csv(tmp_path / "lists.csv")
    assert found.filter(pl.col("user_id") == "new")["item_id"].to_list()[0] == "i4"
    assert found.filter(pl.col("user_id") == "odd").height == 2, (
        "a user of unknown items gets the list of an empty history"
    )
