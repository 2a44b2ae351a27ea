"""Session splits and fixed test sets: by hand, against naive versions, and with canary events after the cutoff."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.data.readers.events import read_events
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.data.splits.targets import prefix_groups
from segue.data.splits.user_sequences import session_sequences

DATA = Path(os.environ.get("SEGUE_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
MINUTE = 60_000_000


@pytest.fixture
def picture_log(make_log):
    """The docstring's picture, with cutoffs at 6 and 8: s2 continues after the first."""
    events = [
        *[("s1", "a", 0), ("s1", "b", 1)],
        *[("s2", "c", 2), ("s2", "a", 3), ("s2", "a", 7)],
        *[("s3", "b", 6), ("s3", "a", 7)],
        *[("s4", "c", 8), ("s4", "x", 9), ("s4", "b", 10)],
    ]
    return make_log([(s, i, t, s) for s, i, t in events], session=True)


def test_the_picture_in_the_docstring(picture_log, plain, names):
    split = split_log(picture_log, "sessions", test=0.25, validation=0.34)
    assert names(split, split.train) == [["a", "b"], ["c", "a"]]
    assert names(split, split.refit) == [["a", "b"], ["c", "a", "a"], ["b", "a"]]
    assert plain(split, split.validation) == [(["b"], "a")]
    assert plain(split, split.test) == [(["c"], "b")]
    assert split.test.dropped == {"item not in training": 1}
    assert split.catalog.ids == ("a", "b", "c")
    assert not split.exclude_seen
    assert split.protocol == (
        "session split: sessions that begin in the test part (from 1970-01-01T00:00:00Z) are evaluated at every "
        "position from the second; sessions by session_id; items unknown to training removed; seen items not excluded"
    )


def test_nothing_from_the_future_trains(make_log):
    """Long sessions that begin before a cutoff and end after it: their later events must not be trained on."""
    rng = np.random.default_rng(2)
    rows = []
    for s in range(200):
        begin = int(rng.integers(0, 10_000))
        times = begin + np.sort(rng.integers(0, 3_000, 12))
        rows += [(f"s{s}", f"i{rng.integers(40)}", int(t), f"s{s}") for t in times]
    split = split_log(make_log(rows, session=True), "sessions")
    for trained, cases in ((split.train, split.validation), (split.refit, split.test)):
        begins = [cases.histories.times[start] for start in cases.histories.starts]
        assert trained.to_contiguous().times.max() < min(begins)
    assert split.refit.num_events < sum(1 for row in rows if row[2] < max(r[2] for r in rows))


def test_sessions_are_in_order_of_beginning_not_of_name(tmp_path, names):
    """Session ids are line numbers; as text 10 comes before 2, and the wrong sessions would be the latest."""
    path = tmp_path / "sessions.txt"
    path.write_text("".join(f"i{n} i{n + 1}\n" for n in range(12)))
    split = split_log(read_events(path, format="sessions"), "sessions", test=0.25, validation=0.2)
    assert names(split, split.train) == [[f"i{n}", f"i{n + 1}"] for n in range(7)]
    assert names(split, split.refit) == [[f"i{n}", f"i{n + 1}"] for n in range(9)]
    assert len(split.validation) == 0  # sessions i7 i8 and i8 i9: of their items training has i7 only
    assert split.validation.dropped == {"item not in training": 3}
    assert "the last 3 of 12" in split.protocol


def test_a_pause_ends_a_session(make_log, names):
    times = [0, 10, 45, 50, 200, 205]
    log = make_log([("ann", f"i{t}", t * MINUTE) for t in times] + [("bob", "i0", 5 * MINUTE), ("bob", "i10", 300)])
    split = split_log(log, "sessions", test=0.25, validation=0.34)
    assert names(split, split.refit)[:2] == [["i0", "i10"], ["i10", "i0"]]
    assert "sessions end at a pause of 30 minutes" in split.protocol


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 200)), min_size=1, max_size=30))
def test_sessions_against_naive(make_log, rows):
    """Sessions cut at pauses, in the order of begin; of equal begins the first in the file."""
    expected = []
    for user in "uvw":
        before = None
        for at, (_, t) in sorted(((at, row) for at, row in enumerate(rows) if row[0] == user), key=lambda r: r[1][1]):
            if before is None or t - before > 30:
                expected.append([])
            expected[-1].append((t, at))
            before = t
    log = make_log([(user, f"i{at}", t * MINUTE) for at, (user, t) in enumerate(rows)])
    catalog = log.catalog()
    result, meaning = session_sequences(log, catalog, 30.0)
    assert [catalog.to_ids(row) for row in result] == [[f"i{at}" for _, at in row] for row in sorted(expected)]
    assert meaning == "sessions end at a pause of 30 minutes"


def fixed(tmp_path, test_text, test_format, **options):
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("a b c\nb c\nc a\na c\nb a\n")
    test.write_text(test_text)
    return split_log(
        read_events(train, format="sessions"), "fixed", test=read_events(test, format=test_format), **options
    )


def test_fixed_sessions_drop_unknown(tmp_path, plain, names):
    split = fixed(tmp_path, "a x b c\nx y\n", "sessions", validation=0.2)
    assert plain(split, split.test) == [(["a"], "b"), (["a", "b"], "c")]
    assert split.test.dropped == {"item not in training": 3}
    assert split.test.missed == 0
    assert names(split, split.refit) == [["a", "b", "c"], ["b", "c"], ["c", "a"], ["a", "c"], ["b", "a"]]
    assert names(split, split.train) == names(split, split.refit)[:4]
    assert plain(split, split.validation) == [(["b"], "a")]
    assert split.protocol == (
        "fixed test set: evaluated at every position from the second; sessions by session_id; targets unknown to "
        "training dropped; seen items not excluded"
    )


def test_fixed_sessions_count_unknown_as_misses(tmp_path, plain):
    split = fixed(tmp_path, "a x b c\nx y\n", "sessions", unknown="miss")
    assert plain(split, split.test) == [(["a", "?"], "b"), (["a", "?", "b"], "c")]
    assert split.test.missed == 2
    assert split.test.dropped == {}


def test_fixed_users_whose_events_lie_far_apart_are_sessions():
    """Hours between all events of the test log: sessions of 30 minutes would leave no case."""
    rows = [
        (f"u{user}", f"i{(user + step) % 5}", 1_600_000_000 + 3600 * step + user)
        for user in range(20)
        for step in range(5)
    ]
    log = read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    split = split_log(log, "fixed", test=log)
    assert len(split.test) == 80
    assert "each user is one session" in split.protocol
    near = log.with_frame(log.frame.with_columns(pl.col("timestamp") // 60))
    assert "sessions end at a pause of 30 minutes" in split_log(log, "fixed", test=near).protocol


@pytest.mark.parametrize(("unknown", "missed", "dropped"), [("miss", 1, {}), ("drop", 0, {"item not in training": 1})])
def test_fixed_labels(tmp_path, plain, unknown, missed, dropped):
    split = fixed(tmp_path, "a b\tc\na\tb\nc\tx\nb\ta\n", "prefixes", unknown=unknown)
    assert plain(split, split.test) == [(["a", "b"], "c"), (["a"], "b"), (["b"], "a")]
    assert split.test.groups.tolist() == [0, 0, 2]
    assert (split.test.missed, split.test.dropped) == (missed, dropped)
    assert split.protocol.startswith("fixed test set: evaluated at the label of every row")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=4), max_size=12))
def test_prefix_groups_against_naive(rows):
    expected = []
    for at, row in enumerate(rows):
        goes_on = at > 0 and row == rows[at - 1][:-1]
        expected.append(expected[-1] if goes_on else (expected[-1] + 1 if expected else 0))
    assert prefix_groups(Sequences.from_lists(rows)).tolist() == expected


def test_messages(make_log, picture_log, tmp_path):
    for protocol, options, message in (
        ("sessions", {"gap_minutes": 0}, "gap_minutes must be above 0, got 0."),
        ("sessions", {"test": 2}, "test must be a share between 0 and 1, got 2."),
        ("fixed", {}, "Protocol fixed needs test=, the test log."),
        ("fixed", {"test": picture_log, "unknown": "hit"}, "unknown must be one of drop, miss, got 'hit'."),
        (
            "fixed",
            {"test": picture_log, "validation": 0.99},
            "4 sessions are left to train on, and none of them begins before the last 99%, which would validate: "
            "use leave-last-out.",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            split_log(picture_log, protocol, **options)
        assert str(caught.value) == message


@pytest.mark.slow
def test_published_test_sets():
    """Counted by hand from the files: 369 Yoochoose test items that training never has are the label 412 times."""
    folder = DATA / "yoochoose-1-64"
    if not folder.exists():
        pytest.skip(f"There is no {folder}: set SEGUE_DATA to the folder of the benchmark logs.")
    log = read_events(folder / "train_sessions.txt", format="sessions")
    test = read_events(folder / "test.txt", format="prefixes")
    split = split_log(log, "fixed", test=test, unknown="miss")
    assert split.test.missed == 412
    assert len(split.test) + split.test.missed == len(set(test.frame["session_id"]))
    assert len(np.unique(split.test.groups)) == pytest.approx(15_324, rel=0.01)
