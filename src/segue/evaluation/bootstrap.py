"""Bootstrap confidence intervals over users or sessions.

Cases of one user are correlated, so the resampled unit is the group (Efron & Tibshirani 1993, chapter 6). Shape
letters: M metrics, N cases, G groups, R resamples.
"""

import numpy as np


def bootstrap_intervals(
    values_MN: np.ndarray,
    groups_N: np.ndarray,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> np.ndarray:
    """Compute percentile intervals of the means of M metrics over N cases; groups are drawn with replacement.

    Args:
        values_MN: value of each metric for each case.
        groups_N: user or session of each case.
        rng: generator of the resamples.
        confidence: coverage of the intervals, in (0, 1).
        resamples: number of resamples.

    Returns:
        Lower and upper ends, float64 [M, 2].
    """
    means_MR = _resampled_means(values_MN, groups_N, rng, resamples)
    tail = 100 * (1 - confidence) / 2
    return np.percentile(means_MR, [tail, 100 - tail], axis=1).T


def paired_difference(
    first_N: np.ndarray,
    second_N: np.ndarray,
    groups_N: np.ndarray,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> tuple[float, float, float]:
    """Compute the mean difference of a metric between two models on the same cases, with its interval.

    An interval without 0 is a difference that other users of the same population would show again.

    Args:
        first_N: metric of the first model for each case.
        second_N: metric of the second model.
        groups_N: user or session of each case.
        rng: generator of the resamples.
        confidence: coverage of the interval, in (0, 1).
        resamples: number of resamples.

    Returns:
        (mean of first - second, lower end, upper end).

    Raises:
        ValueError: different numbers of cases.
    """
    if len(first_N) != len(second_N):
        raise ValueError(
            f"The two models were evaluated on {len(first_N)} and {len(second_N)} cases; they must be equal."
        )
    difference_1N = (first_N - second_N)[None, :]
    low, high = bootstrap_intervals(difference_1N, groups_N, rng, confidence=confidence, resamples=resamples)[0]
    return float(difference_1N.mean()), float(low), float(high)


def _resampled_means(
    values_MN: np.ndarray, groups_N: np.ndarray, rng: np.random.Generator, resamples: int
) -> np.ndarray:
    """Return resampled means [M, resamples].

    Sums per group come first, so that a resample is one row of a matrix product. The counts of a multinomial draw are
    made from uniform group numbers, a block of resamples at a time.
    """
    _, group_N = np.unique(groups_N, return_inverse=True)
    count = int(group_N.max()) + 1
    sums_GM = np.stack([np.bincount(group_N, weights=row, minlength=count) for row in values_MN], axis=1)
    sizes_G = np.bincount(group_N, minlength=count).astype(np.float64)
    totals_GX = np.concatenate([sums_GM, sizes_G[:, None]], axis=1)
    block = max(1, 4_000_000 // count)
    means = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count), dtype=np.int64)
        flat = (drawn + np.arange(rows)[:, None] * count).ravel()
        weights_RG = np.bincount(flat, minlength=rows * count).reshape(rows, count)
        totals_RX = weights_RG @ totals_GX
        means.append(totals_RX[:, :-1] / totals_RX[:, -1:])
    return np.concatenate(means).T
