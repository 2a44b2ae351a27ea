"""The loop: learns a known rule, stops, keeps the best, refuses nonsense, repeats itself."""

import numpy as np
import pytest
import torch

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.scorer import Scorer
from segue.models.top_k import top_k
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.nets.encoders.tied_embedding import TorchScorer
from segue.training.progress import Progress
from segue.training.trainer import Trainer

V = 21


def ring(people: int = 80) -> Sequences:
    """After i comes i + 1, and after 20 comes 1."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 20, people)
    return Sequences.from_lists([[(int(s) + t) % 20 + 1 for t in range(int(rng.integers(3, 12)))] for s in starts])


@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize(
    "config", [GRU4RecConfig(embedding_dim=16), SASRecConfig(embedding_dim=16, max_length=12, dropout=0.1)]
)
def test_learns_the_rule(config: object, loss: str) -> None:
    net = build_net(config, ring(), V, seed=0)
    training = TrainingConfig(epochs=25, batch_tokens=128, learning_rate=0.01, loss=loss, num_negatives=12)  # type: ignore[arg-type]
    outcome = Trainer(net, ring(), training, seed=0).run()
    assert outcome.epochs == 25 and outcome.losses[-1] < outcome.losses[0] / 2
    best, _ = top_k(TorchScorer(net).scores(Sequences.from_lists([[1, 2, 3], [18, 19, 20]])), 1)
    assert best.tolist() == [[4], [1]]


def test_equal_seeds_give_equal_weights() -> None:
    tables = []
    for seed in (0, 0, 1):
        net = build_net(SASRecConfig(embedding_dim=8, max_length=8), ring(), V, seed=seed)
        Trainer(net, ring(), TrainingConfig(epochs=2, batch_tokens=64), seed=seed).run()
        tables.append(net.table_VD.clone())
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_keeps_the_best_and_stops_behind_it() -> None:
    net = build_net(GRU4RecConfig(embedding_dim=8), ring(), V, seed=0)
    quality = iter([0.1, 0.5, 0.3, 0.2, 0.9])
    seen: list[np.ndarray] = []

    def validate(scorer: Scorer) -> float:
        seen.append(scorer.scores(Sequences.from_lists([[1, 2]])))
        return next(quality)

    outcome = Trainer(net, ring(), TrainingConfig(epochs=5, patience=2, batch_tokens=64), seed=0).run(validate)
    assert (outcome.epochs, outcome.best_epoch) == (4, 2)
    np.testing.assert_allclose(TorchScorer(net).scores(Sequences.from_lists([[1, 2]])), seen[1], rtol=1e-6)


def test_stop_after_runs_on_the_whole_runs_curve() -> None:
    tables = []
    for stop in (2, None):
        net = build_net(GRU4RecConfig(embedding_dim=8), ring(), V, seed=0)
        trainer = Trainer(net, ring(), TrainingConfig(epochs=3, batch_tokens=64), seed=0)
        at_two: list[torch.Tensor] = []

        def look(scorer: Scorer, kept: list[torch.Tensor] = at_two, table: torch.Tensor = net.table_VD) -> float:
            kept.append(table.clone())
            return float(len(kept))

        trainer.run(look, stop_after=stop)
        tables.append(at_two[1])
    assert torch.equal(tables[0], tables[1])


def test_progress_counts_to_the_end() -> None:
    told: list[Progress] = []
    net = build_net(GRU4RecConfig(embedding_dim=8), ring(), V, seed=0)
    Trainer(net, ring(), TrainingConfig(epochs=2, batch_tokens=64), seed=0).run(None, told.append)
    assert [p.step for p in told] == list(range(1, told[-1].steps + 1))
    assert told[-1].left_s == pytest.approx(0.0)


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    net = build_net(GRU4RecConfig(embedding_dim=8), ring(), V, seed=0)
    net.table_VD[3] = float("nan")
    with pytest.raises(ValueError, match=r"^The loss is nan at step 0: lower learning_rate and train again\.$"):
        Trainer(net, ring(), TrainingConfig(), seed=0).run()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0."),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0."),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, or none, got 0.0."),
    ],
)
def test_impossible_settings(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        TrainingConfig(**values)  # type: ignore[arg-type]


def test_long_gradients_are_shortened_unless_asked_otherwise() -> None:
    """Plain Adagrad's sum of squares tells how long the gradient was that it saw."""
    lengths = []
    for clip in (1e-3, None):
        config = TrainingConfig(optimizer="adagrad", max_grad_norm=clip, learning_rate=1e-9, precision="float32")
        trainer = Trainer(build_net(GRU4RecConfig(embedding_dim=8), ring(), V, seed=0), ring(), config, seed=0)
        trainer.train_step(next(iter(trainer.batches.epoch(0))), 0.5)
        squares = [slot["square"].sum() for slot in trainer.encoder_optimizer.state.values()]
        lengths.append(float(torch.stack(squares).sum().sqrt()))
    assert lengths[0] == pytest.approx(1e-3, rel=1e-3)
    assert lengths[1] > 0.01


def test_unknown_items_are_never_learned_from() -> None:
    log = ring()
    holes = Sequences(np.where(log.items % 7 == 0, 0, log.items).astype(np.int32), None, log.starts, log.stops)
    trainer = Trainer(build_net(GRU4RecConfig(embedding_dim=8), holes, V, seed=0), holes, TrainingConfig(), seed=0)
    assert all((batch.inputs_BT[batch.targets_BT != 0] != 0).all() for batch in trainer.batches.epoch(0))


def test_a_learning_rate_far_too_large_is_named_although_every_loss_was_finite() -> None:
    net = build_net(GRU4RecConfig(embedding_dim=8), ring(), V, seed=0)
    training = TrainingConfig(epochs=2, learning_rate=1e30, max_grad_norm=None, precision="float32", batch_tokens=10**6)
    with pytest.raises(ValueError, match=r"lower learning_rate and train again\.$"):
        Trainer(net, ring(), training, seed=0).run()
