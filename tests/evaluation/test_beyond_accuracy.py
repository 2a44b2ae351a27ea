"""Each metric by hand, and the closed form against its definition."""

import numpy as np
import pytest

from segue.evaluation.beyond_accuracy import (
    distinct_share,
    gini,
    intra_list_diversity,
    miscalibration,
    serendipity,
    unexpectedness,
)


def test_intra_list_diversity_against_all_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors_VD = rng.normal(size=(20, 4))
    vectors_VD[[0, 7]] = 0.0  # nothing is known of item 7: it is unlike all
    lists_NK = np.stack([1 + rng.permutation(19)[:6] for _ in range(8)])
    lists_NK[0, 3:] = 0
    lists_NK[1, 1:] = 0
    result = intra_list_diversity(lists_NK, vectors_VD)
    for row, value in zip(lists_NK, result, strict=True):
        items = [i for i in row if i]
        unlike = []
        for a in items:
            for b in items:
                lengths = np.linalg.norm(vectors_VD[a]) * np.linalg.norm(vectors_VD[b])
                if a != b:
                    unlike.append(1 - (vectors_VD[a] @ vectors_VD[b] / lengths if lengths else 0.0))
        assert value == pytest.approx(np.mean(unlike) if unlike else 0.0)


def test_intra_list_diversity_by_hand() -> None:
    vectors_VD = np.array([[0, 0], [1, 0], [2, 0], [0, 1]])
    assert intra_list_diversity(np.array([[1, 2], [1, 3], [3, 0]]), vectors_VD).tolist() == [0, 1, 0]


def test_lists_by_hand() -> None:
    lists = np.array([[1, 2, 3], [2, 0, 0], [0, 0, 0]])
    assert distinct_share(lists, np.array([9, 4, 4, -1])).tolist() == [0.5, 1, 0]
    expected = np.array([[2, 3, 4], [2, 3, 0], [1, 2, 3]])
    assert unexpectedness(lists, expected).tolist() == pytest.approx([1 / 3, 0, 0])
    wanted = np.array([1, 2, 0])  # hit and unexpected; hit but expected; no item at all
    assert serendipity(lists, wanted, expected).tolist() == [1, 0, 0]


def test_gini_by_hand() -> None:
    assert gini(np.array([[1, 2], [3, 0]]), 4) == pytest.approx(0)
    assert gini(np.array([[1, 0], [1, 0]]), 4) == pytest.approx(2 / 3)  # one of three has all
    assert gini(np.array([[1, 2], [1, 0]]), 3) == pytest.approx(1 / 6)  # 2 and 1: |2 - 1| * 2 / (2 * 2 * 3)
    assert gini(np.zeros((2, 2), dtype=int), 4) == 0


def test_miscalibration_by_hand() -> None:
    wanted, items = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    by_hand = 0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005)
    assert miscalibration(wanted, items).tolist() == pytest.approx([by_hand, 0])
