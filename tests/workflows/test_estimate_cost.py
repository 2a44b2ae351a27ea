"""Cost estimates: models without one are refused in a sentence that is true of each of them."""

import polars as pl
import pytest

import segue
from segue.data.event_log import EventLog
from segue.models.zoo import ZOO, ClassicEntry
from segue.workflows.estimate_cost import estimate_training_cost


@pytest.fixture(scope="module")
def log() -> EventLog:
    rows = [("u1", "a", 1), ("u1", "b", 2), ("u2", "a", 3), ("u2", "b", 4)]
    return segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.mark.parametrize("model", [name for name, entry in ZOO.items() if isinstance(entry, ClassicEntry)])
def test_a_classic_model_has_no_cost_estimate(log: EventLog, model: str) -> None:
    with pytest.raises(ValueError) as error:
        estimate_training_cost(log, model)
    assert str(error.value) == f"{model} has no cost estimate: only neural models have one."


def test_an_ensemble_has_no_cost_estimate(log: EventLog) -> None:
    with pytest.raises(ValueError, match=r"^'markov\+sasrec' is an ensemble of several models; this works for one"):
        estimate_training_cost(log, "markov+sasrec")
