"""Calibrated scorers: probabilities that sum to 1, the order of the scores, sampling as stated."""

import numpy as np
import pytest
from scipy import stats

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.generation.generate import generate
from segue.models.generation.strategy import find_strategy
from segue.models.probabilities.calibrated_scorer import (
    CalibratedScorer,
    SoftmaxCalibration,
    default_calibration,
    log_votes,
)
from segue.models.probabilities.temperature_mixture import TemperatureMixture

SIZE = 15
HISTORIES = Sequences.from_lists([[3], [1, 2, 3, 0], [], [12, 1, 2]])


class Logits:
    """Scorer of a row of logits for each newest item, and of another one for an empty history."""

    name = "sasrec"
    size = SIZE

    def __init__(self) -> None:
        self.table = np.random.default_rng(0).normal(0, 2, (SIZE, SIZE)).astype(np.float32)

    def scores(self, histories: Sequences) -> np.ndarray:
        return self.table[[int(row[-1]) if len(row) else 0 for row in histories]]

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@pytest.fixture(scope="module")
def markov() -> Markov:
    rng = np.random.default_rng(4)
    rows = [[(start + step) % 14 + 1 for step in range(8)] for start in rng.integers(0, 14, 80).tolist()]
    return Markov.fit(Sequences.from_lists(rows), SIZE, MarkovConfig())


def test_probabilities_by_hand() -> None:
    scorer = CalibratedScorer(Logits(), SoftmaxCalibration("logit", TemperatureMixture(2.0), 5.0))
    logs = scorer.log_probabilities(HISTORIES)
    for row, newest, temperature in ((0, 3, 2.0), (1, 3, 2.0), (2, 0, 5.0), (3, 2, 2.0)):
        weights = np.exp(Logits().table[newest, 1:].astype(np.float64) / temperature)
        np.testing.assert_allclose(np.exp(logs[row, 1:]), weights / weights.sum(), rtol=1e-5)
    assert np.isneginf(logs[:, PAD]).all()


def test_seen_items_have_no_probability_where_the_fit_left_them_out() -> None:
    scorer = CalibratedScorer(Logits(), SoftmaxCalibration(exclude_seen=True))
    shares = np.exp(scorer.log_probabilities(HISTORIES))
    assert shares[1, [1, 2, 3]].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    everything = Sequences.from_lists([list(range(1, SIZE))])
    assert np.isneginf(scorer.log_probabilities(everything)).all()


def test_votes_keep_their_order_below_zero_too() -> None:
    scores = np.array([[-np.inf, -1.0, 3.0, 0.0, -2.0, 1e-3, 6.0]], dtype=np.float32)
    logs = log_votes(scores)[0, 1:]
    assert np.argsort(-logs).tolist() == np.argsort(-scores[0, 1:]).tolist()
    assert len(set(logs.tolist())) == 6
    assert logs[5] - logs[1] == pytest.approx(np.log(2), abs=1e-3)


def test_shares_of_a_markov_chain_are_its_probabilities(markov: Markov) -> None:
    """Without a fit too: a softmax of the shares themselves would be almost even."""
    scorer = CalibratedScorer(markov, default_calibration("markov"))
    history = Sequences.from_lists([[3]])
    share = markov.scores(history)[0, 4]
    assert share > 0.5
    assert np.exp(scorer.log_probabilities(history))[0, 4] == pytest.approx(share, abs=0.01)


def test_decoder_states_are_those_of_scoring_again(markov: Markov) -> None:
    calibration = SoftmaxCalibration("log", TemperatureMixture(0.7, 5.0, 0.2), 3.0)

    class Whole(Logits):
        """The same without an incremental form."""

        name = "markov"

        def scores(self, histories: Sequences) -> np.ndarray:
            return markov.scores(histories)

    for strategy in ("greedy", "beam", "sample", "reciprocal-rank", "relevance"):
        found = [
            generate(CalibratedScorer(scorer, calibration), HISTORIES, 4, strategy, rng=np.random.default_rng(1))
            for scorer in (markov, Whole())
        ]
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)


@pytest.mark.parametrize(("temperature", "top_k"), [(None, None), (0.5, None), (2.0, 4)])
def test_a_sampled_list_states_the_probability_of_its_draw(temperature: float | None, top_k: int | None) -> None:
    """Frequencies of the first item over many seeds, and the product over a list of two."""
    scorer = CalibratedScorer(Logits(), SoftmaxCalibration(mixture=TemperatureMixture(1.5, 9.0, 0.3)))
    strategy = find_strategy("sample", temperature=temperature, top_k=top_k)
    history = Sequences.from_lists([[3]])
    stated: dict[tuple[int, ...], float] = {}
    counts: dict[tuple[int, ...], int] = {}
    draws = 3000
    for seed in range(draws):
        items, logs = generate(scorer, history, 2, strategy, rng=np.random.default_rng(seed))
        for length in (1, 2):
            drawn = tuple(items[0, :length].tolist())
            counts[drawn] = counts.get(drawn, 0) + 1
            stated[drawn] = float(np.exp(logs[0, :length].astype(np.float64).sum()))
    for length in (1, 2):
        frequent = [drawn for drawn, share in stated.items() if len(drawn) == length and share * draws >= 5]
        observed = np.array([counts[drawn] for drawn in frequent], dtype=np.float64)
        expected = np.array([stated[drawn] * draws for drawn in frequent])
        observed, expected = np.append(observed, draws - observed.sum()), np.append(expected, draws - expected.sum())
        if expected[-1] < 5:
            observed, expected = observed[:-1], expected[:-1] * observed[:-1].sum() / expected[:-1].sum()
        assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 0.01


def test_a_mixture_by_hand() -> None:
    scores = np.array([[-np.inf, 2.0, 0.0, -400.0]])
    mixture = TemperatureMixture(1.0, 4.0, 0.5)
    sharp, flat = (np.exp(scores[0, 1:] / t) / np.exp(scores[0, 1:] / t).sum() for t in (1.0, 4.0))
    np.testing.assert_allclose(mixture.probabilities(scores)[0, 1:], (sharp + flat) / 2)
    logs = mixture.log_probabilities(scores.astype(np.float32))[0]
    assert np.isneginf(logs[0])
    assert logs[3] == pytest.approx(-400 / 4 - np.log(np.exp(0.5) + 1) + np.log(0.5), abs=1e-2)  # no candidate is lost
    assert np.isneginf(mixture.log_probabilities(np.full((1, 3), -np.inf))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_best_item_scaled_by_hand(dtype: type) -> None:
    """1/2, 1/4 and 1/4: the best one's odds of 1 become 3, and the others share 1/4; two best ones share theirs."""
    mixture = TemperatureMixture(best_intercept=float(np.log(3)), best_slope=2.0)
    with np.errstate(divide="ignore"):
        rows = np.log(
            np.array([[0.0, 2.0, 1.0, 1.0], [0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
        )
    got = mixture.probabilities(rows.astype(dtype))
    assert got.dtype == dtype
    np.testing.assert_allclose(got[0], [0, 3 / 4, 1 / 8, 1 / 8], rtol=1e-5)
    np.testing.assert_allclose(got[1], [0, 1 / 8, 1 / 8, 3 / 4], rtol=1e-5)
    np.testing.assert_allclose(got[2:], [[0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 1, 0]], rtol=1e-5)  # nothing to share with
    equal = np.log(np.array([[4.0, 4.0, 1.0, 1.0]], dtype=dtype))
    odds = 3 * (0.8 / 0.2) ** 2
    np.testing.assert_allclose(mixture.probabilities(equal)[0, :2].sum(), odds / (1 + odds), rtol=1e-5)
    np.testing.assert_allclose(mixture.probabilities(equal)[0, 2:], 0.5 / (1 + odds), rtol=1e-5)


@pytest.mark.parametrize(("intercept", "slope"), [(-5.0, 0.0), (0.0, 0.1), (-50.0, 3.0), (800.0, 0.0), (0.3, 0.15)])
def test_the_best_item_stays_the_best_one(intercept: float, slope: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (200, 9)).astype(np.float32)
    scores[:, 0] = -np.inf
    scores[::3, 4] = scores[::3, 5]
    scores[1] = -np.inf
    scores[2, 3] = 1e4
    mixture = TemperatureMixture(0.7, 4.0, 0.3, intercept, slope)
    logs = mixture.log_probabilities(scores.copy())
    probabilities = np.exp(logs.astype(np.float64))
    np.testing.assert_allclose(np.delete(probabilities, 1, axis=0).sum(axis=1), 1.0, atol=1e-5)
    assert np.isneginf(logs[1]).all()
    np.testing.assert_array_equal(np.isneginf(logs), np.isneginf(scores))
    best = logs.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(logs == best, scores == scores.max(axis=1, keepdims=True))
    others = np.where(logs == best, -np.inf, logs)
    np.testing.assert_array_equal(
        np.argsort(-others, axis=1, kind="stable")[3:, 0],
        np.argsort(-np.where(scores == scores.max(axis=1, keepdims=True), -np.inf, scores), axis=1, kind="stable")[
            3:, 0
        ],
    )


@pytest.mark.parametrize(
    "saved",
    [
        {"mixture": {"temperature": 0.0}},
        {"mixture": {"best_slope": -0.1}},
        {"mixture": {"best_intercept": float("nan")}},
        {"mixture": {"flat_share": 1.5}},
        {"temperature_without_history": float("nan")},
        {"scale": "other"},
        {"what": 1},
        [1.0],
        {"mixture": 1},
    ],
)
def test_a_calibration_that_is_none_is_refused(saved: object) -> None:
    with pytest.raises(ValueError):
        SoftmaxCalibration.of_model("sasrec", {"notes": {"calibration": saved}})


def test_an_artifact_without_a_calibration_has_the_plain_one() -> None:
    assert SoftmaxCalibration.of_model("sasrec", {}) == SoftmaxCalibration("logit")
    assert SoftmaxCalibration.of_model("gru4rec+covisit", {"notes": {}}) == SoftmaxCalibration("logit")
    assert SoftmaxCalibration.of_model("covisit", {"notes": None}) == SoftmaxCalibration("log")
    saved = SoftmaxCalibration("log", TemperatureMixture(2.0, 5.0, 0.25), 3.0, True, 99)
    assert SoftmaxCalibration.of_model("covisit", {"notes": {"calibration": saved.to_dict()}}) == saved
