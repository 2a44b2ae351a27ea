"""Content-kNN against the similarity of every pair of items in plain Python."""

import math

import numpy as np
import polars as pl
import pytest

from segue.data.catalog import Catalog
from segue.data.features.encoding import ItemFeatures
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.models.knn import content_knn
from segue.models.knn.content_knn import ContentKNN, ContentKNNConfig
from segue.models.top_k import top_k

TITLES = ["green tea leaf", "green tea bag", "blue pot", "blue tea pot", "绿茶 杯", "绿茶 壶", "", "a c", "b c"]
BRANDS = ["a", "b", "a", None, "c", "c", "b", None, None]
CATALOG = Catalog(f"i{n}" for n in range(len(TITLES)))
NO_EVENTS = Sequences.from_lists([])


def item_features(column_types: dict[str, str] | None = None) -> ItemFeatures:
    table = pl.DataFrame({"item_id": CATALOG.ids, "title": TITLES, "brand": BRANDS})
    return read_items(table, column_types=column_types or {"title": "text", "brand": "category"}).item_features(CATALOG)


def history(*items: int) -> Sequences:
    return Sequences.from_lists([list(items)])


def similarity(columns: list[list[set[str]]], i: int, j: int) -> float:
    """The mean over columns of the cosine of tf-idf, computed as it is defined; a value of one item does not count."""
    total = 0.0
    for cells in columns:
        count = {v: sum(v in cell for cell in cells) for cell in cells for v in cell}
        idf = {v: math.log(len(cells) / n) for v, n in count.items() if n >= 2}
        a, b = ({v for v in cells[k] if v in idf} for k in (i, j))
        lengths = [math.sqrt(sum(idf[v] ** 2 for v in cell)) for cell in (a, b)]
        if all(lengths):
            total += sum(idf[v] ** 2 for v in a & b) / (lengths[0] * lengths[1])
    return total / len(columns)


def test_scores_equal_the_similarity_of_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_knn, "MAX_WORD_SHARE", 1.0)  # in nine items every word is common
    monkeypatch.setattr(content_knn, "_BLOCK_BYTES", 4 * 10 * 3)  # three items at once
    model = ContentKNN.from_item_features(NO_EVENTS, item_features(), ContentKNNConfig())
    han = [["绿", "茶", "绿茶", "杯"], ["绿", "茶", "绿茶", "壶"]]
    words = [set(t.split()) for t in TITLES[:4]] + [set(h) for h in han] + [set(t.split()) for t in TITLES[6:]]
    columns = [words, [{b} if b else set() for b in BRANDS]]
    count = len(TITLES)
    for i in range(count):
        scores_V = model.scores(history(i + 1))[0]
        for j in range(count):
            expected = 0.0 if i == j else similarity(columns, i, j)
            assert scores_V[j + 1] == pytest.approx(expected, abs=1e-5), (i, j)


def test_an_item_without_events_is_scored_by_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_knn, "MAX_WORD_SHARE", 1.0)
    model = ContentKNN.from_item_features(
        Sequences.from_lists([[1, 3], [1, 3]]), item_features(), ContentKNNConfig(columns=("title",))
    )
    assert top_k(model.scores(history(1)), 1)[0].tolist() == [[2]]
    assert top_k(model.scores(history(5)), 1)[0].tolist() == [[6]]  # 绿茶 杯 -> 绿茶 壶


def test_newer_events_count_more_and_few_neighbors_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_knn, "MAX_WORD_SHARE", 1.0)
    model = ContentKNN.from_item_features(NO_EVENTS, item_features(), ContentKNNConfig(columns=("brand",), decay=0.5))
    scores_V = model.scores(history(1, 5))[0]
    assert scores_V[6] == pytest.approx(1.0, abs=1e-5) and scores_V[3] == pytest.approx(0.5, abs=1e-5)
    pruned = ContentKNN.from_item_features(
        NO_EVENTS, item_features(), ContentKNNConfig(columns=("title",), num_neighbors=1)
    )
    assert max(np.diff(pruned.similarities.offsets)) == 1


def test_words_of_many_items_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ContentKNN.from_item_features(NO_EVENTS, item_features(), ContentKNNConfig(columns=("title",)))
    assert (model.scores(history(1))[0] < 1e-6).all()  # each of these words is in more than a tenth of nine items
    monkeypatch.setattr(content_knn, "MAX_WORD_SHARE", 1.0)
    monkeypatch.setattr(content_knn, "MAX_WORD_ITEMS", 2)
    model = ContentKNN.from_item_features(NO_EVENTS, item_features(), ContentKNNConfig(columns=("title",)))
    assert model.scores(history(1))[0][2] == pytest.approx(1.0, abs=1e-5)  # "green" is in two, "tea" in three
    assert model.scores(history(1))[0][4] < 1e-6


def test_vectors_are_compared_unchanged_and_numbers_by_their_decile() -> None:
    rows = [{}, {"v": [1.0, 0.0], "n": 1}, {"v": [1.0, 1.0], "n": 1}, {"v": [0.0, 2.0], "n": 9}, {"n": 9}]
    features = ItemFeatures(rows, {"v": "vector", "n": "number"})
    by_vector = ContentKNN.from_item_features(NO_EVENTS, features, ContentKNNConfig(columns=("v",))).scores(history(1))[
        0
    ]
    assert by_vector[1:] == pytest.approx([0.0, math.sqrt(0.5), 0.0, 0.0], abs=1e-5)
    by_number = ContentKNN.from_item_features(NO_EVENTS, features, ContentKNNConfig(columns=("n",))).scores(history(1))[
        0
    ]
    assert by_number[1:] == pytest.approx([0.0, 1.0, 0.0, 0.0], abs=1e-5)


def test_a_restored_model_has_the_same_scores() -> None:
    config = ContentKNNConfig(columns=("brand",))
    model = ContentKNN.from_item_features(history(1, 2, 3), item_features(), config)
    again = ContentKNN.restore(model.arrays(), config)
    rows = Sequences.from_lists([[1, 2], [], [7], [5, 5]])
    np.testing.assert_array_equal(again.scores(rows), model.scores(rows))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_neighbors": 0}, "num_neighbors must be at least 1, got 0."),
        ({"max_values": 0}, "max_values must be at least 1, got 0."),
        ({"decay": 1.5}, "decay must be above 0 and at most 1, got 1.5."),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="must") as error:
        ContentKNNConfig(**values)  # type: ignore[arg-type]
    assert str(error.value) == sentence


def test_a_missing_table_or_column_is_named() -> None:
    with pytest.raises(ValueError, match="give the log a table of items"):
        ContentKNN.from_item_features(NO_EVENTS, None, ContentKNNConfig())
    with pytest.raises(ValueError, match="no column 'colour'"):
        ContentKNN.from_item_features(NO_EVENTS, item_features(), ContentKNNConfig(columns=("colour",)))
