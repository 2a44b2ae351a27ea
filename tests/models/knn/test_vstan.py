"""VSTAN against its own formula in plain Python, and its decays one by one."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from segue.data.sequences import NO_TIME, Sequences
from segue.models.knn.vstan import DAY_US, VSTAN, VSTANConfig

SIZE = 9
RNG = np.random.default_rng(4)
ROWS = [RNG.integers(1, SIZE, RNG.integers(1, 7)).tolist() for _ in range(40)]
TIMES = [(DAY_US * np.sort(RNG.integers(0, 90, len(row)))).tolist() for row in ROWS]
ASKED = [[1, 2, 3], [4], [5, 6, 5], [7, 8, 1, 2, 3, 4], [2, 2]]
NOW = [[DAY_US * (95 + step) for step in range(len(row))] for row in ASKED]


def once(row: Sequence[int]) -> list[int]:
    """Each item at its newest place."""
    return [item for place, item in enumerate(row) if item not in row[place + 1 :]]


def naive(history: list[int], now_us: int | None, config: VSTANConfig) -> np.ndarray:
    """The class's docstring, word by word; 0 where nobody votes."""

    def fall(distance: float, scale: float | None) -> float:
        return 1.0 if scale is None else math.exp(-distance / scale)

    order = sorted(range(len(ROWS)), key=lambda n: TIMES[n][-1]) if now_us is not None else list(range(len(ROWS)))
    held = [(once(ROWS[n]), TIMES[n][-1]) for n in order]
    newest = history[-config.max_length :]
    age = {item: len(newest) - 1 - place for place, item in enumerate(newest)}
    sharing = [n for n, (items, _) in enumerate(held) if set(items) & set(age)][-config.sample_size :]
    alike = {}
    for n in sharing:
        items, when = held[n]
        alike[n] = sum(fall(age[i], config.lambda_spw) for i in items if i in age) / math.sqrt(len(items))
        if now_us is not None:
            alike[n] *= fall(max(0, now_us - when) / DAY_US, config.lambda_snh)
    best = sorted(alike, key=lambda n: (-round(alike[n], 12), -n))[: config.num_neighbors]
    votes = np.zeros(SIZE)
    for n in best:
        items, _ = held[n]
        shared = min((i for i in items if i in age), key=lambda i: age[i])
        for place, item in enumerate(items):
            distance = place - items.index(shared)
            vote = alike[n] * fall(age[shared], config.lambda_ipw) * fall(abs(distance), config.lambda_inh)
            holders = sum(item in other for other, _ in held)
            votes[item] += (
                vote
                * (config.before_weight if distance < 0 else 1.0)
                * (1.0 + config.lambda_idf * math.log(len(held) / holders))
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
def test_the_votes_are_the_formula(values: dict[str, float | None], timed: bool) -> None:
    config = VSTANConfig(**values)  # type: ignore[arg-type]
    model = VSTAN.fit(Sequences.from_lists(ROWS, TIMES if timed else None), SIZE, config)
    found = model.scores(Sequences.from_lists(ASKED, NOW if timed else None))
    for row, history in enumerate(ASKED):
        wanted = naive(history, NOW[row][-1] if timed else None, config)
        voted = wanted > 0
        np.testing.assert_allclose(found[row][voted], wanted[voted], rtol=1e-4)
        assert (found[row][~voted] < 0).all()


def test_a_session_without_times_is_asked_at_the_newest_known_event() -> None:
    model = VSTAN.fit(Sequences.from_lists(ROWS, TIMES), SIZE, VSTANConfig())
    newest = max(times[-1] for times in TIMES)
    timed = Sequences.from_lists([[1, 2, 3]], [[newest - 2, newest - 1, newest]])
    np.testing.assert_array_equal(model.scores(Sequences.from_lists([[1, 2, 3]])), model.scores(timed))


def test_events_of_which_nobody_knows_the_time_are_no_ancient_ones() -> None:
    """They used to be: the age of every neighbor overflowed, and a served history found none."""
    scorer = VSTAN.fit(Sequences.from_lists(ROWS, TIMES), SIZE, VSTANConfig())
    without = scorer.scores(Sequences.from_lists(ASKED))
    unknown = Sequences.from_lists(ASKED, [[NO_TIME] * len(row) for row in ASKED])
    assert (without > 0).any()
    np.testing.assert_array_equal(scorer.scores(unknown), without)
    mixed = [[*when[:-1], NO_TIME] for when in NOW]
    np.testing.assert_array_equal(scorer.scores(Sequences.from_lists(ASKED, mixed)), without)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_neighbors": 0}, "num_neighbors must be at least 1, got 0."),
        ({"lambda_inh": 0.0}, "lambda_inh must be above 0, got 0.0; 'none' turns it off."),
        ({"before_weight": -1.0}, "before_weight must not be negative, got -1.0."),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        VSTANConfig(**values)  # type: ignore[arg-type]
    assert str(raised.value) == said
