"""The eight things that reimplementations of GRU4Rec are known to get wrong; each test pins that ours is right.

The list: Hidasi & Czapp (2023), "The effect of third party implementations on reproducibility". In its order here: the
hidden state is not reset, or reset when another session ends; the softmax is taken twice; BPR-max is wrong or not
regularised; dropout is ignored or inverted; inputs and outputs do not share one table; negatives come from the batch
alone; log-q is not corrected; all items are scored and sampled from afterwards.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.export import export_scorer
from segue.training.losses import bpr_max, softmax_loss
from segue.training.negative_sampling import all_items
from segue.training.nets.layers.basic import Dropout
from segue.training.objective import Objective
from segue.training.tasks import Batch
from segue.training.trainer import Trainer

ONE = torch.ones(1, 2)
RING = Sequences.from_lists([[(s + t) % 39 + 1 for t in range(6)] for s in range(39)])


@pytest.mark.parametrize("bptt", [1, 3])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_state_is_reset_when_its_own_session_ends_and_never_when_another_ends(cell: Any, bptt: int) -> None:
    """What each target is predicted by in lanes is what the beginning of its own session, read alone, says."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(10)[:n] + 10 * k + 1 for k, n in enumerate(rng.integers(2, 9, 20))]
    log = Sequences.from_lists(rows)
    config = GRU4RecConfig(embedding_dim=8, num_layers=2, cell=cell, dropout_hidden=0.0)
    training = TrainingConfig(parallel_sessions=4, bptt_steps=bptt, learning_rate=1e-12, precision="float32")
    trainer = Trainer(build_net(config, log, 201, 0), log, training, 0)
    said: list[torch.Tensor] = []
    plain_loss = trainer.objective.loss

    def listen(query_ND: torch.Tensor, *rest: Any) -> torch.Tensor:
        said.append(query_ND.detach())
        return plain_loss(query_ND, *rest)

    trainer.objective.loss = listen  # type: ignore[method-assign]
    others_end = 0
    beginning = {int(row[t]): row[: t + 1].tolist() for row in rows for t in range(len(row))}
    for batch in trainer.batches.epoch(0):
        assert batch.carry is not None
        trainer.train_step(batch, 0.0)
        others_end += bool((batch.carry.to_B >= 0).any() and (batch.carry.to_B < 0).any())
        newest = batch.inputs_BT[batch.targets_BT != 0].tolist()
        wanted = trainer.net.queries(Sequences.from_lists([beginning[item] for item in newest]))
        np.testing.assert_allclose(said[-1], wanted, rtol=1e-4, atol=1e-5)
    assert others_end > 3


def test_softmax_is_taken_once() -> None:
    """Twice would leave a floor: probabilities as scores never give a target more than e / (e + V - 2)."""
    items = torch.from_numpy(all_items(12).items)
    key, query = torch.eye(12), 30.0 * torch.eye(12)[[3, 7]]
    ours = softmax_loss(query, key, torch.tensor([3, 7]), items, torch.zeros(11))
    assert float(ours) < 1e-6
    twice = F.cross_entropy((query @ key.T)[:, 1:].softmax(1), torch.tensor([2, 6]))
    assert float(twice) > 1.5


def test_bpr_max_worked_by_hand() -> None:
    """Target 1, negatives 0 and log 3, so that their softmax is 1/4 and 3/4."""
    sigma = [1 / (1 + np.exp(-1.0)), 1 / (1 + 3 * np.exp(-1.0))]
    wanted = -np.log(sigma[0] / 4 + 3 * sigma[1] / 4) + 0.5 * 0.75 * np.log(3) ** 2
    loss = bpr_max(0.5)(torch.tensor([1.0]), torch.tensor([[0.0, np.log(3.0)]]), ONE)[0]
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    wrong = [
        -(np.log(sigma[0]) / 4 + 3 * np.log(sigma[1]) / 4) + 0.5 * 0.75 * np.log(3) ** 2,  # the logarithm inside
        -np.log(sigma[0] / 2 + sigma[1] / 2) + 0.5 * 0.75 * np.log(3) ** 2,  # no softmax weights
        -np.log(sigma[0] / 4 + 3 * sigma[1] / 4),  # no regularisation
    ]
    assert all(abs(loss.item() - value) > 0.01 for value in wrong)


def test_bpr_max_holds_the_negatives_scores_down_and_leaves_the_targets_alone() -> None:
    target, others = torch.tensor([4.0]), torch.tensor([[2.0, -3.0]])
    _, pull, push = bpr_max(1.0)(target, others, ONE)
    _, pull_without, push_without = bpr_max(0.0)(target, others, ONE)
    assert pull.item() == pull_without.item()
    assert (push - push_without)[0, 0] > 0.5


def test_the_targets_are_not_among_their_own_negatives() -> None:
    """With its own score among the negatives, even a perfect target would stay at sigma(0) = 1/2."""
    targets = torch.tensor([1, 2])
    own = Objective(TrainingConfig(loss="bpr-max", negative_source="in-batch", score_penalty=0.0), np.ones(4), 0, 4)
    key, query = torch.eye(4), 25.0 * torch.eye(4)[targets]
    loss = own.loss(query, key, targets, targets, torch.zeros(2), torch.float32)
    assert float(loss) < 1e-6


@pytest.mark.parametrize("name", ["dropout_input", "dropout_hidden"])
def test_dropout_drops_the_share_that_is_asked_and_nothing_when_served(name: str) -> None:
    """A fifth, not four fifths; what stays is scaled so that the mean is kept; each in its own place."""
    values: dict[str, Any] = {"dropout_hidden": 0.0, name: 0.2}
    net = build_net(GRU4RecConfig(embedding_dim=16, **values), RING, 40, 0)
    seen: dict[str, list[float]] = {"dropout_input": [], "dropout_hidden": []}

    def listen(place: str, given: torch.Tensor, out: torch.Tensor) -> None:
        share = float((out == 0).float().mean())
        torch.testing.assert_close(out[out != 0], given[out != 0] / (1 - share), rtol=0.02, atol=1e-6)
        seen[place].append(share)

    for place in seen:
        part = getattr(net.encoder, place)
        assert isinstance(part, Dropout)
        part.register_forward_hook(lambda _, given, out, place=place: listen(place, given[0], out))
    vectors = torch.randn(60, 20, 16, generator=torch.Generator().manual_seed(0))
    net.noise.seed(0)
    for training in (True, False):
        net.train(training)
        net.encoder(vectors)
    other = {"dropout_input": "dropout_hidden", "dropout_hidden": "dropout_input"}[name]
    assert seen[name] == [pytest.approx(0.2, abs=0.01), 0.0]
    assert seen[other] == [0.0, 0.0]


def test_dropout_is_not_carried_on_in_a_lane() -> None:
    """What the next event starts from is the whole state, as in a session that is read in one go."""
    config = GRU4RecConfig(embedding_dim=16, dropout_hidden=0.9)
    log = Sequences.from_lists([[1, 2, 3, 4]])
    training = TrainingConfig(parallel_sessions=1, learning_rate=1e-12, precision="float32")
    trainer = Trainer(build_net(config, log, 6, 0), log, training, 0)
    first, *_ = trainer.batches.epoch(0)
    trainer.train_step(first, 0.0)
    assert trainer.session_states is not None
    wanted = trainer.net.eval().encoder(trainer.net.embed(trainer.net.table_VD, torch.tensor([[1]])))
    torch.testing.assert_close(trainer.session_states.states_NLS[0], wanted[:, 0].detach())


def test_items_enter_by_the_vectors_that_they_are_scored_by() -> None:
    """One table: what is learned of an item as an input changes how it is scored, and the other way round."""
    net = build_net(GRU4RecConfig(embedding_dim=8, spectral_init=False, temperature=None), RING, 40, 0)
    assert net.table_VD.shape == (40, 9)
    torch.testing.assert_close(net.embed(net.table_VD, torch.arange(40)), net.key(net.table_VD)[:, :8])
    trainer = Trainer(net, RING, TrainingConfig(num_negatives=1, loss="sampled", learning_rate=0.1), 0)
    keys, entering = net.key(net.table_VD).clone(), net.embed(net.table_VD, torch.arange(40)).clone()
    trainer.train_step(Batch(np.array([[30]], dtype=np.int32), np.array([[31]], dtype=np.int32)), 0.5)
    assert not torch.equal(net.key(net.table_VD)[30, :8], keys[30, :8])  # it was an input, and no target
    assert not torch.equal(net.embed(net.table_VD, torch.tensor(31)), entering[31])  # it was a target, and no input
    served = export_scorer("gru4rec", net, np.zeros(40))
    np.testing.assert_array_equal(served.keys_VD, served.input_embeddings_VD)


def test_negatives_come_from_the_whole_catalog_not_from_the_batch_alone() -> None:
    own = Objective(TrainingConfig(loss="sampled", num_negatives=20), np.ones(51), 0, 4)
    alone = np.array([[7, 8]], dtype=np.int32)
    drawn = [own.candidates(Batch(alone, alone), step).items for step in range(60)]
    assert set(np.concatenate(drawn).tolist()) == set(range(1, 51))


def test_log_q_is_corrected_unless_asked_otherwise() -> None:
    counts = np.array([0.0, 1.0, 81.0])
    for log_q, wanted in ((True, 9.0), (False, 1.0)):
        config = TrainingConfig(
            loss="sampled", num_negatives=4000, negative_sampling_exponent=0.5, logq_correction=log_q
        )
        batch = Batch(np.array([[1]], dtype=np.int32), np.array([[2]], dtype=np.int32))
        drawn = Objective(config, counts, 0, 4).candidates(batch, 0)
        # q is 0.1 and 0.9: uncorrected, the popular item counts nine times
        assert np.exp(drawn.offset[1] - drawn.offset[0]) == pytest.approx(9.0 / wanted, rel=0.1)


@pytest.mark.parametrize("loss", ["sampled", "bce", "gbce", "bpr-max", "top1-max"])
def test_a_step_scores_what_was_drawn_and_nothing_else(loss: str) -> None:
    """Scoring the catalog and sampling afterwards would meet the NaN, and would move rows nobody drew."""
    log = Sequences.from_lists([[1, 2, 3], [2, 3, 4]])
    config = TrainingConfig(epochs=1, num_negatives=5, loss=loss)  # type: ignore[arg-type]
    net = build_net(GRU4RecConfig(embedding_dim=4, spectral_init=False), log, 2000, 0)
    trainer = Trainer(net, log, config, 0)
    batch = next(iter(trainer.batches.epoch(0)))
    touched = np.union1d(trainer.objective.candidates(batch, 0).items, [0, 1, 2, 3, 4])
    others = np.setdiff1d(np.arange(2000), touched)
    net.table_VD[others] = float("nan")
    before = net.table_VD.clone()
    assert np.isfinite(trainer.train_step(batch, 0.0))
    assert torch.isfinite(net.table_VD[touched]).all()
    assert not torch.equal(net.table_VD[touched], before[touched])
