"""Contexts of events in training: batches, the served twin, what nothing adds, resuming, and a rule only they tell."""

from dataclasses import replace
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
CONFIGS: dict[str, Any] = {
    "sasrec": SASRecConfig(embedding_dim=8, max_length=10),
    "gru4rec": GRU4RecConfig(embedding_dim=8, max_length=10, temperature=None),
    "hstu": HSTUConfig(embedding_dim=8, max_length=10),
    "bert4rec": BERT4RecConfig(embedding_dim=8, max_length=10),
    "caser": CaserConfig(embedding_dim=8, max_length=4),
    "nextitnet": NextItNetConfig(embedding_dim=8, max_length=10),
    "lrurec": LRURecConfig(embedding_dim=8, max_length=10),
    "seq2seq": Seq2SeqConfig(embedding_dim=8, max_length=10, horizon=3),
}
ROWS: list[dict[str, Any]] = [{}, {"device": "tv", "age": 3.0}, {"device": "phone"}, {"age": 40.0}]
FACTS = ItemFeatures(ROWS, {"device": "category", "age": "number"})


def log() -> Sequences:
    rng = np.random.default_rng(0)
    rows = Sequences.from_lists([rng.integers(1, V, rng.integers(2, 14)).tolist() for _ in range(90)])
    return replace(rows, contexts=EventContexts(rng.integers(0, 4, len(rows.items)).astype(np.int32), FACTS))


def build(config: object, **values: Any) -> TiedEmbeddingNet:
    return build_net(config, log(), V, 1, SideData(FeatureConfig(contexts=("device", "age"), **values), None))


def shaken(config: object) -> TiedEmbeddingNet:
    net = build(config)
    assert net.contexts is not None
    with torch.no_grad():
        for tensor in (net.table_VD, net.contexts.embeddings_FD, *net.encoder.parameters()):
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2)) * 0.3)
    net.table_VD[PAD] = 0.0
    return net


def test_every_network_of_the_zoo_is_tried_here() -> None:
    assert set(CONFIGS) == {name for name, entry in ZOO.items() if isinstance(entry, NeuralEntry)}


@pytest.mark.parametrize("task", [NextItemTask(5), MaskedItemTask(5, 0.3, 0.2), NextItemsTask(5, 3)], ids=str)
def test_batches_have_each_input_s_own_context(task: Task) -> None:
    """With the item as its own context."""
    rows = log()
    echo = replace(rows, contexts=EventContexts(rows.items, ItemFeatures([{}] * V, {})))
    batch = task.batch(task.windows(echo).take(slice(0, 20)), np.random.default_rng(1))
    assert batch.contexts_BT is not None
    given = batch.inputs_BT != PAD
    np.testing.assert_array_equal(batch.contexts_BT[given], batch.inputs_BT[given])
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
def test_served_twin_equals_net_and_survives_the_disk(name: str) -> None:
    net = shaken(CONFIGS[name])
    served = export_scorer(name, net, np.zeros(V))
    scores = served.scores(log())
    torch.testing.assert_close(scores[:, 1:], TorchScorer(net).scores(log())[:, 1:], rtol=1e-3, atol=1e-3)
    again = restore_neural(name, served.arrays(), CONFIGS[name])
    np.testing.assert_array_equal(again.scores(log()), scores)
    bare = served.scores(replace(log(), contexts=None))
    assert np.abs(bare - scores).max() > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_no_context_and_an_empty_one_add_nothing(name: str) -> None:
    served = export_scorer(name, shaken(CONFIGS[name]), np.zeros(V))
    rows = log()
    empty = replace(rows, contexts=EventContexts(np.zeros(len(rows.items), dtype=np.int32), FACTS))
    np.testing.assert_array_equal(served.scores(empty), served.scores(replace(rows, contexts=None)))


def test_an_event_s_vector_is_its_item_s_plus_its_context_s() -> None:
    served = export_scorer("gru4rec", shaken(CONFIGS["gru4rec"]), np.zeros(V))
    assert served.side_information.contexts is not None
    one = replace(Sequences.from_lists([[3, 4]]), contexts=EventContexts(np.array([2, 0], dtype=np.int32), FACTS))
    _, vectors = served.encode(one)
    np.testing.assert_allclose(
        vectors[0],
        served.input_embeddings_VD[3] + served.side_information.contexts.embed_rows([{"device": "phone"}])[0],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(vectors[1], served.input_embeddings_VD[4])
    missing = served.side_information.contexts.embed_rows(
        [{"device": "phone"}, {"device": "phone", "age": None}, {"device": "new", "age": 1.0}]
    )
    np.testing.assert_array_equal(missing[0], missing[1])
    weights, age = (
        served.side_information.contexts.weights_FD,
        served.side_information.contexts.encoding.columns[0].size,
    )
    known = served.side_information.contexts.encoding.encode([{"device": "phone"}]).codes.tolist()
    np.testing.assert_allclose(missing[0], weights[known].sum(axis=0), rtol=1e-5, atol=1e-6)
    assert known[1] == age  # a missing cell has a vector of its own in its column
    np.testing.assert_allclose(
        missing[2] - served.side_information.contexts.embed_rows([{"age": 1.0}])[0], 0.0, atol=1e-6
    )  # unknown = missing


@pytest.mark.parametrize("name", ["gru4rec", "seq2seq"])
@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_stopped_and_gone_on_equals_never_stopped(name: str, loss: str, tmp_path: Path) -> None:
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


def test_a_state_with_other_contexts_is_refused(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=1, batch_tokens=64)
    Trainer(build(CONFIGS["gru4rec"]), log(), config, 1).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    rows = log()
    assert rows.contexts is not None
    other = replace(rows, contexts=EventContexts(rows.contexts.codes[::-1].copy(), FACTS))
    with pytest.raises(ValueError, match=r"belongs to another training: its data, settings or seed differ\.$"):
        Trainer(build(CONFIGS["gru4rec"]), other, config, 1).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))


def test_dropping_contexts_drops_whole_ones_and_repeats_by_seed() -> None:
    net = build(CONFIGS["sasrec"], context_dropout=0.5).train()
    assert net.contexts is not None
    net.contexts.embeddings_FD.fill_(1.0)
    touched, rows = net.encode_contexts(np.full((4, 60), 2, dtype=np.int32))
    found = []
    for seed in (3, 3, 4):
        net.noise.seed(seed)
        added = net.context_embeddings(touched, rows)
        assert added is not None
        found.append(added.detach())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    kept = found[0].any(dim=2)
    assert 60 < int(kept.sum()) < 180 and (found[0][kept] == found[0].max()).all()
    whole = net.eval().context_embeddings(touched, rows)
    assert whole is not None and whole.any(dim=2).all()


def ways(seed: int, people: int = 200) -> Sequences:
    """On a phone the next item is one on, at a desk seven; the device changes from event to event."""
    rng = np.random.default_rng(seed)
    rows, codes = [], []
    for _ in range(people):
        row, used = [int(rng.integers(24))], rng.integers(1, 3, 9).tolist()
        for device in used[:-1]:
            row.append((row[-1] + (1 if device == 1 else 7)) % 24)
        rows.append([item + 1 for item in row])
        codes += used
    facts = ItemFeatures([{}, {"device": "phone"}, {"device": "desk"}], {"device": "category"})
    return replace(Sequences.from_lists(rows), contexts=EventContexts(np.array(codes, dtype=np.int32), facts))


@pytest.mark.parametrize("name", ["gru4rec", "sasrec"])
def test_what_only_contexts_tell_is_learned(name: str) -> None:
    nothing = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    catalog = Catalog(f"i{i:02d}" for i in range(24))
    split = Split("none", catalog, ways(0), nothing, ways(0), nothing, False, "", "")
    quick = {"embedding_dim": 16, "epochs": 30, "batch_tokens": 256, "learning_rate": 0.02, "covisitation_weight": 0.0}
    right = {}
    for contexts in ([], ["device"]):
        fitted = fit_model.fit_model(name, split, {**quick, "contexts": contexts})
        asked = ways(1)
        best = fitted.scorer.scores(asked.prefixes(np.full(len(asked), -1)))[:, 1:].argmax(axis=1) + 1
        right[len(contexts)] = float((best == asked.items[asked.stops - 1]).mean())
        answers = TrainedModel(fitted.scorer, catalog)
    assert right[1] > 0.8 and right[0] < 0.65
    found = [answers.recommend([["i04"]], k=1, contexts=[[{"device": way}]])[0][0][0] for way in ("phone", "desk")]
    assert found == ["i05", "i11"]
    both = {item for item, _ in answers.recommend([["i04"]], k=2)[0]}  # without one, both ways are open
    assert both == {"i05", "i11"}
    with pytest.raises(
        ValueError,
        match=r"^Each history needs a context for each of its events, but the histories have \[1\] events and there "
        r"are \[0\] contexts\.$",
    ):
        answers.recommend([["i04"]], contexts=[[]])
    bare = Split("none", catalog, Sequences.from_lists([[1, 2]]), nothing, ways(0), nothing, False, "", "")
    with pytest.raises(
        ValueError, match=r"^Learning from the context device needs a log that carries it: with_context\.$"
    ):
        fit_model.fit_model(name, bare, {"contexts": ["device"]})


def test_a_list_that_is_continued_remembers_the_contexts_behind_it() -> None:
    served = export_scorer("gru4rec", shaken(CONFIGS["gru4rec"]), np.zeros(V))
    assert isinstance(served, NeuralScorer) and isinstance(served.encoder, NumpyGRU)
    histories = log().take(slice(0, 6)).tail(7)
    parents, items = np.array([0, 2, 5]), np.array([4, 9, 11])
    stepped = initial_state(served, histories).extend(parents, items)
    again = FullRescore(served, histories).extend(parents, items)
    np.testing.assert_allclose(stepped.scores()[:, 1:], again.scores()[:, 1:], rtol=1e-4, atol=1e-4)
