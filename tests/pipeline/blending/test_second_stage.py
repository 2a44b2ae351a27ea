"""The last word: what is mixed, who stays behind, and at which moment a ranker is asked."""

import numpy as np

from segue.data.sequences import NO_TIME, Sequences
from segue.pipeline.blending.second_stage import add_log_odds, query_times

NOT_THERE = -np.inf


def test_mixed_equals_the_naive_sum_and_the_rest_stays_behind():
    """Checked against one row after the other, in words: judged ones by score + weight * opinion, then the others by
    score."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 9))
        scores_C = rng.normal(size=count).round(2)
        there = int(rng.integers(0, count + 1))
        scores_C[there:] = NOT_THERE
        judged = np.argsort(-scores_C, kind="stable")[: int(rng.integers(0, there + 1))]
        opinions_C = np.full(count, np.nan)
        opinions_C[judged] = rng.normal(size=len(judged)).round(2) * 3
        found_C = add_log_odds(scores_C[None], opinions_C[None], 0.5)[0]
        own = {c: scores_C[c] + 0.5 * opinions_C[c] for c in judged.tolist()}
        rest = [c for c in range(there) if c not in own]
        wanted = sorted(own, key=lambda c: -own[c]) + sorted(rest, key=lambda c: -scores_C[c])
        assert np.argsort(-found_C, kind="stable")[:there].tolist() == wanted
        np.testing.assert_allclose(found_C[judged], [own[c] for c in judged.tolist()])
        assert (found_C[there:] == NOT_THERE).all()


def test_a_ranker_is_asked_at_the_named_moment_else_at_the_newest_event():
    rows = Sequences.from_lists([[1, 2], [], [3]], [[10, 20], [], [5]])
    timed, at = query_times(rows, 90)
    assert (timed.times is None, at.tolist()) == (False, [20, 91, 5])
    told = rows.as_of(np.array([40, 41, NO_TIME]))
    assert query_times(told, 90)[1].tolist() == [40, 41, 5]


def test_events_whose_time_nobody_knows_are_asked_behind_all_that_was_seen():
    """A request that brings its own history has no times; NO_TIME in a difference would overflow."""
    rows = Sequences.from_lists([[1, 2]], [[NO_TIME, 20]])
    timed, at = query_times(rows, 90)
    assert (timed.times, at.tolist()) == (None, [91])
    assert query_times(rows.as_of(np.array([200])), 90)[1].tolist() == [200]
    assert query_times(Sequences.from_lists([[1]]), 90)[1].tolist() == [91]
