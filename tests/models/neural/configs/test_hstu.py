"""Settings of HSTU, and networks that learn from the gaps between events."""

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


def log_with_gaps(target: bool) -> Sequences:
    """Users with 1, 4, 2, and users with 1, 4, 3 and a gap of a week: before 4, or with ``target`` before 3."""
    rows, times = [], []
    for user in range(60):
        gap_s = 7 * 86_400 if user % 2 else 1
        rows.append([1, 4, 3 if user % 2 else 2])
        times.append([0, 5 * SECOND if target else gap_s * SECOND, (gap_s + 5) * SECOND])
    return Sequences.from_lists(rows, times)


@pytest.mark.parametrize("name", ["hstu", "gru4rec", "sasrec"])
def test_a_gap_decides_the_next_item(name: str, fit_model: Callable[..., Scorer]) -> None:
    values = {} if name == "hstu" else {"time_inputs": ("gap",)}
    scorer = fit_model(name, log_with_gaps(target=False), 5, epochs=120, **values)
    histories = Sequences.from_lists([[1, 4], [1, 4]], [[0, SECOND], [0, 7 * 86_400 * SECOND]])
    scores_BV = scorer.scores(histories)
    assert (scores_BV[:, 2] > scores_BV[:, 3]).tolist() == [True, False]


def test_a_network_with_target_time_uses_the_query_time(fit_model: Callable[..., Scorer]) -> None:
    scorer = fit_model("hstu", log_with_gaps(target=True), 5, epochs=120, target_time=True)
    histories = Sequences.from_lists([[1, 4]] * 2, [[0, 5 * SECOND]] * 2).as_of(np.array([6, 7 * 86_400]) * SECOND)
    scores_BV = scorer.scores(histories)
    assert (scores_BV[:, 2] > scores_BV[:, 3]).tolist() == [True, False]
