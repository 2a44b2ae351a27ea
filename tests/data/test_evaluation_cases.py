"""Evaluation cases: query times, and samples."""

from dataclasses import replace

import numpy as np
import pytest

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences

LOG = Sequences.from_lists([[1, 2, 3], [4, 5]], [[10, 20, 30], [40, 50]])


def cases(times: np.ndarray | None) -> EvaluationCases:
    return EvaluationCases(LOG.prefixes([-1, -1]), np.array([3, 5], np.int32), np.arange(2), times, {"why": 1})


def test_target_times_become_query_times() -> None:
    plain = cases(np.array([30, 50]))
    timed = plain.with_target_times()
    assert plain.histories.query_times is None
    assert timed.histories.query_times is not None
    assert timed.histories.query_times.tolist() == [30, 50]
    later = timed.take(np.array([1])).histories
    assert later.query_times is not None
    assert later.query_times.tolist() == [50]
    assert (timed.histories.to_lists(), timed.dropped) == ([[1, 2], [4]], {"why": 1})


def test_a_sample_is_drawn_without_replacement_in_order() -> None:
    many = cases(np.array([30, 50])).take(np.tile([0, 1], 50))
    many = replace(many, groups=np.arange(100))
    drawn = many.sample(10, (3, 5))
    groups = drawn.groups.tolist()
    assert len(set(groups)) == 10
    assert groups == sorted(groups)
    assert drawn.targets.tolist() == many.targets[groups].tolist()
    assert groups == many.sample(10, (3, 5)).groups.tolist()
    assert groups != many.sample(10, (3, 6)).groups.tolist()
    assert groups == np.sort(np.random.default_rng((3, 5)).choice(100, 10, replace=False)).tolist()
    assert many.sample(100, 0) is many


def test_a_log_without_times_has_no_query_times() -> None:
    with pytest.raises(ValueError) as error:
        cases(None).with_target_times()
    assert str(error.value) == (
        "This log has an order but no times, so targets have no query time: leave target_time out."
    )
