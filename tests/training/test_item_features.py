"""Side features in training: sums by hand, rows at hand = whole table, the served twin, resuming, seeds, cold items."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.data.training_data import SideData
from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.models.neural.configs.caser import CaserConfig
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.neural.configs.lrurec import LRURecConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.zoo import ZOO, NeuralEntry
from segue.training.build_net import build_net
from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.config import TrainingConfig
from segue.training.export import export_scorer
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet, TorchScorer
from segue.training.progress import Progress
from segue.training.trainer import Trainer

V = 31
COLD = (29, 30)
"""Items of the catalog that never occur."""
ROWS: list[dict[str, Any]] = [{}, *({"kind": f"k{i % 6}", "title": f"茶{i % 4} tea w{i % 9}"} for i in range(1, V))]
FACTS = ItemFeatures(ROWS, {"kind": "category", "title": "text"})
CONFIGS = [
    SASRecConfig(embedding_dim=8, max_length=10),
    GRU4RecConfig(embedding_dim=8, max_length=10, temperature=None),
    GRU4RecConfig(embedding_dim=8, max_length=10, spectral_init=False),
    HSTUConfig(embedding_dim=8, max_length=10),
    BERT4RecConfig(embedding_dim=8, max_length=10),
    CaserConfig(embedding_dim=8, max_length=4),
    NextItNetConfig(embedding_dim=8, max_length=10),
    LRURecConfig(embedding_dim=8, max_length=10),
    Seq2SeqConfig(embedding_dim=8, max_length=10, horizon=3),
]


def log() -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences.from_lists([rng.integers(1, V - 2, rng.integers(2, 14)).tolist() for _ in range(120)])


def build(config: object = CONFIGS[0], seed: int = 1, **values: Any) -> TiedEmbeddingNet:
    side_data = SideData(FeatureConfig(features=("kind", "title"), **values), FACTS)
    return build_net(config, log(), V, seed, side_data)


def trainer(net: TiedEmbeddingNet, **values: Any) -> Trainer:
    return Trainer(net, log(), TrainingConfig(**{"epochs": 3, "batch_tokens": 64, **values}), seed=1)


def shaken(config: object) -> TiedEmbeddingNet:
    """A net whose features' vectors and own rows are all arbitrary."""
    net = build(config)
    assert net.features is not None
    with torch.no_grad():
        for tensor in (net.table_VD, net.features.embeddings_FD, *net.encoder.parameters()):
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2)) * 0.1)
    net.table_VD[0] = 0.0
    return net


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_an_item_is_its_own_vector_plus_its_features(config: object) -> None:
    net = shaken(config)
    assert net.features is not None
    whole, vectors = net.item_embeddings().numpy(), net.features.embeddings_FD.numpy()
    features = net.features.encoding.encode([ROWS[7]])
    wanted = net.table_VD[7].numpy().copy()
    for code, weight in zip(features.codes, features.weights, strict=True):
        wanted += weight * vectors[code]
    np.testing.assert_allclose(whole[7], wanted, rtol=1e-5, atol=1e-6)
    assert not whole[0].any()  # PAD is nothing


def test_rows_at_hand_equal_the_whole_table() -> None:
    net = shaken(CONFIGS[0]).eval()
    assert net.features is not None
    rows = torch.tensor([0, 2, 5, 17, 30])
    touched = net.features.select_rows(rows)
    some = net.add_features(net.table_VD[rows], touched)
    torch.testing.assert_close(some, net.item_embeddings()[rows])
    every = net.features.select_rows(None)
    pull = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    (some * pull).sum().backward()
    (net.add_features(net.table_VD, every)[rows] * pull).sum().backward()
    assert touched.rows_F is not None and len(touched.rows_F) < len(every.embeddings_FD)
    assert touched.embeddings_FD.grad is not None and every.embeddings_FD.grad is not None
    torch.testing.assert_close(touched.embeddings_FD.grad, every.embeddings_FD.grad[touched.rows_F])
    rest = torch.ones(len(every.embeddings_FD), dtype=torch.bool)
    rest[touched.rows_F] = False
    assert not every.embeddings_FD.grad[rest].any()


def test_the_start_is_the_spectral_table_parted() -> None:
    plain = build_net(CONFIGS[0], log(), V, 1)
    net = build()
    seen = np.isin(np.arange(V), log().items)
    torch.testing.assert_close(net.item_embeddings()[seen], plain.table_VD[seen], rtol=1e-4, atol=1e-5)
    assert not net.table_VD[list(COLD)].any() and net.item_embeddings()[list(COLD)].any(dim=1).all()


def test_dropping_ids_drops_whole_rows_and_repeats_by_seed() -> None:
    net = build(id_dropout=0.5).train()
    assert net.features is not None
    touched = net.features.select_rows(None)
    found = []
    for seed in (3, 3, 4):
        net.noise.seed(seed)
        found.append(net.add_features(net.table_VD, touched).detach())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    kept = torch.isclose(found[0], net.item_embeddings(), atol=1e-6).all(dim=1)
    bare = torch.isclose(found[0], touched.sums().detach(), atol=1e-6).all(dim=1)
    assert (kept | bare).all() and 0 < int((kept & ~bare).sum()) < V - 3
    assert torch.equal(net.eval().add_features(net.table_VD, touched).detach(), net.item_embeddings())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_served_twin_equals_net_and_scores_alike_one_by_one(config: object) -> None:
    net = shaken(config)
    served = export_scorer("x", net, np.zeros(V))
    scores = served.scores(log())
    torch.testing.assert_close(scores[:, 1:], TorchScorer(net).scores(log())[:, 1:], rtol=1e-4, atol=2e-4)
    single = np.concatenate([served.scores(log().take(slice(i, i + 1))) for i in range(5)])
    np.testing.assert_allclose(scores[:5], single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[-1]], ids=str)
@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_an_item_without_events_keeps_nothing_of_its_own(loss: str, config: object) -> None:
    """Seq2Seq wrote such items in scheduled sampling, and learned vectors of their own for them."""
    net = build(config)
    before = net.weights()["feature embeddings"]
    trainer(net, loss=loss, num_negatives=8).run()
    assert not net.table_VD[list(COLD)].any()
    assert not torch.equal(net.weights()["feature embeddings"], before)


def test_every_network_of_the_zoo_is_tried_here() -> None:
    assert {type(config) for config in CONFIGS} == {e.config for e in ZOO.values() if isinstance(e, NeuralEntry)}


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_network_learns_features_vectors_and_own_ones(config: object) -> None:
    net = build(config)
    before = net.weights()
    trainer(net, loss="sampled", num_negatives=8, epochs=1).run()
    after = net.weights()
    for name in ("table", "feature embeddings"):
        assert not torch.equal(after[name], before[name]) and after[name].isfinite().all(), name


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_stopped_and_gone_on_equals_never_stopped(loss: str, tmp_path: Path) -> None:
    whole = build(id_dropout=0.3)
    outcome = trainer(whole, loss=loss, num_negatives=8).run()
    stops = 0
    while True:
        part = build(id_dropout=0.3)
        run = trainer(part, loss=loss, num_negatives=8)
        checkpoint = Checkpoint(tmp_path / "run.checkpoint", every_s=1e9)

        def after_five(progress: Progress, own: Checkpoint = checkpoint, run: Trainer = run) -> None:
            own.stop = run.step % 5 == 4

        try:
            resumed = run.run(None, after_five, checkpoint=checkpoint)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 3 and resumed.losses == outcome.losses
    for name, value in whole.weights().items():
        assert torch.equal(value, part.weights()[name]), name


def test_a_state_with_other_features_is_refused(tmp_path: Path) -> None:
    trainer(build()).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    with pytest.raises(ValueError, match=r"belongs to another training: its data, settings or seed differ\.$"):
        trainer(build(id_dropout=0.4)).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))


def test_equal_seeds_give_equal_weights() -> None:
    found = []
    for seed in (1, 1, 2):
        net = build(seed=seed)
        Trainer(net, log(), TrainingConfig(epochs=1, batch_tokens=64), seed=seed).run()
        found.append(net.item_embeddings())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
