"""VSTAN against its formula in plain Python, with each of its decays."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from segue.data.sequences import NO_TIME, Sequences
from segue.data.time_units import DAY_US
from segue.models.knn.vstan import VSTAN, VSTANConfig

SIZE = 9
RNG = np.random.default_rng(4)
ROWS = [RNG.integers(1, SIZE, RNG.integers(1, 7)).tolist() for _ in range(40)]
TIMES = [(DAY_US * np.sort(RNG.integers(0, 90, len(row)))).tolist() for row in ROWS]
HISTORIES = [[1, 2, 3], [4], [5, 6, 5], [7, 8, 1, 2, 3, 4], [2, 2]]
TIMES_OF_HISTORIES = [[DAY_US * (95 + step) for step in range(len(row))] for row in HISTORIES]


def last_occurrences(row: Sequence[int]) -> list[int]:
    """Each item at its last position."""
    return [item for position, item in enumerate(row) if item not in row[position + 1 :]]


def naive(history: list[int], query_time_us: int | None, config: VSTANConfig) -> np.ndarray:
    """The class's docstring, in plain Python; 0 without votes."""

    def decay(distance: float, scale: float | None) -> float:
        return 1.0 if scale is None else math.exp(-distance / scale)

    order = (
        sorted(range(len(ROWS)), key=lambda n: TIMES[n][-1]) if query_time_us is not None else list(range(len(ROWS)))
    )
    sessions = [(last_occurrences(ROWS[n]), TIMES[n][-1]) for n in order]
    newest = history[-config.max_length :]
    age = {item: len(newest) - 1 - position for position, item in enumerate(newest)}
    sharing = [n for n, (items, _) in enumerate(sessions) if set(items) & set(age)][-config.sample_size :]
    similarity = {}
    for n in sharing:
        items, last_us = sessions[n]
        similarity[n] = sum(decay(age[i], config.lambda_spw) for i in items if i in age) / math.sqrt(len(items))
        if query_time_us is not None:
            similarity[n] *= decay(max(0, query_time_us - last_us) / DAY_US, config.lambda_snh)
    best = sorted(similarity, key=lambda n: (-round(similarity[n], 12), -n))[: config.num_neighbors]
    votes = np.zeros(SIZE)
    for n in best:
        items, _ = sessions[n]
        shared = min((i for i in items if i in age), key=lambda i: age[i])
        for position, item in enumerate(items):
            distance = position - items.index(shared)
            vote = similarity[n] * decay(age[shared], config.lambda_ipw) * decay(abs(distance), config.lambda_inh)
            count = sum(item in other for other, _ in sessions)
            votes[item] += (
                vote
                * (config.before_weight if distance < 0 else 1.0)
                * (1.0 + config.lambda_idf * math.log(len(sessions) / count))
            )
    return votes / max(votes.max(), 1e-300)


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"num_neighbors": 5},
        {"sample_size": 9, "num_neighbors": 4},
        {"lambda_spw": None, "lambda_snh": None, "lambda_inh": None, "lambda_ipw": None, "lambda_idf": 0.0},
        {"before_weight": 1.0, "lambda_snh": 3.0, "max_length": 2},
    ],
    ids=str,
)
def test_scores_equal_the_formula(values: dict[str, float | None], timed: bool) -> None:
    config = VSTANConfig(**values)  # type: ignore[arg-type]
    model = VSTAN.fit(Sequences.from_lists(ROWS, TIMES if timed else None), SIZE, config)
    scores = model.scores(Sequences.from_lists(HISTORIES, TIMES_OF_HISTORIES if timed else None))
    for row, history in enumerate(HISTORIES):
        expected = naive(history, TIMES_OF_HISTORIES[row][-1] if timed else None, config)
        has_votes = expected > 0
        np.testing.assert_allclose(scores[row][has_votes], expected[has_votes], rtol=1e-4)
        assert (scores[row][~has_votes] < 0).all()


def test_a_session_without_times_gets_the_newest_time_of_the_log() -> None:
    model = VSTAN.fit(Sequences.from_lists(ROWS, TIMES), SIZE, VSTANConfig())
    newest = max(times[-1] for times in TIMES)
    timed = Sequences.from_lists([[1, 2, 3]], [[newest - 2, newest - 1, newest]])
    np.testing.assert_array_equal(model.scores(Sequences.from_lists([[1, 2, 3]])), model.scores(timed))


def test_events_without_a_time_are_not_old() -> None:
    """The age of every neighbor used to overflow, and a served history got no neighbors."""
    scorer = VSTAN.fit(Sequences.from_lists(ROWS, TIMES), SIZE, VSTANConfig())
    without = scorer.scores(Sequences.from_lists(HISTORIES))
    unknown = Sequences.from_lists(HISTORIES, [[NO_TIME] * len(row) for row in HISTORIES])
    assert (without > 0).any()
    np.testing.assert_array_equal(scorer.scores(unknown), without)
    mixed = [[*times[:-1], NO_TIME] for times in TIMES_OF_HISTORIES]
    np.testing.assert_array_equal(scorer.scores(Sequences.from_lists(HISTORIES, mixed)), without)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_neighbors": 0}, "num_neighbors must be at least 1, got 0."),
        ({"lambda_inh": 0.0}, "lambda_inh must be above 0, or none, got 0.0."),
        ({"before_weight": -1.0}, "before_weight must be at least 0, got -1.0."),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        VSTANConfig(**values)  # type: ignore[arg-type]
    assert str(raised.value) == sentence
