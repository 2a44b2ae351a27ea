"""Cases with and without the moments of their targets."""

import numpy as np
import pytest

from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences

LOG = Sequences.from_lists([[1, 2, 3], [4, 5]], [[10, 20, 30], [40, 50]])


def cases(times: np.ndarray | None) -> EvaluationCases:
    return EvaluationCases(LOG.prefixes([-1, -1]), np.array([3, 5], np.int32), np.arange(2), times, {"why": 1})


def test_told_when_each_case_is_asked_at_its_targets_time() -> None:
    plain = cases(np.array([30, 50]))
    told = plain.with_target_times()
    assert plain.histories.query_times is None
    assert told.histories.query_times is not None
    assert told.histories.query_times.tolist() == [30, 50]
    later = told.take(np.array([1])).histories
    assert later.query_times is not None
    assert later.query_times.tolist() == [50]
    assert (told.histories.to_lists(), told.dropped) == ([[1, 2], [4]], {"why": 1})


def test_without_times_nobody_can_be_told() -> None:
    with pytest.raises(ValueError) as refused:
        cases(None).with_target_times()
    assert str(refused.value) == (
        "This log has an order but no times, so targets have no query time: leave target_time out."
    )
