"""The Markov chain against its recursion in plain Python, and by hand."""

from itertools import pairwise

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.counting.markov import Markov, MarkovConfig

ROWS = [[1, 2, 1, 3], [2, 1, 2], [3], [1, 2, 4]]
"""Transitions: 1 -> 2 (three times), 1 -> 3, 2 -> 1 (twice), 2 -> 4. Events: 4 of 1, 4 of 2, 2 of 3, 1 of 4."""
SIZE = 6


def fit(rows=ROWS, **values):
    return Markov.fit(Sequences.from_lists(rows), SIZE, MarkovConfig(**values))


def score(model, *rows):
    return model.scores(Sequences.from_lists(rows))


def naive(rows, history, smoothing, order):
    """P(j | history) by its definition, float64 [V]."""
    pairs = [(a, b) for row in rows for a, b in pairwise(row)]
    events = [item for row in rows for item in row]
    out = np.array([events.count(j) / len(events) for j in range(SIZE)])
    for item in history[-order:]:
        from_item = [b for a, b in pairs if a == item]
        transitions = np.array([from_item.count(j) for j in range(SIZE)])
        out = (transitions + smoothing * out) / (len(from_item) + smoothing)
    return out


def test_a_first_order_chain_by_hand():
    """After 1: (3 + 4/11) / 5 for 2, (1 + 2/11) / 5 for 3; smoothing gives the rest."""
    expected = np.array([0, 4 / 11, 3 + 4 / 11, 1 + 2 / 11, 1 / 11, 0]) / 5
    np.testing.assert_allclose(score(fit(order=1), [2, 1])[0], expected, rtol=1e-5)


def test_an_empty_history_gets_the_item_shares():
    np.testing.assert_allclose(score(fit(), [])[0], np.array([0, 4, 4, 2, 1, 0]) / 11, rtol=1e-6)


def test_an_item_without_transitions_backs_off_to_the_one_before():
    np.testing.assert_allclose(score(fit(), [1, 4]), score(fit(), [1]), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("order", [1, 2, 3, 9])
def test_it_equals_its_definition(smoothing, order):
    histories = [[], [1], [2, 1], [3, 3, 1, 2, 4, 1], [5], [4, 4, 4, 4], [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]]
    expected = [naive(ROWS, history, smoothing, order) for history in histories]
    np.testing.assert_allclose(
        score(fit(smoothing=smoothing, order=order), *histories), np.array(expected), rtol=1e-4, atol=1e-7
    )


def test_every_row_is_a_probability():
    np.testing.assert_allclose(score(fit(), [], [1], [5], [4, 3, 2, 1]).sum(axis=1), 1.0, rtol=1e-5)


def test_an_unknown_item_breaks_a_transition():
    """1, an unknown item, 2: there is no transition from 1 to 2."""
    assert score(fit([[1, PAD, 2], [1, 3]], order=1), [1])[0].argmax() == 3


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"smoothing": 0.0}, "smoothing must be above 0, got 0.0."),
        ({"order": 0}, "order must be at least 1, got 0."),
    ],
)
def test_settings_out_of_range(values, sentence):
    with pytest.raises(ValueError) as error:
        MarkovConfig(**values)
    assert str(error.value) == sentence
