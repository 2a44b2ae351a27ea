"""New events into a model: the catalog grows, a shift is learned, and a worse model is never promoted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import segue
from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.data.event_log import EventLog
from segue.data.item_table import ItemTable
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.estimators.recommenders import HSTU, BERT4Rec, GRU4Rec, LRURec, NextItNet, SASRec, Seq2SeqRec
from segue.models import artifact
from segue.models.add_items import add_rows_for_items
from segue.models.loading import restore_model
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.neural.neural_scorer import normalize_rows
from segue.models.zoo import find_model
from segue.training.expand_catalog import expand_net
from segue.training.nets.encoders.gru4rec import GRU4RecEncoder
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.nets.layers.basic import DropoutRng
from segue.workflows.update_model import ExpandedCatalogScorer, update_model

T0 = 1_700_000_000


def walk(people: range, step: int, items: int, begin: int) -> EventLog:
    """People who always go ``step`` items on, round a ring."""
    rows = [(f"u{p}", f"i{(p + s * step) % items:02d}", T0 + begin + 60 * s + p % 60) for p in people for s in range(8)]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.fixture(
    params=[
        "gru4rec",
        "gru4rec-separate",
        "gru4rec-lanes",
        "gru4rec-times",
        "sasrec",
        "bert4rec",
        "nextitnet",
        "hstu",
        "lrurec",
    ]
)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, _, special = request.param.partition("-")
    kinds = {
        "gru4rec": GRU4Rec,
        "sasrec": SASRec,
        "bert4rec": BERT4Rec,
        "nextitnet": NextItNet,
        "hstu": HSTU,
        "lrurec": LRURec,
    }
    quick = {"embedding_dim": 16, "epochs": 6, "batch_tokens": 128, "learning_rate": 0.02, "covisitation_weight": 0.0}
    more = {
        "separate": {"input_embedding": "separate"},
        "lanes": {"parallel_sessions": 16, "input_embedding": "one-hot", "cell": "lstm"},
        "times": {"time_inputs": ("gap",)},
        "bert4rec": {"epochs": 60, "learning_rate": 0.005, "patience": 60},
        "hstu": {"target_time": True},
    }
    kinds[name](**{**quick, **more.get(special or name, {})}).fit(walk(range(60), 1, 12, 0)).save(tmp_path / "run")
    return tmp_path / "run"


def best(run: Path, *history: str) -> str:
    return segue.load(run).recommend([list(history)], k=1)[0][0][0]


def test_new_items_and_a_new_habit_are_learned(run: Path) -> None:
    before = artifact.load(run)
    assert best(run, "i02", "i03") == "i04"
    found = update_model(run, walk(range(100, 900), 1, 16, 10_000), replay=walk(range(60), 1, 12, 0))
    after = artifact.load(run)
    assert found.promoted and found.after > found.before
    assert found.new_items == 4 and len(after.catalog) == 16
    assert after.about["updated_from"] == before.version and found.version == after.version
    assert best(run, "i12", "i13") == "i14"  # items nobody knew before
    assert best(run, "i02", "i03") == "i04"


def test_what_is_worse_is_not_promoted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = artifact.load(run)

    def spoil(*arguments: object, **more: object) -> object:
        net = expand_net(*arguments, **more)  # type: ignore[arg-type]
        net.table_VD.zero_()
        return net

    monkeypatch.setattr("segue.training.expand_catalog.expand_net", spoil)
    monkeypatch.setattr("segue.training.trainer.Trainer.run", lambda self: None)
    found = update_model(run, walk(range(300, 340), 1, 12, 10_000))
    assert not found.promoted and found.version is None and found.after < found.before
    assert artifact.load(run).version == old.version


def test_known_items_keep_their_vectors(run: Path) -> None:
    loaded = artifact.load(run)
    config = decode_settings(find_model(loaded.model).config, loaded.settings)
    wider = Catalog(sorted([*loaded.catalog.ids, "aaa", "zzz"]))
    rows = Sequences.from_lists([wider.to_indices(["i01", "zzz", "i02"]).tolist()])
    net = expand_net(loaded, config, wider, rows, 0)
    table = net.table_VD.numpy()
    np.testing.assert_array_equal(table[wider.to_indices(loaded.catalog.ids)], loaded.arrays["table"][1:])
    near = table[wider.to_indices(["zzz"])[0]] @ table[wider.to_indices(["i01", "i02"])].T
    assert (near > 0).all() and not table[0].any()
    with pytest.raises(ValueError, match=r"^The new catalog has lost item 'i00'; it may only grow\.$"):
        expand_net(loaded, config, Catalog(["i01"]), rows, 0)


def table(items: int) -> ItemTable:
    """Which of four quarters of the ring each item is in."""
    rows = [(f"i{i:02d}", f"q{i % 16 // 4}") for i in range(items)]
    return read_items(
        pl.DataFrame(rows, schema=["item_id", "quarter"], orient="row"), column_types={"quarter": "category"}
    )


@pytest.fixture(params=["gru4rec", "seq2seq"])
def informed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A network that learned from features; i11 is in the table alone."""
    kind = {"gru4rec": GRU4Rec, "seq2seq": Seq2SeqRec}[request.param]
    model = kind(embedding_dim=16, epochs=6, batch_tokens=128, learning_rate=0.02, features=["quarter"])
    model.fit(walk(range(60), 1, 11, 0), items=table(12)).save(tmp_path / "run")
    return tmp_path / "run"


def grown(run: Path, wider: Catalog, rows: Sequences, items: ItemTable) -> TiedEmbeddingNet:
    loaded = artifact.load(run)
    config = decode_settings(find_model(loaded.model).config, loaded.settings)
    shown = {**loaded.items, **items.for_catalog(wider)}
    return expand_net(replace(loaded, items=shown), config, wider, rows, 0)


def test_growing_parts_what_features_tell_from_what_is_an_items_own(informed: Path) -> None:
    loaded = artifact.load(informed)
    wider = Catalog(sorted([*loaded.catalog.ids, "i12", "i13"]))
    net = grown(informed, wider, Sequences.from_lists([wider.to_indices(["i01", "i12"]).tolist()]), table(14))
    assert net.features is not None
    whole, own = net.whole().numpy(), net.table_VD.numpy()
    np.testing.assert_allclose(whole[wider.to_indices(loaded.catalog.ids)], loaded.arrays["table"][1:], atol=1e-5)
    cold, met, alone, twin = wider.to_indices(["i11", "i12", "i13", "i11"])
    assert not own[cold].any() and not own[alone].any() and own[met].any()
    told = FeatureEmbeddings.restore(loaded.arrays, "features")
    assert told is not None
    np.testing.assert_allclose(whole[alone], told.embed_rows([{"quarter": "q3"}])[0], rtol=1e-5, atol=1e-6)
    assert whole[met] @ whole[wider.to_indices(["i01"])[0]] > 0
    counts = np.zeros(wider.size, dtype=np.int64)
    offered = net.offered_items(counts)
    assert offered is not None  # what has nothing of its own and no event is not compared with
    assert not offered[[0, twin, alone]].any() and offered[met] and offered[wider.to_indices(["i01"])[0]]


def test_an_update_keeps_learning_from_features(informed: Path) -> None:
    before = artifact.load(informed).arrays["features.weights"]
    found = update_model(
        informed, walk(range(100, 600), 1, 14, 10_000), replay=walk(range(60), 1, 11, 0), items=table(14)
    )
    after = artifact.load(informed)
    assert found.promoted and found.new_items == 2
    assert after.items["i13"] == {"quarter": "q3"}
    assert not np.array_equal(after.arrays["features.weights"], before)
    larger = add_rows_for_items(restore_model(after), [{"quarter": "q3"}])  # and it still places what comes later
    assert larger.size == len(after.catalog) + 2


def both_ways(people: range, begin: int) -> EventLog:
    """Who is on a phone goes one on, who is at a desk two."""
    rows = []
    for p in people:
        step, device = (1, "phone") if p % 2 else (2, "desk")
        rows += [(f"u{p}", f"i{(p // 2 + s * step) % 12:02d}", T0 + begin + 60 * s + p % 60, device) for s in range(8)]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "device"], orient="row"))


def test_an_update_keeps_learning_from_contexts(tmp_path: Path) -> None:
    model = GRU4Rec(
        embedding_dim=16, epochs=30, batch_tokens=128, learning_rate=0.02, covisitation_weight=0.0, contexts=["device"]
    )
    model.fit(both_ways(range(60), 0)).save(tmp_path / "run")
    before = artifact.load(tmp_path / "run").arrays["contexts.weights"]
    found = update_model(tmp_path / "run", both_ways(range(100, 400), 10_000), replay=both_ways(range(60), 0))
    after = artifact.load(tmp_path / "run")
    assert found.promoted and not np.array_equal(after.arrays["contexts.weights"], before)
    asked = segue.load(tmp_path / "run")
    for device, item in (("phone", "i05"), ("desk", "i06")):
        assert asked.recommend([["i04"]], k=1, contexts=[[{"device": device}]])[0][0][0] == item
    with pytest.raises(
        ValueError, match=r"^The log has no column 'device' to take as context\. Its columns: user_id, "
    ):
        update_model(tmp_path / "run", walk(range(300, 340), 1, 12, 10_000))


def test_what_a_new_item_enters_by_is_as_long_as_what_known_ones_enter_by() -> None:
    """And its key as long as theirs, however much they differ: the two lie side by side in one row."""
    config = GRU4RecConfig(embedding_dim=4, input_embedding="separate")
    rng = np.random.default_rng(0)
    table = np.hstack([10.0 * normalize_rows(rng.normal(size=(5, 4))), normalize_rows(rng.normal(size=(5, 4)))]).astype(
        np.float32
    )
    table[0] = 0.0
    parameters = GRU4RecEncoder(config, DropoutRng(), torch.Generator()).state_dict()
    arrays = {f"gru.{name.removeprefix('layers.')}": value.numpy() for name, value in parameters.items()}
    old, new = Catalog(["a", "b", "c", "d"]), Catalog(["a", "b", "c", "d", "e"])
    saved = artifact.Artifact("gru4rec", {}, old, arrays | {"table": table}, {}, {})
    net = expand_net(saved, config, new, Sequences.from_lists([[1, 5, 2]]), 0)
    enters, key = net.table_VD[5].split(4)
    assert (float(enters.norm()), float(key.norm())) == (pytest.approx(10.0), pytest.approx(1.0))
    wanted = normalize_rows(table[1:2, :4] + table[2:3, :4])[0]
    np.testing.assert_allclose(enters / 10.0, wanted, atol=1e-2)


def test_widened_puts_the_unknown_last() -> None:
    class Given:
        name, size = "given", 3

        def scores(self, histories: Sequences) -> np.ndarray:
            assert histories.to_lists() == [[2, 0]]
            return np.array([[9.0, -1.0, 4.0]], np.float32)

        def arrays(self) -> dict[str, np.ndarray]:
            return {}

    # old 1, 2 are new 1, 3; new 2 is unknown to the old model
    wide = ExpandedCatalogScorer(Given(), np.array([0, 1, 0, 2], np.int32), np.array([0, 1, 3], np.int32))
    scores = wide.scores(Sequences.from_lists([[3, 2]]))
    assert scores[0, 1:].tolist() == [-1.0, -2.0, 4.0]


@pytest.mark.parametrize(
    ("model", "cost"), [(segue.CoVisit(), ", which takes one pass over it"), (segue.IALS(embedding_dim=4), "")]
)
def test_a_classic_model_is_not_updated(model: "segue.CoVisit | segue.IALS", cost: str, tmp_path: Path) -> None:
    log = walk(range(20), 1, 12, 0)
    name = model.fit(log).save(tmp_path / "run") and artifact.load(tmp_path / "run").model
    with pytest.raises(ValueError) as error:
        update_model(tmp_path / "run", log)
    assert str(error.value) == (
        f"{name} cannot be updated with new events, only neural models can: run 'segue train' on the whole log{cost}."
    )
