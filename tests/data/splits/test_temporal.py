"""Time split against a naive version event by event, and with canary events after the cutoff."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.data.splits.split import split_log

ROWS = st.lists(
    st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdefgh"), st.integers(0, 12)), min_size=4, max_size=60
)


def higher_quantile(times, share):
    """Return the smallest time with at least this share of the gaps between ranks before it."""
    ordered = sorted(times)
    return ordered[math.ceil(share * (len(ordered) - 1) - 1e-9)]


def naive(rows, *, hide):
    """Return (train, refit, validation, test) event by event; None if no cutoff is possible."""
    times = [t for _, _, t in rows]
    second = higher_quantile(times, 0.9)
    early = [t for t in times if t < second]
    if not early or (first := higher_quantile(early, 0.9)) == min(early):
        return None
    events_of_user = {
        u: sorted((r for r in rows if r[0] == u), key=lambda r: r[2]) for u in sorted({r[0] for r in rows})
    }
    out = []
    for begin, end, known in ((first, second, first), (second, 99, second)):
        items = {i for _, i, t in rows if t < known}
        whole = {i for _, i, t in rows if t < second}
        cases, dropped = [], {"no history": 0, "item not in training": 0}
        for events in events_of_user.values():
            for at, (_, item, t) in enumerate(events):
                if begin <= t < end:
                    history = [i if i in whole else "?" for _, i, s in events[:at] if not (hide and s == t)]
                    if not history:
                        dropped["no history"] += 1
                    elif item not in items:
                        dropped["item not in training"] += 1
                    else:
                        cases.append((history, item))
        out.append((cases, {reason: n for reason, n in dropped.items() if n}))
    train, refit = (
        [[i for _, i, t in events if t < cut] for events in events_of_user.values()] for cut in (first, second)
    )
    return train, refit, *out


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.booleans())
def test_equals_the_split_written_event_by_event(make_log, plain, names, rows, hide):
    expected = naive(rows, hide=hide)
    if expected is None:
        with pytest.raises(ValueError, match="No event is left to train on"):
            split_log(make_log(rows), "time")
        return
    split = split_log(make_log(rows), "time", same_time="hide" if hide else "keep")
    assert names(split, split.train) == expected[0]
    assert names(split, split.refit) == expected[1]
    for cases, (expected_cases, dropped) in ((split.validation, expected[2]), (split.test, expected[3])):
        assert plain(split, cases) == expected_cases
        assert cases.dropped == dropped


@pytest.fixture
def picture_log(make_log):
    """The docstring's picture: cutoffs at 4 and 5."""
    return make_log(
        [
            *[("ann", "a", 2), ("ann", "a", 3), ("ann", "a", 4)],
            *[("bob", "b", 0), ("bob", "b", 1), ("bob", "b", 2), ("bob", "b", 4), ("bob", "b", 5), ("bob", "b", 6)],
            ("cem", "c", 6),
        ]
    )


def test_the_picture_in_the_docstring(picture_log, plain, names):
    split = split_log(picture_log, "time", test=0.3, validation=0.3)
    assert names(split, split.train) == [["a", "a"], ["b", "b", "b"], []]
    assert names(split, split.refit) == [["a"] * 3, ["b"] * 4, []]
    assert plain(split, split.validation) == [(["a", "a"], "a"), (["b"] * 3, "b")]
    assert plain(split, split.test) == [(["b"] * 4, "b"), (["b"] * 5, "b")]
    assert split.test.dropped == {"no history": 1}
    assert split.test.groups.tolist() == [1, 1]
    assert split.test.times.tolist() == [5, 6]
    assert split.catalog.ids == ("a", "b")
    assert split.picture.splitlines()[1] == "= train 5 | v validation 2 | T test 3"
    assert split.protocol == (
        "time split: trained before 1970-01-01T00:00:00Z (validated from 1970-01-01T00:00:00Z), evaluated on every "
        "later event of users with a history; of events at the target's own time the earlier lines are known; "
        "seen items not excluded"
    )


def test_nothing_from_the_future_trains(make_log):
    """Canaries: pairs and items that exist only after a cutoff must not be in the training events before it."""
    rng = np.random.default_rng(1)
    rows = [(f"u{rng.integers(30)}", f"i{rng.integers(20)}", t) for t in range(1000)]
    rows += [(f"u{u}", item, 950 + 2 * u) for u in range(10) for item in ("canary-1", "canary-2")]
    rows += [(f"u{u}", item, 860 + u) for u in range(10) for item in ("finch-1", "finch-2")]
    split = split_log(make_log(rows), "time")
    seen = {
        part: set(rows.to_contiguous().items.tolist())
        for part, rows in (("train", split.train), ("refit", split.refit))
    }
    assert not any(item.startswith("canary") for item in split.catalog.ids)
    finches = set(split.catalog.to_indices(["finch-1", "finch-2"]).tolist())
    assert finches <= seen["refit"]
    assert not finches & seen["train"]
    assert split.train.to_contiguous().times.max() < split.validation.times.min()
    assert split.refit.to_contiguous().times.max() < split.test.times.min()
    assert split.test.dropped["item not in training"] == 20
    assert split.validation.dropped["item not in training"] >= 10


def test_seen_items_are_excluded_by_an_option(picture_log):
    split = split_log(picture_log, "time", exclude_seen=True)
    assert split.exclude_seen
    assert split.protocol.endswith("seen items excluded")
    assert not split_log(picture_log, "time").exclude_seen


def test_messages(make_log, tmp_path, picture_log):
    from segue.data.readers.events import read_events

    path = tmp_path / "order.txt"
    path.write_text("ann a b c\n")
    with pytest.raises(ValueError) as caught:
        split_log(read_events(path, format="sequences"), "time")
    assert str(caught.value) == (
        "This log has an order but no times, so it cannot be cut at a time: use leave-last-out."
    )
    with pytest.raises(ValueError) as caught:
        split_log(make_log([("ann", "a", 5), ("ann", "b", 5)]), "time")
    assert str(caught.value) == (
        "No event is left to train on: this log has only 1 different times to cut at (test 0.1, validation 0.1). "
        "Use leave-last-out."
    )
    for option, message in (
        ({"test": 1.0}, "test must be a share between 0 and 1, got 1.0."),
        ({"validation": 0}, "validation must be a share between 0 and 1, got 0."),
        ({"same_time": "no"}, "same_time must be one of keep, hide, got 'no'."),
    ):
        with pytest.raises(ValueError) as caught:
            split_log(picture_log, "time", **option)
        assert str(caught.value) == message
