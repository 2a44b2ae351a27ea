"""Each greedy selection against one that recomputes its objective at every step."""

import numpy as np
import pytest

from segue.pipeline.placements.diversity import (
    SELF_SIMILARITY_SHARE,
    SMOOTHING,
    calibrated_greedy,
    determinantal_greedy,
    mmr_greedy,
    smoothed_kl_divergence,
)
from segue.pipeline.placements.item_similarity import unit_rows


def candidates(seed: int, count: int = 25, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(count), unit_rows(rng.normal(size=(count, size)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("num_fixed", [0, 1, 3])
def test_mmr_against_its_definition(seed: int, strength: float, num_fixed: int) -> None:
    relevance_C, vectors_CD = candidates(seed)
    chosen = list(range(num_fixed)) or [int(np.argmax(relevance_C))]
    while len(chosen) < 10:
        value = {
            i: (1 - strength) * relevance_C[i] - strength * max(float(vectors_CD[i] @ vectors_CD[j]) for j in chosen)
            for i in range(len(relevance_C))
            if i not in chosen
        }
        chosen.append(max(value, key=lambda i: value[i]))
    assert mmr_greedy(relevance_C, vectors_CD, 10, strength, num_fixed).tolist() == chosen


def kernel(relevance_C: np.ndarray, vectors_CD: np.ndarray, strength: float) -> np.ndarray:
    alike = (1 - SELF_SIMILARITY_SHARE) * 0.5 * (1 + vectors_CD @ vectors_CD.T)
    np.fill_diagonal(alike, 1.0)
    quality = np.exp((1 - strength) / (2 * strength) * relevance_C)
    return quality[:, None] * alike * quality


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("num_fixed", [0, 1, 3])
def test_determinantal_against_determinants(seed: int, strength: float, num_fixed: int) -> None:
    relevance_C, vectors_CD = candidates(seed)
    whole = kernel(relevance_C, vectors_CD, strength)
    chosen = list(range(num_fixed))
    while len(chosen) < 10:
        value = {
            i: np.linalg.slogdet(whole[np.ix_([*chosen, i], [*chosen, i])])[1]
            for i in range(len(relevance_C))
            if i not in chosen
        }
        chosen.append(max(value, key=lambda i: value[i]))
    assert determinantal_greedy(relevance_C, vectors_CD, 10, strength, num_fixed).tolist() == chosen


def test_determinantal_with_more_positions_than_categories() -> None:
    vectors_CD = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    relevance_C = np.array([6, 5, 4, 3, 2, 1]) / 6
    order = determinantal_greedy(relevance_C, vectors_CD, 6, 0.9)
    assert order[:2].tolist() == [0, 3] and sorted(order.tolist()) == list(range(6))
    num_fixed = determinantal_greedy(relevance_C, vectors_CD, 6, 0.9, num_fixed=4)
    assert num_fixed[:4].tolist() == [0, 1, 2, 3] and sorted(num_fixed.tolist()) == list(range(6))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("num_fixed", [0, 3])
def test_calibrated_against_its_definition(seed: int, strength: float, num_fixed: int) -> None:
    rng = np.random.default_rng(seed)
    relevance_C, share_CG, target_G = rng.random(25), rng.dirichlet([0.3] * 4, size=25), rng.dirichlet([1.0] * 4)
    chosen = list(range(num_fixed))

    def value(items: list[int]) -> float:
        smoothed_G = (1 - SMOOTHING) * share_CG[items].mean(axis=0) + SMOOTHING * target_G
        return float(
            (1 - strength) * relevance_C[items].sum() - strength * (target_G * np.log(target_G / smoothed_G)).sum()
        )

    while len(chosen) < 10:
        chosen.append(max((i for i in range(25) if i not in chosen), key=lambda i: value([*chosen, i])))
    assert calibrated_greedy(relevance_C, share_CG, target_G, 10, strength, num_fixed).tolist() == chosen


def test_divergence_by_hand() -> None:
    target_G = np.array([0.5, 0.5, 0.0])
    order = smoothed_kl_divergence(target_G, np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert order.tolist() == pytest.approx([0.0, 0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005)])


def test_fewer_candidates_than_positions() -> None:
    relevance_C, vectors_CD = candidates(0, count=3)
    assert sorted(mmr_greedy(relevance_C, vectors_CD, 10, 0.5).tolist()) == [0, 1, 2]
    assert sorted(determinantal_greedy(relevance_C, vectors_CD, 10, 0.5).tolist()) == [0, 1, 2]
    assert sorted(calibrated_greedy(relevance_C, np.eye(3), np.full(3, 1 / 3), 10, 0.5).tolist()) == [0, 1, 2]
