"""HSTU's settings, and that gaps tell it what items cannot."""

from collections.abc import Callable

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.scorer import Scorer

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_layers": 0}, "num_layers must be at least 1, got 0."),
        ({"embedding_dim": 10, "num_heads": 4}, "num_heads must divide embedding_dim, got 4 and 10."),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0."),
        ({"temperature": 0.0}, "temperature must be above 0, or none, got 0.0."),
        ({"time_inputs": ("gap", "gap")}, "time_inputs must not name an input twice, got gap, gap."),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        HSTUConfig(**values)  # type: ignore[arg-type]
    assert str(refused.value) == sentence


def waiting(target: bool) -> Sequences:
    """Everybody takes 1 and 4, then 2; or 3, where a week was waited before 4, or with ``target`` behind it."""
    rows, times = [], []
    for person in range(60):
        wait = 7 * 86_400 if person % 2 else 1
        rows.append([1, 4, 3 if person % 2 else 2])
        times.append([0, 5 * SECOND if target else wait * SECOND, (wait + 5) * SECOND])
    return Sequences.from_lists(rows, times)


@pytest.mark.parametrize("name", ["hstu", "gru4rec", "sasrec"])
def test_a_gap_decides_what_comes_next(name: str, fit_model: Callable[..., Scorer]) -> None:
    values = {} if name == "hstu" else {"time_inputs": ("gap",)}
    scorer = fit_model(name, waiting(target=False), 5, epochs=120, **values)
    asked = Sequences.from_lists([[1, 4], [1, 4]], [[0, SECOND], [0, 7 * 86_400 * SECOND]])
    scores_BV = scorer.scores(asked)
    assert (scores_BV[:, 2] > scores_BV[:, 3]).tolist() == [True, False]


def test_a_model_that_is_told_when_it_is_asked_answers_by_it(fit_model: Callable[..., Scorer]) -> None:
    scorer = fit_model("hstu", waiting(target=True), 5, epochs=120, target_time=True)
    asked = Sequences.from_lists([[1, 4]] * 2, [[0, 5 * SECOND]] * 2).as_of(np.array([6, 7 * 86_400]) * SECOND)
    scores_BV = scorer.scores(asked)
    assert (scores_BV[:, 2] > scores_BV[:, 3]).tolist() == [True, False]
