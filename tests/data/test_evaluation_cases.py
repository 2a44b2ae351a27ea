"""Cases with and without the moments of their targets."""

import numpy as np
import pytest

from segue.data.evaluation_cases import Cases
from segue.data.sequences import Sequences

LOG = Sequences.from_lists([[1, 2, 3], [4, 5]], [[10, 20, 30], [40, 50]])


def cases(times: np.ndarray | None) -> Cases:
    return Cases(LOG.prefixes([-1, -1]), np.array([3, 5], np.int32), np.arange(2), times, {"why": 1})


def test_told_when_each_case_is_asked_at_its_targets_time() -> None:
    plain = cases(np.array([30, 50]))
    told = plain.told_when()
    assert plain.histories.now is None
    assert told.histories.now is not None
    assert told.histories.now.tolist() == [30, 50]
    later = told.take(np.array([1])).histories
    assert later.now is not None
    assert later.now.tolist() == [50]
    assert (told.histories.lists(), told.dropped) == ([[1, 2], [4]], {"why": 1})


def test_without_times_nobody_can_be_told() -> None:
    with pytest.raises(ValueError) as refused:
        cases(None).told_when()
    assert str(refused.value) == (
        "This log has an order but no times, so no model can be told when it is asked: leave target_time out."
    )
