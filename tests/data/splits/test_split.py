"""Table of the split protocols: names, options, and invariants of every split."""

from dataclasses import replace

import numpy as np
import pytest

from segue.data.splits.cutoffs import with_fingerprint
from segue.data.splits.split import PROTOCOLS, split_log


@pytest.fixture
def log(make_log):
    rng = np.random.default_rng(0)
    rows = [(f"u{rng.integers(20)}", f"i{rng.integers(15)}", int(t)) for t in np.sort(rng.integers(0, 10**9, 600))]
    return make_log([(u, i, t, f"{u}-{t // 10**8}") for u, i, t in rows], session=True)


@pytest.fixture(params=PROTOCOLS)
def parts(request, log):
    return log, request.param, {"test": log} if request.param == "fixed" else {}


def test_invariants_of_every_split(parts):
    log, protocol, options = parts
    split = split_log(log, protocol, **options)
    for cases in (split.validation, split.test):
        assert len(cases) > 0
        assert len(cases.histories) == len(cases.groups) == len(cases.times) == len(cases)
        assert cases.targets.dtype == np.int32
        assert cases.targets.min() >= 1
        assert cases.targets.max() < split.catalog.size
        assert cases.histories.lengths.min() >= 1
    assert split.train.num_events < split.refit.num_events
    assert len(split.picture.splitlines()[0]) == pytest.approx(62, abs=3)
    assert split.protocol.count(".") <= 1


def test_equal_data_and_split_have_equal_fingerprints(parts):
    log, protocol, options = parts
    first, second = (split_log(log, protocol, **options).fingerprint for _ in range(2))
    assert first == second
    assert len(first) == 64
    frame = log.frame
    other = log.with_frame(frame.with_columns(frame["item_id"].replace({"i3": "i3b"})))
    changed = split_log(other, protocol, **({"test": other} if options else {})).fingerprint
    assert changed != first


def test_the_words_of_the_protocol_are_not_in_the_fingerprint(log):
    split = split_log(log, "time")
    reworded = with_fingerprint(replace(split, protocol="another sentence"), "time same_time=keep")
    assert reworded.fingerprint == split.fingerprint
    assert with_fingerprint(split, "time same_time=hide").fingerprint != split.fingerprint


def test_different_cuts_have_different_fingerprints(log):
    fingerprints = {
        split_log(log, "time", **options).fingerprint for options in ({}, {"test": 0.2}, {"same_time": "hide"})
    }
    assert len(fingerprints) == 3


def test_the_log_is_not_touched(parts):
    log, protocol, options = parts
    before = log.frame.clone()
    split_log(log, protocol, **options)
    assert log.frame.equals(before)


def test_messages(log):
    with pytest.raises(ValueError) as caught:
        split_log(log, "random")
    assert str(caught.value) == (
        "There is no protocol 'random'. Known protocols: time, leave-last-out, leave-last-n-out, sessions, fixed."
    )
    with pytest.raises(ValueError) as caught:
        split_log(log, "time", cut=3)
    assert str(caught.value) == (
        "Protocol time has no option 'cut'. Its options: test, validation, same_time, exclude_seen."
    )
    with pytest.raises(ValueError) as caught:
        split_log(log, "leave-last-out", test=0.1)
    assert str(caught.value) == "Protocol leave-last-out has no option 'test'. Its options: none."
