"""Contract of ``Scorer``: every model of the zoo is in this suite."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.artifact_tensors import find_tensor
from segue.models.loading import restore_model
from segue.models.top_k import top_k
from segue.models.zoo import ZOO, ClassicEntry, NeuralEntry

RING = 12
"""Items 1 to 12 lie in a ring: after i comes i + 1, after 12 comes 1."""
UNSEEN = (13, 14)
"""Items of the catalog without events."""
SIZE = RING + len(UNSEEN) + 1
NOT_SEQUENTIAL = {"popularity", "trend", "ials", "bpr", "ease", "spectral", "user-knn", "vsknn"}
"""Models that ignore the history, or the order of its items. On the ring all users have all items, so that they cannot
predict the next one."""


def walk(start, length):
    """A walk on the ring."""
    return [(start - 1 + step) % RING + 1 for step in range(length)]


HISTORIES = [[3], [1, 2, 3], [], [7, 8, 9], [12], [5, 5, 5], walk(2, 40), [11, 12, 1, 2]]
CLASSIC = [name for name, entry in ZOO.items() if isinstance(entry, ClassicEntry)]


@pytest.fixture(scope="module")
def ring():
    """Sixty walks of eight steps, five from every item, and three visits that make item 1 the most popular."""
    return Sequences.from_lists([*[walk(start % RING + 1, 8) for start in range(60)], *[[1]] * 3])


@pytest.fixture(scope="module", params=ZOO)
def folder(request, saved_model, ring):
    """Artifact of each model of the zoo, fitted on the ring."""
    return saved_model(request.param, ring, SIZE, Sequences.from_lists(HISTORIES))


@pytest.fixture(scope="module")
def scorer(folder):
    return restore_model(artifact.load(folder))


def score(scorer, rows):
    return scorer.scores(Sequences.from_lists(rows))


def best(scorer, rows, k=1):
    """The k best items that are not in the history."""
    return top_k(score(scorer, rows), k, exclude=Sequences.from_lists(rows))[0].tolist()


def test_scores_are_one_finite_float32_row_for_each_history(scorer):
    scores_BV = score(scorer, HISTORIES)
    assert scores_BV.shape == (len(HISTORIES), SIZE) == (len(HISTORIES), scorer.size)
    assert scores_BV.dtype == np.float32
    assert np.isfinite(scores_BV).all()


def test_it_knows_its_name_in_the_zoo(scorer):
    assert scorer.name in ZOO


def test_it_predicts_the_next_item(scorer):
    if scorer.name in NOT_SEQUENTIAL:
        return
    assert best(scorer, [[1, 2, 3], [7, 8, 9], [10, 11, 12], [6, 7]]) == [[4], [10], [1], [8]]


def test_a_batch_equals_one_by_one(scorer):
    single = np.concatenate([score(scorer, [row]) for row in HISTORIES])
    np.testing.assert_allclose(score(scorer, HISTORIES), single, rtol=1e-4, atol=1e-5)


def test_no_histories_no_rows(scorer):
    assert score(scorer, []).shape == (0, SIZE)


def test_an_empty_history_gets_popular_items(scorer):
    """Item 1 is the most popular one; the rest of the ring is equally popular; unseen items come last."""
    items = top_k(score(scorer, [[]]), SIZE - 1)[0][0].tolist()
    assert items[0] == 1
    assert set(items[-2:]) == set(UNSEEN)


def test_unknown_items_are_skipped(scorer):
    with_unknown = score(scorer, [[PAD, 1, PAD, 2, 3, PAD], [PAD, PAD], [7, PAD]])
    np.testing.assert_allclose(with_unknown, score(scorer, [[1, 2, 3], [], [7]]), rtol=1e-5, atol=1e-6)


def test_a_view_scores_like_a_copy(scorer):
    """Histories are mostly windows into one long log, with gaps and overlaps."""
    log = Sequences.from_lists([walk(1, 9), walk(5, 7)])
    views = Sequences(log.items, None, np.array([2, 0, 9, 1]), np.array([5, 5, 12, 1]))
    np.testing.assert_allclose(
        scorer.scores(views), score(scorer, [[3, 4, 5], [1, 2, 3, 4, 5], [5, 6, 7], []]), rtol=1e-5, atol=1e-6
    )


def test_a_history_of_thousands_is_scored_in_a_second(scorer):
    long = walk(1, 12_000 + 3)
    started = time.perf_counter()
    scores_BV = score(scorer, [long])
    assert time.perf_counter() - started < 1.0
    assert np.isfinite(scores_BV).all()
    if scorer.name not in NOT_SEQUENTIAL:
        assert top_k(scores_BV, 1, exclude=Sequences.from_lists([long[-6:]]))[0].tolist() == [[4]]


def test_lists_are_full_and_hold_nothing_excluded(scorer):
    rows = [walk(1, 8), [], [3, 3, 3]]
    items_BK, scores_BK = top_k(score(scorer, rows), SIZE, exclude=Sequences.from_lists(rows))
    for row, items, scores in zip(rows, items_BK.tolist(), scores_BK.tolist(), strict=True):
        expected = set(range(1, SIZE)) - set(row)
        listed = [item for item in items if item != PAD]
        assert set(listed) == expected
        assert len(listed) == len(expected)
        assert scores[: len(expected)] == sorted(scores[: len(expected)], reverse=True)


def test_it_does_not_touch_its_input(scorer):
    histories = Sequences.from_lists([[1, PAD, 2], [], walk(3, 30)])
    arrays = (histories.items, histories.starts, histories.stops)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    scorer.scores(histories)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_scores_may_be_written_to(scorer):
    """Callers own the scores: the next ones must not change."""
    first = score(scorer, HISTORIES)
    expected = first.copy()
    first[:] = -7.0
    np.testing.assert_array_equal(score(scorer, HISTORIES), expected)


def test_a_restored_model_has_the_same_scores(scorer, folder, tmp_path):
    """As before it was saved, and after it was saved once more."""
    saved = artifact.load(folder)
    artifact.save(replace(saved, arrays=scorer.arrays()), tmp_path / "run")
    again = restore_model(artifact.load(tmp_path / "run"))
    for restored in (scorer, again):
        np.testing.assert_array_equal(score(restored, HISTORIES), np.load(folder.parent / "scores.npy"))


def test_its_tensors_are_in_the_reference(scorer):
    for name, array in scorer.arrays().items():
        listed = find_tensor(scorer.name, name)
        assert listed is not None, name
        assert array.dtype == listed.dtype, name
        assert "..." in listed.shape or array.ndim == listed.shape.count(",") + 1, name


@pytest.mark.parametrize("name", ZOO)
def test_equal_logs_make_equal_models(name, fit_model, ring):
    few = {"epochs": 3} if isinstance(ZOO[name], NeuralEntry) else {}
    first, second = (fit_model(name, ring, SIZE, **few) for _ in range(2))
    np.testing.assert_array_equal(score(first, HISTORIES), score(second, HISTORIES))


@pytest.mark.parametrize("name", CLASSIC)
def test_fitting_does_not_touch_the_log(fit_model, name):
    log = Sequences.from_lists([[1, PAD, 2, 1], [3], []], [[1, 2, 3, 4], [5], []])
    for array in (log.items, log.times, log.starts, log.stops):
        array.flags.writeable = False
    fit_model(name, log, 5)
    assert log.to_lists() == [[1, PAD, 2, 1], [3], []]


@pytest.mark.parametrize("name", CLASSIC)
@pytest.mark.parametrize("rows", [[], [[]], [[PAD, PAD]], [[1]], [[1], [1], [2]]])
def test_a_log_with_hardly_an_event(fit_model, name, rows):
    scorer = fit_model(name, Sequences.from_lists(rows), 5)
    scores_BV = score(scorer, [[], [1], [4], [1, 2, 3, 4]])
    assert np.isfinite(scores_BV).all()
    assert top_k(scores_BV, 4)[0].shape == (4, 4)
    if rows and rows[0] == [1]:
        assert top_k(scores_BV[:1], 1)[0].tolist() == [[1]]


@pytest.mark.parametrize("name", CLASSIC)
def test_pad_in_the_log_is_not_counted(fit_model, name):
    """An unknown item keeps its position in the row, so that its neighbors are not adjacent."""
    rows = [[1, 2, 3], [2, 3], [3, 1]]
    with_pad = Sequences.from_lists([*rows, [PAD], [PAD, PAD, PAD]])
    np.testing.assert_allclose(
        score(fit_model(name, with_pad, 5), [[1], [2, 3], []]),
        score(fit_model(name, Sequences.from_lists(rows), 5), [[1], [2, 3], []]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", CLASSIC)
def test_items_without_events_come_last(fit_model, name):
    scorer = fit_model(name, Sequences.from_lists([walk(start, 8) for start in range(1, RING + 1)]), SIZE)
    items = top_k(score(scorer, HISTORIES), SIZE - 1)[0]
    assert (np.sort(items[:, -2:], axis=1) == UNSEEN).all()


SERVE = """
import sys
for name in ("scipy", "polars", "torch", "onnxruntime", "pandas", "statsmodels"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
from segue.data.sequences import Sequences
from segue.models.artifact import load
from segue.models.artifact_tensors import find_tensor
from segue.models.loading import restore_model
for folder in sys.argv[1:]:
    try:
        print(int(restore_model(load(folder)).scores(Sequences.from_lists([[1, 2, 3]]))[0].argmax()))
    except Exception as error:
        print(repr(error))
"""


@pytest.fixture(scope="module")
def best_without_libraries(saved_model, ring):
    """Best item by model, from one process without the heavy libraries."""
    folders = [saved_model(name, ring, SIZE, Sequences.from_lists(HISTORIES)) for name in CLASSIC]
    done = subprocess.run([sys.executable, "-c", SERVE, *folders], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return dict(zip(CLASSIC, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("name", CLASSIC)
def test_scoring_needs_numpy_alone(name, best_without_libraries, saved_model, ring):
    scorer = restore_model(artifact.load(saved_model(name, ring, SIZE, Sequences.from_lists(HISTORIES))))
    assert best_without_libraries[name] == str(score(scorer, [[1, 2, 3]])[0].argmax())
