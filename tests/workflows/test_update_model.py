"""Update of a saved model: the catalog grows, training on new behavior, a worse model is never promoted."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from segue.data.splits.split import split_log
from segue.estimators.recommenders import GRU4Rec, Seq2SeqRec
from segue.models import artifact
from segue.models.add_items import add_rows_for_items
from segue.models.loading import restore_model
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.numpy_layers import normalize_rows
from segue.models.zoo import find_model
from segue.training.expand_catalog import expand_net
from segue.training.nets.encoders.gru4rec import GRU4RecEncoder
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.nets.layers.basic import DropoutRng
from segue.workflows.fit_model import fit_model
from segue.workflows.update_model import update_model
from segue.workflows.updates.update_data import ExpandedCatalogScorer, merge_logs

T0 = 1_700_000_000


def ring_log(users: range, step: int, items: int, begin: int) -> EventLog:
    """Users whose next item is always ``step`` items on, round a ring."""
    rows = [(f"u{u}", f"i{(u + s * step) % items:02d}", T0 + begin + 60 * s + u % 60) for u in users for s in range(8)]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def trained_once(names: list[str]) -> list[Any]:
    """Parameters of a session fixture; the tests of one parameter run in one worker, so that it is trained once."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(f"update-{name}")) for name in names]


MODELS = ["gru4rec", "gru4rec-separate", "gru4rec-parallel", "gru4rec-times"]
MODELS += ["sasrec", "bert4rec", "nextitnet", "hstu", "lrurec"]


@pytest.fixture(scope="session", params=trained_once(MODELS))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved model of a ring of twelve items."""
    name, _, variant = request.param.partition("-")
    quick = {"embedding_dim": 16, "epochs": 6, "batch_tokens": 128, "learning_rate": 0.02, "covisitation_weight": 0.0}
    more = {
        "separate": {"input_embedding": "separate"},
        "parallel": {"parallel_sessions": 16, "input_embedding": "one-hot", "cell": "lstm"},
        "times": {"time_inputs": ("gap",)},
        "bert4rec": {"epochs": 60, "learning_rate": 0.005, "patience": 60},
        "hstu": {"target_time": True},
    }
    folder = tmp_path_factory.mktemp("update") / "run"
    split = split_log(ring_log(range(60), 1, 12, 0), "time")
    fitted = fit_model(name, split, {**quick, **more.get(variant or name, {})})
    about = {"notes": fitted.notes}
    saved = artifact.Artifact(name, fitted.settings, split.catalog, fitted.scorer.arrays(), {}, about)
    artifact.save(saved, folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Copy of a saved model, for a test that changes it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def best(run: Path, *history: str) -> str:
    return segue.load(run).recommend([list(history)], k=1)[0][0][0]


def test_new_items_and_new_behavior_are_learned(run: Path) -> None:
    before = artifact.load(run)
    assert best(run, "i02", "i03") == "i04"
    report = update_model(run, ring_log(range(100, 500), 1, 16, 10_000), replay=ring_log(range(60), 1, 12, 0))
    after = artifact.load(run)
    assert report.promoted and report.after > report.before
    assert report.new_items == 4 and len(after.catalog) == 16
    assert after.about["updated_from"] == before.version and report.version == after.version
    assert best(run, "i12", "i13") == "i14"  # new items
    assert best(run, "i02", "i03") == "i04"


def test_a_worse_model_is_not_promoted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = artifact.load(run)

    def zero_embeddings(*arguments: object, **more: object) -> object:
        net = expand_net(*arguments, **more)  # type: ignore[arg-type]
        net.table_VD.zero_()
        return net

    monkeypatch.setattr("segue.training.expand_catalog.expand_net", zero_embeddings)
    monkeypatch.setattr("segue.training.trainer.Trainer.run", lambda self: None)
    report = update_model(run, ring_log(range(300, 340), 1, 12, 10_000))
    assert not report.promoted and report.version is None and report.after < report.before
    assert artifact.load(run).version == old.version


def test_known_items_keep_their_embeddings(trained: Path) -> None:
    loaded = artifact.load(trained)
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
    """Items table with the quarter of the ring of each item."""
    rows = [(f"i{i:02d}", f"q{i % 16 // 4}") for i in range(items)]
    return read_items(
        pl.DataFrame(rows, schema=["item_id", "quarter"], orient="row"), column_types={"quarter": "category"}
    )


@pytest.fixture(scope="session", params=trained_once(["gru4rec", "seq2seq"]))
def trained_with_features(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model trained with features; item i11 has no events."""
    kind = {"gru4rec": GRU4Rec, "seq2seq": Seq2SeqRec}[request.param]
    model = kind(embedding_dim=16, epochs=6, batch_tokens=128, learning_rate=0.02, features=["quarter"])
    model.fit(ring_log(range(60), 1, 11, 0), items=table(12)).save(
        folder := tmp_path_factory.mktemp("features") / "run"
    )
    return folder


@pytest.fixture
def informed(trained_with_features: Path, tmp_path: Path) -> Path:
    """Copy of a model trained with features, for a test that changes it."""
    return Path(shutil.copytree(trained_with_features, tmp_path / "run"))


def expanded(run: Path, wider: Catalog, rows: Sequences, items: ItemTable) -> TiedEmbeddingNet:
    loaded = artifact.load(run)
    config = decode_settings(find_model(loaded.model).config, loaded.settings)
    shown = {**loaded.items, **items.for_catalog(wider)}
    return expand_net(replace(loaded, items=shown), config, wider, rows, 0)


def test_expansion_splits_embeddings_into_features_and_item_parts(trained_with_features: Path) -> None:
    loaded = artifact.load(trained_with_features)
    wider = Catalog(sorted([*loaded.catalog.ids, "i12", "i13"]))
    net = expanded(
        trained_with_features, wider, Sequences.from_lists([wider.to_indices(["i01", "i12"]).tolist()]), table(14)
    )
    assert net.features is not None
    whole, own = net.item_embeddings().numpy(), net.table_VD.numpy()
    np.testing.assert_allclose(whole[wider.to_indices(loaded.catalog.ids)], loaded.arrays["table"][1:], atol=1e-5)
    cold, met, alone, same = wider.to_indices(["i11", "i12", "i13", "i11"])
    assert not own[cold].any() and not own[alone].any() and own[met].any()
    embeddings = FeatureEmbeddings.restore(loaded.arrays, "features")
    assert embeddings is not None
    np.testing.assert_allclose(whole[alone], embeddings.embed_rows([{"quarter": "q3"}])[0], rtol=1e-5, atol=1e-6)
    assert whole[met] @ whole[wider.to_indices(["i01"])[0]] > 0
    counts = np.zeros(wider.size, dtype=np.int64)
    offered = net.offered_items(counts)
    assert offered is not None  # an item without events and own embedding is no negative
    assert not offered[[0, same, alone]].any() and offered[met] and offered[wider.to_indices(["i01"])[0]]


def test_an_update_trains_features(informed: Path) -> None:
    before = artifact.load(informed).arrays["features.weights"]
    report = update_model(
        informed, ring_log(range(100, 600), 1, 14, 10_000), replay=ring_log(range(60), 1, 11, 0), items=table(14)
    )
    after = artifact.load(informed)
    assert report.promoted and report.new_items == 2
    assert after.items["i13"] == {"quarter": "q3"}
    assert not np.array_equal(after.arrays["features.weights"], before)
    larger = add_rows_for_items(restore_model(after), [{"quarter": "q3"}])  # it still places later items
    assert larger.size == len(after.catalog) + 2


def device_log(users: range, begin: int) -> EventLog:
    """Users on a phone go one item on, users at a desk two."""
    rows = []
    for p in users:
        step, device = (1, "phone") if p % 2 else (2, "desk")
        rows += [(f"u{p}", f"i{(p // 2 + s * step) % 12:02d}", T0 + begin + 60 * s + p % 60, device) for s in range(8)]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "device"], orient="row"))


def test_an_update_trains_contexts(tmp_path: Path) -> None:
    model = GRU4Rec(
        embedding_dim=16, epochs=30, batch_tokens=128, learning_rate=0.02, covisitation_weight=0.0, contexts=["device"]
    )
    model.fit(device_log(range(60), 0)).save(tmp_path / "run")
    before = artifact.load(tmp_path / "run").arrays["contexts.weights"]
    report = update_model(tmp_path / "run", device_log(range(100, 400), 10_000), replay=device_log(range(60), 0))
    after = artifact.load(tmp_path / "run")
    assert report.promoted and not np.array_equal(after.arrays["contexts.weights"], before)
    updated = segue.load(tmp_path / "run")
    for device, item in (("phone", "i05"), ("desk", "i06")):
        assert updated.recommend([["i04"]], k=1, contexts=[[{"device": device}]])[0][0][0] == item
    with pytest.raises(
        ValueError, match=r"^The log has no column 'device' to take as context\. Its columns: user_id, "
    ):
        update_model(tmp_path / "run", ring_log(range(300, 340), 1, 12, 10_000))


def test_a_new_item_has_input_and_output_embeddings_of_the_usual_norm() -> None:
    """Both embeddings lie side by side in one row, with norms of their own."""
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
    entered, key = net.table_VD[5].split(4)
    assert (float(entered.norm()), float(key.norm())) == (pytest.approx(10.0), pytest.approx(1.0))
    wanted = normalize_rows(table[1:2, :4] + table[2:3, :4])[0]
    np.testing.assert_allclose(entered / 10.0, wanted, atol=1e-2)


def test_expanded_catalog_scorer_ranks_new_items_last() -> None:
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
    log = ring_log(range(20), 1, 12, 0)
    name = model.fit(log).save(tmp_path / "run") and artifact.load(tmp_path / "run").model
    with pytest.raises(ValueError) as error:
        update_model(tmp_path / "run", log)
    assert str(error.value) == (
        f"{name} cannot be updated with new events, only neural models can: run 'segue train' on the whole log{cost}."
    )


def events_of(rows: list[tuple[str, str, int]]) -> EventLog:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return read_events(frame.with_columns(pl.col("timestamp") + T0))


def test_an_event_in_both_logs_counts_once() -> None:
    """Twice in the one and once in the other is twice; order and other columns do not matter."""
    older = events_of([("u", "a", 1), ("u", "b", 2), ("v", "a", 1), ("u", "b", 2)])
    newer = events_of([("u", "c", 3), ("u", "b", 2), ("v", "a", 1), ("v", "a", 2)])
    catalog = Catalog(["a", "b", "c"])
    merged, shared = merge_logs(newer, older, catalog)
    assert shared == 2
    assert merged.to_lists() == [[1, 2, 2, 3], [1, 1]]
    assert merge_logs(newer, None, catalog)[1] == 0
    same, shared = merge_logs(older, older, catalog)
    assert shared == 4 and same.to_lists() == older.sequences(catalog)[0].to_lists()


def test_contexts_of_the_merged_logs_fit_together() -> None:
    older, newer = (
        log.with_frame(log.frame.with_columns(region=pl.Series(values))).with_context({"region": "category"})
        for log, values in ((events_of([("u", "a", 1)]), [7]), (events_of([("u", "b", 2)]), ["north"]))
    )
    merged, _ = merge_logs(newer, older, Catalog(["a", "b"]))
    assert merged.contexts is not None
    assert [row for row in merged.contexts.features.rows if row] == [{"region": "7"}, {"region": "north"}]


def test_an_update_with_its_own_log_as_replay_counts_each_event_once(run: Path) -> None:
    log = ring_log(range(60), 1, 12, 0)
    alone = update_model(run, log, run.with_name("alone"))
    both = update_model(run, log, run.with_name("both"), replay=log)
    assert both.shared_events == len(log) and alone.shared_events == 0
    assert (both.cases, both.before) == (alone.cases, alone.before)


def test_new_ids_in_another_spelling_are_named(run: Path) -> None:
    log = ring_log(range(60), 1, 12, 0)
    odd = log.with_frame(log.frame.with_columns(pl.col("item_id").str.replace("i03", "I03")))
    report = update_model(run, odd, items=table(12))
    assert report.warnings[0] == (
        "1 new items of the log are items of the model in another spelling, as 'I03' for 'i03': write the ids as in "
        "the training log."
    )
