"""Each greedy choice against one that computes everything anew at every step."""

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
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_marginal_relevance_against_its_definition(seed: int, strength: float, kept: int) -> None:
    relevance_C, vectors_CD = candidates(seed)
    chosen = list(range(kept)) or [int(np.argmax(relevance_C))]
    while len(chosen) < 10:
        value = {
            i: (1 - strength) * relevance_C[i] - strength * max(float(vectors_CD[i] @ vectors_CD[j]) for j in chosen)
            for i in range(len(relevance_C))
            if i not in chosen
        }
        chosen.append(max(value, key=lambda i: value[i]))
    assert mmr_greedy(relevance_C, vectors_CD, 10, strength, kept).tolist() == chosen


def kernel(relevance_C: np.ndarray, vectors_CD: np.ndarray, strength: float) -> np.ndarray:
    alike = (1 - SELF_SIMILARITY_SHARE) * 0.5 * (1 + vectors_CD @ vectors_CD.T)
    np.fill_diagonal(alike, 1.0)
    quality = np.exp((1 - strength) / (2 * strength) * relevance_C)
    return quality[:, None] * alike * quality


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_determinantal_against_determinants(seed: int, strength: float, kept: int) -> None:
    relevance_C, vectors_CD = candidates(seed)
    whole = kernel(relevance_C, vectors_CD, strength)
    chosen = list(range(kept))
    while len(chosen) < 10:
        value = {
            i: np.linalg.slogdet(whole[np.ix_([*chosen, i], [*chosen, i])])[1]
            for i in range(len(relevance_C))
            if i not in chosen
        }
        chosen.append(max(value, key=lambda i: value[i]))
    assert determinantal_greedy(relevance_C, vectors_CD, 10, strength, kept).tolist() == chosen


def test_determinantal_with_more_places_than_categories() -> None:
    vectors_CD = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    relevance_C = np.array([6, 5, 4, 3, 2, 1]) / 6
    found = determinantal_greedy(relevance_C, vectors_CD, 6, 0.9)
    assert found[:2].tolist() == [0, 3] and sorted(found.tolist()) == list(range(6))
    kept = determinantal_greedy(relevance_C, vectors_CD, 6, 0.9, num_fixed=4)
    assert kept[:4].tolist() == [0, 1, 2, 3] and sorted(kept.tolist()) == list(range(6))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("kept", [0, 3])
def test_calibrated_against_its_definition(seed: int, strength: float, kept: int) -> None:
    rng = np.random.default_rng(seed)
    relevance_C, share_CG, wanted_G = rng.random(25), rng.dirichlet([0.3] * 4, size=25), rng.dirichlet([1.0] * 4)
    chosen = list(range(kept))

    def value(items: list[int]) -> float:
        shown = (1 - SMOOTHING) * share_CG[items].mean(axis=0) + SMOOTHING * wanted_G
        return float((1 - strength) * relevance_C[items].sum() - strength * (wanted_G * np.log(wanted_G / shown)).sum())

    while len(chosen) < 10:
        chosen.append(max((i for i in range(25) if i not in chosen), key=lambda i: value([*chosen, i])))
    assert calibrated_greedy(relevance_C, share_CG, wanted_G, 10, strength, kept).tolist() == chosen


def test_divergence_by_hand() -> None:
    wanted_G = np.array([0.5, 0.5, 0.0])
    found = smoothed_kl_divergence(wanted_G, np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert found.tolist() == pytest.approx([0.0, 0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005)])


def test_fewer_candidates_than_places() -> None:
    relevance_C, vectors_CD = candidates(0, count=3)
    assert sorted(mmr_greedy(relevance_C, vectors_CD, 10, 0.5).tolist()) == [0, 1, 2]
    assert sorted(determinantal_greedy(relevance_C, vectors_CD, 10, 0.5).tolist()) == [0, 1, 2]
    assert sorted(calibrated_greedy(relevance_C, np.eye(3), np.full(3, 1 / 3), 10, 0.5).tolist()) == [0, 1, 2]
