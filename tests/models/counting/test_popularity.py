"""Popularity against counts by hand: all time, in a window, with a half-life."""

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.data.time_units import DAY_US
from segue.models.counting.popularity import Popularity, PopularityConfig

LOG = Sequences.from_lists([[1, 2, 1], [3, 2]], [[0, 5 * DAY_US, 9 * DAY_US], [8 * DAY_US, 10 * DAY_US]])


def weights(**values):
    return Popularity.fit(LOG, 6, PopularityConfig(**values)).weight_V


def test_all_time():
    assert weights().tolist() == [0, 2, 2, 1, 0, 0]


def test_a_recent_window_includes_its_edge():
    """The log ends on day 10: two days back is day 8."""
    np.testing.assert_allclose(weights(window_days=2), [0, 1, 1, 1, 0, 0], atol=1e-5)


def test_a_half_life():
    """Ages 10, 5 and 1 days for items 1, 2, 1; 2 and 0 for 3, 2."""
    np.testing.assert_allclose(weights(half_life_days=5), [0, 0.25 + 0.5**0.2, 0.5 + 1, 0.5**0.4, 0, 0], atol=1e-5)


def test_both_together():
    np.testing.assert_allclose(weights(window_days=2, half_life_days=1), [0, 0.5, 1, 0.25, 0, 0], atol=1e-5)


def test_items_with_old_events_rank_above_items_without_events():
    old = Popularity.fit(
        Sequences.from_lists([[1, 2, 2, 3]], [[0, 0, 0, 100 * DAY_US]]), 5, PopularityConfig(window_days=1)
    )
    assert np.argsort(-old.weight_V[1:], kind="stable").tolist() == [2, 1, 0, 3]


@pytest.mark.parametrize("values", [{"window_days": 1.0}, {"half_life_days": 1.0}])
def test_recent_popularity_needs_times(values):
    with pytest.raises(ValueError) as error:
        Popularity.fit(Sequences.from_lists([[1]]), 2, PopularityConfig(**values))
    assert str(error.value) == (
        "Recent popularity needs times, and this log has only an order: leave window_days and half_life_days unset."
    )


@pytest.mark.parametrize("name", ["window_days", "half_life_days"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_window_must_be_above_zero(name, value):
    with pytest.raises(ValueError) as error:
        PopularityConfig(**{name: value})
    assert str(error.value) == f"{name} must be above 0, or none, got {value}."
