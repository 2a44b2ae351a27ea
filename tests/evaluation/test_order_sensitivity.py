"""Shuffling histories costs a model much where order is the rule, and nothing where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.datasets.synthetic import ring_sequences, shuffled_ring_sequences
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences
from segue.data.splits.targets import all_positions
from segue.evaluation.order_sensitivity import OrderSensitivity, order_sensitivity, shuffle_histories
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.counting.popularity import Popularity, PopularityConfig

OPTIONS = {"users": 200, "items": 30, "length": 12}


def last_positions(rows: Sequences) -> EvaluationCases:
    cases = all_positions(rows)
    return cases.take(cases.histories.lengths == OPTIONS["length"] - 1)


def test_a_ring_is_all_order():
    rows = ring_sequences(np.random.default_rng(0), **OPTIONS)
    markov = Markov.fit(rows, 31, MarkovConfig())
    result = order_sensitivity(markov, last_positions(rows), np.random.default_rng(1), exclude_seen=False, k=1)
    assert result.in_order == 1.0
    # The newest of 11 shuffled events is the right one in one case of 11.
    assert result.shuffled == pytest.approx(1 / 11, abs=0.06)
    assert result.interval[0] < result.drop < result.interval[1]
    assert result.interval[0] > 0.8
    assert result.cases == 200


def test_without_a_rule_nothing_is_lost():
    rows, other = (shuffled_ring_sequences(np.random.default_rng(seed), **OPTIONS) for seed in (0, 1))
    markov = Markov.fit(rows, 31, MarkovConfig())
    result = order_sensitivity(markov, last_positions(other), np.random.default_rng(1), exclude_seen=False)
    assert result.interval[0] < 0 < result.interval[1]


def test_a_model_blind_to_order_loses_exactly_nothing():
    rows = ring_sequences(np.random.default_rng(0), **OPTIONS, noise=0.3)
    popularity = Popularity.fit(rows, 31, PopularityConfig())
    result = order_sensitivity(popularity, last_positions(rows), np.random.default_rng(1), exclude_seen=True)
    assert result.drop == 0.0
    assert result.interval == (0.0, 0.0)


def test_never_right_has_no_drop():
    assert OrderSensitivity(0.0, 0.0, (0.0, 0.0), 3).drop == 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=6), st.integers(0, 99))
def test_shuffling_keeps_every_rows_items_and_the_times(rows, seed):
    plain = Sequences.from_lists(rows, [list(range(len(row))) for row in rows])
    lengths = [max(0, len(row) - 1) for row in rows]
    overlapping = plain.prefixes(lengths)
    mixed = shuffle_histories(overlapping, np.random.default_rng(seed))
    assert [sorted(row) for row in mixed.to_lists()] == [sorted(row[:-1]) for row in rows]
    assert mixed.times.tolist() == [t for n in lengths for t in range(n)]
    assert plain.to_lists() == rows
