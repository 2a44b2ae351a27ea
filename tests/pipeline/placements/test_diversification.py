"""Diversification as a stage: no item is lost, and settings that are refused."""

import re
from typing import Any

import numpy as np
import pytest

from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.placements.diversification import DiversificationConfig, Diversifier, min_max_scaled
from segue.pipeline.ranked_list import RankedList

RANKED = RankedList.from_items(
    [1, 2, 4, 3, 6], [0.9, 0.85, 0.8, 0.5, 0.4], sources=("model",)
)  # three teas, a pot, a cup
NO_HISTORY = np.array([], dtype=np.int32)


@pytest.mark.parametrize("method", ["mmr", "determinantal"])
def test_dissimilar_items_come_to_the_front_and_none_is_lost(method: Any, columns: ItemColumns) -> None:
    diversified = Diversifier(DiversificationConfig(method, strength=0.6, column="category"), columns).apply(
        RANKED, 3, NO_HISTORY
    )
    assert diversified.items_C.tolist() == [1, 3, 6, 2, 4]
    assert diversified.scores_C.tolist() == [0.9, 0.5, 0.4, 0.85, 0.8]


@pytest.mark.parametrize("method", ["mmr", "determinantal", "calibrated"])
def test_fixed_items_keep_their_positions(method: Any, columns: ItemColumns) -> None:
    stage = Diversifier(DiversificationConfig(method, strength=0.6, column="category", num_fixed=2), columns)
    diversified = stage.apply(RANKED, 4, np.array([3, 3, 6]))
    assert diversified.items_C.tolist()[:3] == [1, 2, 3]
    short = Diversifier(DiversificationConfig(method, strength=0.6, column="category", num_fixed=9), columns)
    assert short.apply(RANKED, 4, np.array([3, 3, 6])).items_C.tolist() == RANKED.items_C.tolist()


def test_calibrated_follows_the_history(columns: ItemColumns) -> None:
    stage = Diversifier(DiversificationConfig("calibrated", strength=0.9, column="category"), columns)
    assert stage.apply(RANKED, 3, np.array([3, 3, 6])).items_C.tolist()[:2] == [3, 6]
    assert stage.apply(RANKED, 3, np.array([1, 2])).items_C.tolist()[:3] == [1, 2, 4]
    assert stage.apply(RANKED, 3, NO_HISTORY).items_C.tolist() == RANKED.items_C.tolist()
    assert stage.apply(RANKED, 3, np.array([5])).items_C.tolist() == RANKED.items_C.tolist()  # of no category


def test_only_the_first_candidates_are_diversified(columns: ItemColumns) -> None:
    stage = Diversifier(DiversificationConfig("mmr", strength=0.9, num_candidates=4, column="category"), columns)
    assert stage.apply(RANKED, 3, NO_HISTORY).items_C.tolist() == [1, 3, 2, 4, 6]


def test_embeddings_are_used_without_a_column(columns: ItemColumns) -> None:
    vectors_VD = np.eye(7)
    vectors_VD[3] = vectors_VD[1]  # the pot is like sencha
    diversified = Diversifier(DiversificationConfig("mmr", strength=0.9), columns, vectors_VD).apply(
        RANKED, 4, NO_HISTORY
    )
    assert diversified.items_C.tolist() == [1, 2, 4, 6, 3]


def test_no_strength_no_change(columns: ItemColumns) -> None:
    for config in (DiversificationConfig(), DiversificationConfig("mmr", strength=0.0, column="category")):
        assert Diversifier(config, columns).apply(RANKED, 3, NO_HISTORY) is RANKED


def test_scores_are_scaled() -> None:
    assert min_max_scaled(np.array([3.0, 1.0, 2.0, -np.inf])).tolist() == [1, 0, 0.5, 0]
    assert min_max_scaled(np.array([2.0, 2.0, -np.inf])).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "mrm"}, "method must be none, mmr, determinantal or calibrated, got 'mrm'."),
        ({"strength": 2.0}, "strength must be in [0, 1], got 2.0."),
        ({"num_candidates": 0}, "num_candidates must be at least 1, got 0."),
        ({"num_fixed": -1}, "num_fixed must be at least 0, got -1."),
        ({"method": "calibrated"}, "Calibrated lists need a column of categories: set column."),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        DiversificationConfig(**values)


def test_a_similarity_is_required(columns: ItemColumns) -> None:
    message = "'mmr' needs the similarity of items: set column, or use a model with item embeddings."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Diversifier(DiversificationConfig("mmr"), columns)
