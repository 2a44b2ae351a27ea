"""Event contexts in training: batches, exported models, empty contexts, resuming, and items that depend on contexts."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segue.data.catalog import PAD, Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.event_contexts import EventContexts
from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.data.training_data import SideData
from segue.estimators.trained_model import TrainedModel
from segue.models.decoder_state import FullRescore, initial_state
from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.models.neural.configs.caser import CaserConfig
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.neural.configs.lrurec import LRURecConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer, restore_neural
from segue.models.zoo import ZOO, NeuralEntry
from segue.training.build_net import build_net
from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.config import TrainingConfig
from segue.training.export import export_scorer
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet, TorchScorer
from segue.training.progress import Progress
from segue.training.tasks import MaskedItemTask, NextItemsTask, NextItemTask, Task
from segue.training.trainer import Trainer
from segue.workflows import fit_model

V = 25
SMALL: dict[str, Any] = {"embedding_dim": 8, "max_length": 10}
CONFIGS: dict[str, Any] = {
    "sasrec": SASRecConfig(**SMALL, num_layers=1),
    "gru4rec": GRU4RecConfig(**SMALL, temperature=None),
    "hstu": HSTUConfig(**SMALL, num_layers=1),
    "bert4rec": BERT4RecConfig(**SMALL, num_layers=1),
    "caser": CaserConfig(embedding_dim=8, max_length=4, window=3),
    "nextitnet": NextItNetConfig(**SMALL, dilations=(2,)),
    "lrurec": LRURecConfig(**SMALL, num_layers=1),
    "seq2seq": Seq2SeqConfig(**SMALL, horizon=3),
}
ROWS: list[dict[str, Any]] = [{}, {"device": "tv", "age": 3.0}, {"device": "phone"}, {"age": 40.0}]
FEATURES = ItemFeatures(ROWS, {"device": "category", "age": "number"})


@cache
def log() -> Sequences:
    rng = np.random.default_rng(0)
    rows = Sequences.from_lists([rng.integers(1, V, rng.integers(2, 14)).tolist() for _ in range(90)])
    return replace(rows, contexts=EventContexts(rng.integers(0, 4, len(rows.items)).astype(np.int32), FEATURES))


def build(config: object, **values: Any) -> TiedEmbeddingNet:
    return build_net(config, log(), V, 1, SideData(FeatureConfig(contexts=("device", "age"), **values), None))


@cache
def shared_net(name: str) -> TiedEmbeddingNet:
    """A net with noise in every weight, for tests that leave it as it is."""
    net = build(CONFIGS[name])
    assert net.contexts is not None
    with torch.no_grad():
        for tensor in (net.table_VD, net.contexts.embeddings_FD, *net.encoder.parameters()):
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2)) * 0.3)
    net.table_VD[PAD] = 0.0
    return net


@cache
def exported(name: str) -> NeuralScorer:
    """The exported model of the shared net."""
    return export_scorer(name, shared_net(name), np.zeros(V))


def test_every_neural_model_is_covered() -> None:
    assert set(CONFIGS) == {name for name, entry in ZOO.items() if isinstance(entry, NeuralEntry)}


@pytest.mark.parametrize("task", [NextItemTask(5), MaskedItemTask(5, 0.3, 0.2), NextItemsTask(5, 3)], ids=str)
def test_batches_have_the_context_of_each_input(task: Task) -> None:
    """The context of each event is its item."""
    rows = log()
    echo = replace(rows, contexts=EventContexts(rows.items, ItemFeatures([{}] * V, {})))
    batch = task.batch(task.windows(echo).take(slice(0, 20)), np.random.default_rng(1))
    assert batch.contexts_BT is not None
    is_event = batch.inputs_BT != PAD
    np.testing.assert_array_equal(batch.contexts_BT[is_event], batch.inputs_BT[is_event])
    share = batch.shard(1, 3).contexts_BT
    assert share is not None
    np.testing.assert_array_equal(share, batch.contexts_BT[1::3])
    assert (
        task.batch(
            task.windows(Sequences(rows.items, None, rows.starts, rows.stops)), np.random.default_rng(1)
        ).contexts_BT
        is None
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_exported_model_equals_net_and_is_restored_from_its_tensors(name: str) -> None:
    net, served = shared_net(name), exported(name)
    scores = served.scores(log())
    torch.testing.assert_close(scores[:, 1:], TorchScorer(net).scores(log())[:, 1:], rtol=1e-3, atol=1e-3)
    restored = restore_neural(name, served.arrays(), CONFIGS[name])
    np.testing.assert_array_equal(restored.scores(log()), scores)
    without_contexts = served.scores(replace(log(), contexts=None))
    assert np.abs(without_contexts - scores).max() > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_no_context_and_an_empty_context_add_zeros(name: str) -> None:
    served = exported(name)
    rows = log()
    empty = replace(rows, contexts=EventContexts(np.zeros(len(rows.items), dtype=np.int32), FEATURES))
    np.testing.assert_array_equal(served.scores(empty), served.scores(replace(rows, contexts=None)))


def test_an_event_is_its_item_embedding_plus_its_context_embedding() -> None:
    served = exported("gru4rec")
    assert served.side_information.contexts is not None
    history = replace(
        Sequences.from_lists([[3, 4]]), contexts=EventContexts(np.array([2, 0], dtype=np.int32), FEATURES)
    )
    _, embeddings = served.encode(history)
    np.testing.assert_allclose(
        embeddings[0],
        served.input_embeddings_VD[3] + served.side_information.contexts.embed_rows([{"device": "phone"}])[0],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(embeddings[1], served.input_embeddings_VD[4])
    missing = served.side_information.contexts.embed_rows(
        [{"device": "phone"}, {"device": "phone", "age": None}, {"device": "new", "age": 1.0}]
    )
    np.testing.assert_array_equal(missing[0], missing[1])
    weights, age = (
        served.side_information.contexts.weights_FD,
        served.side_information.contexts.encoding.columns[0].size,
    )
    features = served.side_information.contexts.encoding.encode([{"device": "phone"}]).codes.tolist()
    np.testing.assert_allclose(missing[0], weights[features].sum(axis=0), rtol=1e-5, atol=1e-6)
    assert features[1] == age  # a missing cell has its own embedding in its column
    np.testing.assert_allclose(
        missing[2] - served.side_information.contexts.embed_rows([{"age": 1.0}])[0], 0.0, atol=1e-6
    )  # unknown = missing


@pytest.mark.parametrize("name", ["gru4rec", "seq2seq"])
@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_resumed_training_equals_an_uninterrupted_one(name: str, loss: str, tmp_path: Path) -> None:
    def trainer(net: TiedEmbeddingNet) -> Trainer:
        return Trainer(net, log(), TrainingConfig(epochs=2, batch_tokens=64, loss=loss, num_negatives=8), seed=1)

    whole = build(CONFIGS[name], context_dropout=0.3)
    outcome = trainer(whole).run()
    assert whole.contexts is not None and whole.contexts.embeddings_FD.any()
    stops = 0
    while True:
        part = build(CONFIGS[name], context_dropout=0.3)
        run = trainer(part)
        checkpoint = Checkpoint(tmp_path / "run.checkpoint", every_s=1e9)

        def after_five(progress: Progress, own: Checkpoint = checkpoint, run: Trainer = run) -> None:
            own.stop = run.step % 5 == 4

        try:
            resumed = run.run(None, after_five, checkpoint=checkpoint)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 1 and resumed.losses == outcome.losses
    for key, value in whole.weights().items():
        assert torch.equal(value, part.weights()[key]), key


def test_a_checkpoint_with_other_contexts_is_refused(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=1, batch_tokens=64)
    Trainer(build(CONFIGS["gru4rec"]), log(), config, 1).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    rows = log()
    assert rows.contexts is not None
    other = replace(rows, contexts=EventContexts(rows.contexts.codes[::-1].copy(), FEATURES))
    with pytest.raises(ValueError, match=r"belongs to another training: its data, settings or seed differ\.$"):
        Trainer(build(CONFIGS["gru4rec"]), other, config, 1).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))


def test_context_dropout_drops_whole_contexts_and_repeats_by_seed() -> None:
    net = build(CONFIGS["sasrec"], context_dropout=0.5).train()
    assert net.contexts is not None
    net.contexts.embeddings_FD.fill_(1.0)
    used, rows = net.encode_contexts(np.full((4, 60), 2, dtype=np.int32))
    drawn = []
    for seed in (3, 3, 4):
        net.noise.seed(seed)
        added = net.context_embeddings(used, rows)
        assert added is not None
        drawn.append(added.detach())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    kept = drawn[0].any(dim=2)
    assert 60 < int(kept.sum()) < 180 and (drawn[0][kept] == drawn[0].max()).all()
    whole = net.eval().context_embeddings(used, rows)
    assert whole is not None and whole.any(dim=2).all()


def device_log(seed: int, num_users: int = 200) -> Sequences:
    """On a phone the next item is one further, at a desk seven; the device is random at each event."""
    rng = np.random.default_rng(seed)
    rows, codes = [], []
    for _ in range(num_users):
        row, used = [int(rng.integers(24))], rng.integers(1, 3, 9).tolist()
        for device in used[:-1]:
            row.append((row[-1] + (1 if device == 1 else 7)) % 24)
        rows.append([item + 1 for item in row])
        codes += used
    devices = ItemFeatures([{}, {"device": "phone"}, {"device": "desk"}], {"device": "category"})
    return replace(Sequences.from_lists(rows), contexts=EventContexts(np.array(codes, dtype=np.int32), devices))


@pytest.mark.parametrize("name", ["gru4rec", "sasrec"])
def test_items_that_depend_on_contexts_are_learned(name: str) -> None:
    no_cases = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    catalog = Catalog(f"i{i:02d}" for i in range(24))
    split = Split("none", catalog, device_log(0), no_cases, device_log(0), no_cases, False, "", "")
    quick = {
        "embedding_dim": 16,
        "max_length": 10,
        "num_layers": 1,
        "epochs": 30,
        "batch_tokens": 256,
        "learning_rate": 0.02,
        "covisitation_weight": 0.0,
    }
    hit_rates = {}
    for contexts in ([], ["device"]):
        fitted = fit_model.fit_model(name, split, {**quick, "contexts": contexts})
        test_log = device_log(1)
        best = fitted.scorer.scores(test_log.prefixes(np.full(len(test_log), -1)))[:, 1:].argmax(axis=1) + 1
        hit_rates[len(contexts)] = float((best == test_log.items[test_log.stops - 1]).mean())
        model = TrainedModel(fitted.scorer, catalog)
    assert hit_rates[1] > 0.8 and hit_rates[0] < 0.65
    best_items = [
        model.recommend([["i04"]], k=1, contexts=[[{"device": device}]])[0][0][0] for device in ("phone", "desk")
    ]
    assert best_items == ["i05", "i11"]
    both = {item for item, _ in model.recommend([["i04"]], k=2)[0]}  # without a context, both items are likely
    assert both == {"i05", "i11"}
    with pytest.raises(
        ValueError,
        match=r"^Each history needs a context for each of its events, but the histories have \[1\] events and there "
        r"are \[0\] contexts\.$",
    ):
        model.recommend([["i04"]], contexts=[[]])
    log_without_contexts = Split(
        "none", catalog, Sequences.from_lists([[1, 2]]), no_cases, device_log(0), no_cases, False, "", ""
    )
    with pytest.raises(ValueError, match=r"^The context device needs a log with these columns: call with_context\.$"):
        fit_model.fit_model(name, log_without_contexts, {"contexts": ["device"]})


def test_a_generated_list_keeps_the_contexts_of_the_history() -> None:
    served = exported("gru4rec")
    assert isinstance(served, NeuralScorer) and isinstance(served.encoder, NumpyGRU)
    histories = log().take(slice(0, 6)).tail(7)
    parents, items = np.array([0, 2, 5]), np.array([4, 9, 11])
    stepped = initial_state(served, histories).extend(parents, items)
    rescored = FullRescore(served, histories).extend(parents, items)
    np.testing.assert_allclose(stepped.scores()[:, 1:], rescored.scores()[:, 1:], rtol=1e-4, atol=1e-4)
