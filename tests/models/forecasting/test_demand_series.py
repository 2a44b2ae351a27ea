"""Demand against counts by hand, the choice of the period, and the scaling to mean traffic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data.sequences import Sequences
from segue.models.forecasting.demand_series import MAX_PERIODS, choose_period, count_demand, scale_to_mean_traffic

S = 1_000_000


def test_counts_by_period_the_last_one_ending_with_the_last_event():
    """Periods of 10 s that end at second 25: (-5, 5] is not whole and left out, then (5, 15] and (15, 25]."""
    log = Sequences.from_lists([[1, 2, 1], [2, 0, 2]], [[0, 5 * S, 6 * S], [15 * S, 16 * S, 25 * S]])
    demand = count_demand(log, 4, period_s=10)
    assert demand.counts_VT.tolist() == [[0, 0], [1, 0], [1, 1], [0, 0]]
    assert (demand.num_periods, demand.period_s, demand.end_us) == (2, 10, 25 * S)
    assert demand.newest_counts(1).tolist() == [[0], [0], [1], [0]]
    assert demand.newest_counts(9).tolist() == demand.counts_VT.tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**9)), min_size=1, max_size=40), st.integers(1, 10**8))
def test_counting_equals_counting_one_by_one(events, period_us):
    items, times = zip(*sorted(events, key=lambda e: e[1]), strict=True)
    period_us = max(period_us, (times[-1] - times[0]) // 50 + 1)
    demand = count_demand(Sequences.from_lists([items], [times]), 6, period_s=period_us / 1e6)
    naive = np.zeros_like(demand.counts_VT)
    for item, time in zip(items, times, strict=True):
        period = demand.num_periods - 1 - (times[-1] - time) // period_us
        if item and period >= 0:
            naive[item, period] += 1
    assert demand.counts_VT.tolist() == naive.tolist()
    assert demand.num_periods == max(1, (times[-1] - times[0] + 1) // period_us)


def test_views_are_counted_without_the_rest_of_the_log():
    log = Sequences.from_lists([[1, 2, 3]], [[0, 10 * S, 20 * S]]).prefixes([2])
    assert count_demand(log, 4, period_s=5).counts_VT.tolist() == [[0, 0], [0, 0], [0, 1], [0, 0]]


@given(st.floats(8, 1e10))
def test_every_span_gets_8_to_60_periods(span_s):
    assert 8 <= span_s / choose_period(span_s) <= MAX_PERIODS * (1 + 1e-9)


def test_a_year_has_weeks_and_a_short_log_one_period():
    assert choose_period(365 * 86_400) == 7 * 86_400
    assert count_demand(Sequences.from_lists([[1, 2]], [[3, 5]]), 3).counts_VT.tolist() == [[0], [1], [1]]
    assert count_demand(Sequences.from_lists([], []), 3).counts_VT.tolist() == [[0], [0], [0]]


def test_every_period_gets_the_mean_traffic_but_a_factor_of_at_most_4():
    """Traffic 8, 4, 0, 0 and 3 on average: the first two become 3; a single event would be scaled by 4 at most."""
    counts = np.array([[0, 0, 0, 0], [6, 1, 0, 0], [2, 3, 0, 0]], dtype=np.float32)
    np.testing.assert_allclose(scale_to_mean_traffic(counts), [[0, 0, 0, 0], [2.25, 0.75, 0, 0], [0.75, 2.25, 0, 0]])
    quiet = np.array([[0, 0], [1, 39]], dtype=np.float32)
    np.testing.assert_allclose(scale_to_mean_traffic(quiet)[1], [4, 20])
    assert scale_to_mean_traffic(np.zeros((3, 2), dtype=np.float32)).tolist() == [[0, 0]] * 3


def test_demand_needs_times():
    with pytest.raises(ValueError) as error:
        count_demand(Sequences.from_lists([[1]]), 2)
    assert str(error.value) == "Demand over time needs times, and this log has only an order."


def test_a_period_that_is_far_too_short_is_refused():
    with pytest.raises(ValueError) as error:
        count_demand(Sequences.from_lists([[1, 2]], [[0, 86_400 * S]]), 3, period_s=0.5)
    assert str(error.value) == (
        "period_s 0.5 cuts this log into 172,800 periods; trends need few and full ones: choose a period of at least "
        "1,440 s, or none to have one chosen."
    )
