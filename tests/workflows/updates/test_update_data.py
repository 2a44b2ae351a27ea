"""Whether an update is kept."""

import numpy as np

from segue.workflows.updates.update_data import is_not_worse


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
