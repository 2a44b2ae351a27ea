"""Second stage: added log odds, the order of the other candidates, and query times."""

import numpy as np

from segue.data.sequences import NO_TIME, Sequences
from segue.pipeline.blending.second_stage import add_log_odds, query_times

NOT_THERE = -np.inf


def test_log_odds_are_added_and_unscored_candidates_stay_behind():
    """Checked against one row after the other, in words: scored ones by score + weight * log odds, then the others by
    score."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 9))
        scores_C = rng.normal(size=count).round(2)
        there = int(rng.integers(0, count + 1))
        scores_C[there:] = NOT_THERE
        scored = np.argsort(-scores_C, kind="stable")[: int(rng.integers(0, there + 1))]
        log_odds_C = np.full(count, np.nan)
        log_odds_C[scored] = rng.normal(size=len(scored)).round(2) * 3
        result_C = add_log_odds(scores_C[None], log_odds_C[None], 0.5)[0]
        own = {c: scores_C[c] + 0.5 * log_odds_C[c] for c in scored.tolist()}
        rest = [c for c in range(there) if c not in own]
        wanted = sorted(own, key=lambda c: -own[c]) + sorted(rest, key=lambda c: -scores_C[c])
        assert np.argsort(-result_C, kind="stable")[:there].tolist() == wanted
        np.testing.assert_allclose(result_C[scored], [own[c] for c in scored.tolist()])
        assert (result_C[there:] == NOT_THERE).all()


def test_a_query_time_is_the_given_one_else_that_of_the_newest_event():
    rows = Sequences.from_lists([[1, 2], [], [3]], [[10, 20], [], [5]])
    timed, at = query_times(rows, 90)
    assert (timed.times is None, at.tolist()) == (False, [20, 91, 5])
    timed = rows.as_of(np.array([40, 41, NO_TIME]))
    assert query_times(timed, 90)[1].tolist() == [40, 41, 5]


def test_events_without_known_times_are_queried_behind_all_events():
    """A request that brings its own history has no times; NO_TIME in a difference would overflow."""
    rows = Sequences.from_lists([[1, 2]], [[NO_TIME, 20]])
    timed, at = query_times(rows, 90)
    assert (timed.times, at.tolist()) == (None, [91])
    assert query_times(rows.as_of(np.array([200])), 90)[1].tolist() == [200]
    assert query_times(Sequences.from_lists([[1]]), 90)[1].tolist() == [91]
