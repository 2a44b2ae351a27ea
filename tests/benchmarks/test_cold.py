"""The cold benchmark's cut: what is hidden is nowhere but in the cold cases, and the rest is leave-last-out."""

from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from segue.data.catalog import PAD
from segue.data.event_log import EventLog
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import cold as script

    return script


def log() -> EventLog:
    rng = np.random.default_rng(1)
    rows = [(f"u{u}", f"i{rng.integers(40):02d}", t) for u in range(60) for t in range(rng.integers(2, 12))]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def table() -> pl.DataFrame:
    return pl.DataFrame({"item_id": [f"i{i:02d}" for i in range(42)], "kind": [f"k{i % 3}" for i in range(42)]})


@pytest.mark.parametrize("hold_out_last", [True, False])
def test_hidden_items_are_nowhere_but_in_the_cold_cases(cold: ModuleType, hold_out_last: bool) -> None:
    split, asked, warm, hidden_V = cold.hide(log(), read_items(table()), seed=3, hold_out_last=hold_out_last)
    assert int(hidden_V.sum()) == round(0.05 * 40) and not hidden_V[PAD]
    for cases in (split.validation, warm):
        assert not hidden_V[cases.targets].any() and (cases.targets != PAD).all()
    for rows in (split.train, split.validation.histories, warm.histories, asked.histories):
        assert not hidden_V[rows.items[rows.positions()[1]]].any()
    assert len(asked) and hidden_V[asked.targets].all()
    assert split.item_features is not None and split.item_features.rows[-1] == {"kind": "k2"}


def test_every_event_of_a_hidden_item_with_a_known_one_before_is_asked(cold: ModuleType) -> None:
    events = log()
    split, asked, _, hidden_V = cold.hide(events, read_items(table()), seed=3, hold_out_last=True)
    rows = events.with_items(read_items(table())).sequences(split.catalog)[0].to_lists()
    wanted = [
        ([i for i in row[:t] if not hidden_V[i]], item)
        for row in rows
        for t, item in enumerate(row)
        if hidden_V[item] and any(not hidden_V[i] for i in row[:t])
    ]
    assert list(zip(asked.histories.to_lists(), asked.targets.tolist(), strict=True)) == wanted


def test_the_means_are_over_seeds(cold: ModuleType) -> None:
    rows = [
        {"model": "m", "feature_use": use, "times_chance": t, "warm_ndcg@10": w, "warm_ndcg@10_among_all": w / 2}
        for use, t, w in (("none", 1.0, 0.2), ("placing", 8.0, 0.3), ("none", 3.0, 0.4), ("placing", 6.0, 0.5))
    ]
    mean = {"times_chance": 2.0, "warm_ndcg@10": pytest.approx(0.3), "warm_ndcg@10_among_all": pytest.approx(0.15)}
    more = {"times_chance": 7.0, "warm_ndcg@10": pytest.approx(0.4), "warm_ndcg@10_among_all": pytest.approx(0.2)}
    assert cold.summary(rows) == {"m": {"none": mean, "placing": more}}
