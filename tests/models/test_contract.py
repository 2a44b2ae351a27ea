"""What every model of the zoo keeps, whatever is inside: one suite, and being in the zoo is being in it."""

import subprocess
import sys
import time

import numpy as np
import pytest

from segue.config.decode import decode_settings
from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.loading import restore_model
from segue.models.top_k import top_k
from segue.models.zoo import ZOO, ClassicEntry, NeuralEntry, find_model

RING = 12
"""Items 1 to 12 lie in a ring: after i comes i + 1, after 12 comes 1."""
UNSEEN = (13, 14)
"""Items of the catalog that never occur."""
SIZE = RING + len(UNSEEN) + 1
NOT_SEQUENTIAL = {"popularity", "trend", "ials", "bpr", "ease", "spectral", "user-knn", "vsknn"}
"""These do not look at the history, or only at what lies in it and how long ago: in a ring, where everybody passes
every item, what follows cannot be told from what comes before, so that there is no rule to learn."""


def walk(start, length):
    """A walk on the ring."""
    return [(start - 1 + step) % RING + 1 for step in range(length)]


HISTORIES = [[3], [1, 2, 3], [], [7, 8, 9], [12], [5, 5, 5], walk(2, 40), [11, 12, 1, 2]]
COUNTING = [name for name, entry in ZOO.items() if isinstance(entry, ClassicEntry)]


@pytest.fixture(scope="module")
def ring():
    """Sixty walks of eight steps, five from every item, and three visits that make item 1 the most popular."""
    return Sequences.from_lists([*[walk(start % RING + 1, 8) for start in range(60)], *[[1]] * 3])


@pytest.fixture(scope="module", params=ZOO)
def scorer(request, fit_model, ring):
    """Each model of the zoo, fitted on the ring."""
    return fit_model(request.param, ring, SIZE)


def ask(scorer, rows):
    return scorer.scores(Sequences.from_lists(rows))


def best(scorer, rows, k=1):
    """The k best items that are not in the history."""
    return top_k(ask(scorer, rows), k, exclude=Sequences.from_lists(rows))[0].tolist()


def saved(scorer, folder):
    """To disk and back."""
    shape = (
        {"embedding_dim": 16, "max_length": scorer.encoder.length}
        if isinstance(find_model(scorer.name), NeuralEntry)
        else {}
    )
    shape |= {"embedding_dim": 16} if "embedding_dim" in fields(scorer.name) else {}
    config = decode_settings(find_model(scorer.name).config, shape)
    plain = {name: getattr(config, name) for name in fields(scorer.name)}
    catalog = Catalog(f"item {i}" for i in range(1, SIZE))
    artifact.save(artifact.Artifact(scorer.name, plain, catalog, scorer.arrays(), {}, {}), folder)
    return restore_model(artifact.load(folder))


def fields(name):
    return list(ZOO[name].config.__dataclass_fields__)


def test_scores_are_one_finite_float32_row_for_each_history(scorer):
    scores_BV = ask(scorer, HISTORIES)
    assert scores_BV.shape == (len(HISTORIES), SIZE) == (len(HISTORIES), scorer.size)
    assert scores_BV.dtype == np.float32
    assert np.isfinite(scores_BV).all()


def test_it_knows_its_name_in_the_zoo(scorer):
    assert scorer.name in ZOO


def test_it_learns_the_rule(scorer):
    if scorer.name in NOT_SEQUENTIAL:
        return
    assert best(scorer, [[1, 2, 3], [7, 8, 9], [10, 11, 12], [6, 7]]) == [[4], [10], [1], [8]]


def test_a_batch_equals_one_by_one(scorer):
    single = np.concatenate([ask(scorer, [row]) for row in HISTORIES])
    np.testing.assert_allclose(ask(scorer, HISTORIES), single, rtol=1e-4, atol=1e-5)


def test_no_histories_no_rows(scorer):
    assert ask(scorer, []).shape == (0, SIZE)


def test_an_empty_history_is_answered_by_popularity(scorer):
    """Item 1 is the most popular one; the rest of the ring is equally popular; unseen items come last."""
    items = top_k(ask(scorer, [[]]), SIZE - 1)[0][0].tolist()
    assert items[0] == 1
    assert set(items[-2:]) == set(UNSEEN)


def test_unknown_items_are_skipped(scorer):
    with_unknown = ask(scorer, [[PAD, 1, PAD, 2, 3, PAD], [PAD, PAD], [7, PAD]])
    np.testing.assert_allclose(with_unknown, ask(scorer, [[1, 2, 3], [], [7]]), rtol=1e-5, atol=1e-6)


def test_a_view_scores_like_a_copy(scorer):
    """Histories are mostly windows into one long log, with gaps and overlaps."""
    log = Sequences.from_lists([walk(1, 9), walk(5, 7)])
    views = Sequences(log.items, None, np.array([2, 0, 9, 1]), np.array([5, 5, 12, 1]))
    np.testing.assert_allclose(
        scorer.scores(views), ask(scorer, [[3, 4, 5], [1, 2, 3, 4, 5], [5, 6, 7], []]), rtol=1e-5, atol=1e-6
    )


def test_a_history_of_thousands_is_answered_at_once(scorer):
    long = walk(1, 12_000 + 3)
    started = time.perf_counter()
    scores_BV = ask(scorer, [long])
    assert time.perf_counter() - started < 1.0
    assert np.isfinite(scores_BV).all()
    if scorer.name not in NOT_SEQUENTIAL:
        assert top_k(scores_BV, 1, exclude=Sequences.from_lists([long[-6:]]))[0].tolist() == [[4]]


def test_lists_are_full_and_hold_nothing_excluded(scorer):
    rows = [walk(1, 8), [], [3, 3, 3]]
    items_BK, scores_BK = top_k(ask(scorer, rows), SIZE, exclude=Sequences.from_lists(rows))
    for row, items, scores in zip(rows, items_BK.tolist(), scores_BK.tolist(), strict=True):
        wanted = set(range(1, SIZE)) - set(row)
        listed = [item for item in items if item != PAD]
        assert set(listed) == wanted
        assert len(listed) == len(wanted)
        assert scores[: len(wanted)] == sorted(scores[: len(wanted)], reverse=True)


def test_it_does_not_touch_its_input(scorer):
    histories = Sequences.from_lists([[1, PAD, 2], [], walk(3, 30)])
    arrays = (histories.items, histories.starts, histories.stops)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    scorer.scores(histories)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_an_answer_may_be_written_to(scorer):
    """``top_k`` and callers own what they get: the next answer must not change."""
    first = ask(scorer, HISTORIES)
    wanted = first.copy()
    first[:] = -7.0
    np.testing.assert_array_equal(ask(scorer, HISTORIES), wanted)


def test_it_is_the_same_after_the_disk(scorer, tmp_path):
    np.testing.assert_array_equal(ask(saved(scorer, tmp_path / "run"), HISTORIES), ask(scorer, HISTORIES))


def test_equal_logs_make_equal_models(scorer, fit_model, ring):
    again = fit_model(scorer.name, ring, SIZE)
    np.testing.assert_array_equal(ask(again, HISTORIES), ask(scorer, HISTORIES))


@pytest.mark.parametrize("name", COUNTING)
def test_fitting_does_not_touch_the_log(fit_model, name):
    log = Sequences.from_lists([[1, PAD, 2, 1], [3], []], [[1, 2, 3, 4], [5], []])
    for array in (log.items, log.times, log.starts, log.stops):
        array.flags.writeable = False
    fit_model(name, log, 5)
    assert log.to_lists() == [[1, PAD, 2, 1], [3], []]


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize("rows", [[], [[]], [[PAD, PAD]], [[1]], [[1], [1], [2]]])
def test_a_log_with_next_to_nothing_in_it(fit_model, name, rows):
    scorer = fit_model(name, Sequences.from_lists(rows), 5)
    scores_BV = ask(scorer, [[], [1], [4], [1, 2, 3, 4]])
    assert np.isfinite(scores_BV).all()
    assert top_k(scores_BV, 4)[0].shape == (4, 4)
    if rows and rows[0] == [1]:
        assert top_k(scores_BV[:1], 1)[0].tolist() == [[1]]


@pytest.mark.parametrize("name", COUNTING)
def test_pad_in_the_log_counts_nothing(fit_model, name):
    """An unknown item takes its place in the row, so that its neighbors are not taken for each other's."""
    rows = [[1, 2, 3], [2, 3], [3, 1]]
    apart = Sequences.from_lists([*rows, [PAD], [PAD, PAD, PAD]])
    np.testing.assert_allclose(
        ask(fit_model(name, apart, 5), [[1], [2, 3], []]),
        ask(fit_model(name, Sequences.from_lists(rows), 5), [[1], [2, 3], []]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", COUNTING)
def test_what_was_never_seen_comes_last(fit_model, name):
    scorer = fit_model(name, Sequences.from_lists([walk(start, 8) for start in range(1, RING + 1)]), SIZE)
    items = top_k(ask(scorer, HISTORIES), SIZE - 1)[0]
    assert (np.sort(items[:, -2:], axis=1) == UNSEEN).all()


SERVE = """
import sys
for name in ("scipy", "polars", "torch", "onnxruntime", "pandas", "statsmodels"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
from segue.data.sequences import Sequences
from segue.models.artifact import load
from segue.models.loading import restore_model
print(int(restore_model(load(sys.argv[1])).scores(Sequences.from_lists([[1, 2, 3]]))[0].argmax()))
"""


@pytest.mark.parametrize("name", COUNTING)
def test_scoring_needs_numpy_alone(fit_model, name, ring, tmp_path):
    scorer = fit_model(name, ring, SIZE)
    saved(scorer, tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", SERVE, tmp_path / "run"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == [str(ask(scorer, [[1, 2, 3]])[0].argmax())]
