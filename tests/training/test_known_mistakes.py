"""What reimplementations of GRU4Rec are known to get wrong about losses; each test pins that ours is right.

The list: Hidasi & Czapp (2023), "The effect of third party implementations on reproducibility".
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segue.data.sequences import Sequences
from segue.models.gru4rec import GRU4RecConfig
from segue.training.build import build_net
from segue.training.config import TrainingConfig
from segue.training.losses import bpr_max, softmax_loss
from segue.training.negatives import every_item
from segue.training.objective import Objective
from segue.training.tasks import Batch
from segue.training.trainer import Trainer

ONE = torch.ones(1, 2)


def test_softmax_is_taken_once() -> None:
    """Twice would leave a floor: probabilities as scores never give a target more than e / (e + V - 2)."""
    items = torch.from_numpy(every_item(12).items)
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
    own = Objective(TrainingConfig(loss="bpr-max", negatives_from="in-batch", score_penalty=0.0), np.ones(4), 0, 4)
    key, query = torch.eye(4), 25.0 * torch.eye(4)[targets]
    loss = own.loss(query, key, targets, targets, torch.zeros(2), torch.float32)
    assert float(loss) < 1e-6


def test_negatives_come_from_the_whole_catalogue_not_from_the_batch_alone() -> None:
    own = Objective(TrainingConfig(loss="sampled", negatives=20), np.ones(51), 0, 4)
    alone = np.array([[7, 8]], dtype=np.int32)
    drawn = [own.candidates(Batch(alone, alone), step).items for step in range(60)]
    assert set(np.concatenate(drawn).tolist()) == set(range(1, 51))


def test_log_q_is_corrected_unless_asked_otherwise() -> None:
    counts = np.array([0.0, 1.0, 81.0])
    for log_q, wanted in ((True, 9.0), (False, 1.0)):
        config = TrainingConfig(loss="sampled", negatives=4000, negative_power=0.5, log_q=log_q)
        batch = Batch(np.array([[1]], dtype=np.int32), np.array([[2]], dtype=np.int32))
        drawn = Objective(config, counts, 0, 4).candidates(batch, 0)
        # q is 0.1 and 0.9: uncorrected, the popular item counts nine times
        assert np.exp(drawn.offset[1] - drawn.offset[0]) == pytest.approx(9.0 / wanted, rel=0.1)


@pytest.mark.parametrize("loss", ["sampled", "bce", "gbce", "bpr-max", "top1-max"])
def test_a_step_scores_what_was_drawn_and_nothing_else(loss: str) -> None:
    """Scoring the catalogue and sampling afterwards would meet the NaN, and would move rows nobody drew."""
    log = Sequences.from_lists([[1, 2, 3], [2, 3, 4]])
    config = TrainingConfig(epochs=1, negatives=5, loss=loss)  # type: ignore[arg-type]
    net = build_net(GRU4RecConfig(dim=4, spectral_start=False), log, 2000, 0)
    trainer = Trainer(net, log, config, 0)
    batch = next(iter(trainer.batches.epoch(0)))
    touched = np.union1d(trainer.objective.candidates(batch, 0).items, [0, 1, 2, 3, 4])
    others = np.setdiff1d(np.arange(2000), touched)
    net.table_VD[others] = float("nan")
    before = net.table_VD.clone()
    assert np.isfinite(trainer.train_step(batch, 0.0))
    assert torch.isfinite(net.table_VD[touched]).all()
    assert not torch.equal(net.table_VD[touched], before[touched])
