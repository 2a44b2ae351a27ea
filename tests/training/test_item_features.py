"""Item features in training: sums by hand, selected rows = whole table, exported models, resuming, cold items."""

from functools import cache
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
FEATURES = ItemFeatures(ROWS, {"kind": "category", "title": "text"})
SMALL: dict[str, Any] = {"embedding_dim": 8, "max_length": 10}
CONFIGS = [
    SASRecConfig(**SMALL, num_layers=1),
    GRU4RecConfig(**SMALL, temperature=None),
    GRU4RecConfig(**SMALL, spectral_init=False),
    HSTUConfig(**SMALL, num_layers=1),
    BERT4RecConfig(**SMALL, num_layers=1),
    CaserConfig(embedding_dim=8, max_length=4, window=3),
    NextItNetConfig(**SMALL, dilations=(2,)),
    LRURecConfig(**SMALL, num_layers=1),
    Seq2SeqConfig(**SMALL, horizon=3),
]


def config_name(config: object) -> str:
    return type(config).__name__


@cache
def log() -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences.from_lists([rng.integers(1, V - 2, rng.integers(2, 14)).tolist() for _ in range(120)])


def build(config: object = CONFIGS[0], seed: int = 1, **values: Any) -> TiedEmbeddingNet:
    side_data = SideData(FeatureConfig(features=("kind", "title"), **values), FEATURES)
    return build_net(config, log(), V, seed, side_data)


def trainer(net: TiedEmbeddingNet, **values: Any) -> Trainer:
    return Trainer(net, log(), TrainingConfig(**{"epochs": 3, "batch_tokens": 64, **values}), seed=1)


@cache
def shared_net(config: object) -> TiedEmbeddingNet:
    """A net with noise in every weight, for tests that leave it as it is."""
    net = build(config)
    assert net.features is not None
    with torch.no_grad():
        for tensor in (net.table_VD, net.features.embeddings_FD, *net.encoder.parameters()):
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2)) * 0.1)
    net.table_VD[0] = 0.0
    return net


@pytest.mark.parametrize("config", CONFIGS, ids=config_name)
def test_an_item_is_its_own_embedding_plus_its_features(config: object) -> None:
    net = shared_net(config)
    assert net.features is not None
    whole, embeddings = net.item_embeddings().numpy(), net.features.embeddings_FD.numpy()
    features = net.features.encoding.encode([ROWS[7]])
    wanted = net.table_VD[7].numpy().copy()
    for code, weight in zip(features.codes, features.weights, strict=True):
        wanted += weight * embeddings[code]
    np.testing.assert_allclose(whole[7], wanted, rtol=1e-5, atol=1e-6)
    assert not whole[0].any()  # PAD is zero


def test_selected_rows_equal_the_whole_table() -> None:
    net = shared_net(CONFIGS[0]).eval()
    assert net.features is not None
    rows = torch.tensor([0, 2, 5, 17, 30])
    used = net.features.select_rows(rows)
    some = net.add_features(net.table_VD[rows], used)
    torch.testing.assert_close(some, net.item_embeddings()[rows])
    every = net.features.select_rows(None)
    grad_out = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    (some * grad_out).sum().backward()
    (net.add_features(net.table_VD, every)[rows] * grad_out).sum().backward()
    assert used.rows_F is not None and len(used.rows_F) < len(every.embeddings_FD)
    assert used.embeddings_FD.grad is not None and every.embeddings_FD.grad is not None
    torch.testing.assert_close(used.embeddings_FD.grad, every.embeddings_FD.grad[used.rows_F])
    rest = torch.ones(len(every.embeddings_FD), dtype=torch.bool)
    rest[used.rows_F] = False
    assert not every.embeddings_FD.grad[rest].any()


def test_initial_embeddings_sum_to_the_spectral_table() -> None:
    plain = build_net(CONFIGS[0], log(), V, 1)
    net = build()
    has_events = np.isin(np.arange(V), log().items)
    torch.testing.assert_close(net.item_embeddings()[has_events], plain.table_VD[has_events], rtol=1e-4, atol=1e-5)
    assert not net.table_VD[list(COLD)].any() and net.item_embeddings()[list(COLD)].any(dim=1).all()


def test_id_dropout_drops_whole_rows_and_repeats_by_seed() -> None:
    net = build(id_dropout=0.5).train()
    assert net.features is not None
    used = net.features.select_rows(None)
    drawn = []
    for seed in (3, 3, 4):
        net.noise.seed(seed)
        drawn.append(net.add_features(net.table_VD, used).detach())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    kept = torch.isclose(drawn[0], net.item_embeddings(), atol=1e-6).all(dim=1)
    bare = torch.isclose(drawn[0], used.sums().detach(), atol=1e-6).all(dim=1)
    assert (kept | bare).all() and 0 < int((kept & ~bare).sum()) < V - 3
    assert torch.equal(net.eval().add_features(net.table_VD, used).detach(), net.item_embeddings())


@pytest.mark.parametrize("config", CONFIGS, ids=config_name)
def test_exported_model_equals_net_for_batches_and_single_rows(config: object) -> None:
    net = shared_net(config)
    served = export_scorer("x", net, np.zeros(V))
    scores = served.scores(log())
    torch.testing.assert_close(scores[:, 1:], TorchScorer(net).scores(log())[:, 1:], rtol=1e-4, atol=2e-4)
    single = np.concatenate([served.scores(log().take(slice(i, i + 1))) for i in range(5)])
    np.testing.assert_allclose(scores[:5], single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[-1]], ids=config_name)
@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_an_item_without_events_has_no_own_embedding(loss: str, config: object) -> None:
    """Scheduled sampling of Seq2Seq must not draw such items: they would get an embedding of their own."""
    net = build(config)
    before = net.weights()["feature embeddings"]
    trainer(net, loss=loss, num_negatives=8).run()
    assert not net.table_VD[list(COLD)].any()
    assert not torch.equal(net.weights()["feature embeddings"], before)


def test_every_neural_model_is_covered() -> None:
    assert {type(config) for config in CONFIGS} == {e.config for e in ZOO.values() if isinstance(e, NeuralEntry)}


@pytest.mark.parametrize("config", CONFIGS, ids=config_name)
def test_every_net_trains_feature_and_own_embeddings(config: object) -> None:
    net = build(config)
    before = net.weights()
    trainer(net, loss="sampled", num_negatives=8, epochs=1).run()
    after = net.weights()
    for name in ("table", "feature embeddings"):
        assert not torch.equal(after[name], before[name]) and after[name].isfinite().all(), name


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_resumed_training_equals_an_uninterrupted_one(loss: str, tmp_path: Path) -> None:
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


def test_a_checkpoint_with_other_features_is_refused(tmp_path: Path) -> None:
    trainer(build()).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    with pytest.raises(ValueError, match=r"belongs to another training: its data, settings or seed differ\.$"):
        trainer(build(id_dropout=0.4)).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))


def test_equal_seeds_give_equal_weights() -> None:
    drawn = []
    for seed in (1, 1, 2):
        net = build(seed=seed)
        Trainer(net, log(), TrainingConfig(epochs=1, batch_tokens=64), seed=seed).run()
        drawn.append(net.item_embeddings())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
