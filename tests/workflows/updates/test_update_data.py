"""Cases of an update, and whether it is kept."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from segue.data.catalog import Catalog
from segue.data.readers.events import read_events
from segue.models.artifact import Artifact
from segue.workflows.updates.update_data import (
    is_not_worse,
    prepare_update,
    warn_of_forgotten_events,
    warn_of_trained_events,
)

T0 = 1_700_000_000
NEWEST = {"newest_event_us": (T0 + 89) * 1_000_000}


@pytest.mark.parametrize(
    ("about", "times"),
    [
        ({}, range(90, 100)),
        (NEWEST, [99]),
        ({**NEWEST, "trained_on_everything": False}, range(90, 100)),
        ({"newest_event_us": (T0 + 99) * 1_000_000}, range(90, 100)),
    ],
)
def test_no_case_is_an_event_that_the_old_model_was_trained_on(about: dict[str, Any], times: Any) -> None:
    rows = [("u", f"i{second % 3}", T0 + second) for second in range(100)]
    log = read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    model = Artifact("gru4rec", {}, Catalog(["i0", "i1", "i2"]), {}, {}, about)
    data = prepare_update(model, log, None)
    assert data.cases.times is not None
    assert (data.cases.times // 1_000_000 - T0).tolist() == list(times)
    assert data.before_cutoff.num_events == 100 - len(times)
    warnings = warn_of_trained_events(model, log)
    assert [warning[:41] for warning in warnings] == ["No event of the log is newer than the tra"] * (
        about.get("newest_event_us") == (T0 + 99) * 1_000_000
    )


def test_an_update_that_is_worse_by_chance_alone_is_kept() -> None:
    rng = np.random.default_rng(0)
    before_N = rng.random(200)
    assert is_not_worse(before_N, before_N) and is_not_worse(before_N + 0.01, before_N)
    assert not is_not_worse(before_N - 0.01, before_N), "each case is worse"
    some_N = np.where(np.arange(200) % 2 == 0, 0.1, -0.101)
    assert is_not_worse(before_N + some_N, before_N)
    assert not is_not_worse(before_N + some_N - 0.05, before_N)
    one_N = before_N - 0.05 * (np.arange(200) == 7)
    assert is_not_worse(one_N, before_N), "a single case decides nothing"
    assert is_not_worse(np.ones(1), np.ones(1)) and not is_not_worse(np.zeros(1), np.ones(1))


def test_of_equal_models_most_are_kept() -> None:
    """Each day the two models are as good as each other; without the interval half of the days would be lost."""
    rng = np.random.default_rng(1)
    kept = [is_not_worse(rng.random(100), rng.random(100)) for _ in range(400)]
    assert 0.95 < np.mean(kept) < 1


@pytest.mark.parametrize(("num_old", "num_warnings"), [(0, 1), (98, 1), (99, 0), (100, 0)])
def test_events_that_the_co_visitation_model_would_forget_are_told(num_old: int, num_warnings: int) -> None:
    rows = [("u", "i0", T0 + second) for second in range(100 - num_old, 150)]
    log = read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    catalog, about = Catalog(["i0"]), {"events": 100, "newest_event_us": (T0 + 99) * 1_000_000}
    sequences = log.sequences(catalog)[0]
    with_prior = Artifact("gru4rec", {}, catalog, {"prior.weight": np.ones(1)}, {}, about)
    warnings = warn_of_forgotten_events(with_prior, sequences)
    assert len(warnings) == num_warnings
    assert all(warning.startswith(f"{100 - num_old} of the 100 events") for warning in warnings)
    assert warn_of_forgotten_events(Artifact("gru4rec", {}, catalog, {}, {}, about), sequences) == ()
