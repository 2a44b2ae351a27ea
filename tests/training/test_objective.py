"""Objective: repeatable negatives, log-q correction of the softmax alone, in-batch targets without padding."""

import numpy as np
import pytest
import torch

from segue.training.config import TrainingConfig
from segue.training.losses import softmax_loss
from segue.training.objective import Objective
from segue.training.tasks import Batch

COUNTS = np.arange(30.0)


def objective(**values: object) -> Objective:
    return Objective(TrainingConfig(**{"loss": "sampled", "num_negatives": 10, **values}), COUNTS, 3, 4)  # type: ignore[arg-type]


def batch() -> Batch:
    targets = np.array([[4, 9, 9], [25, 4, 0]], dtype=np.int32)
    return Batch(np.where(targets > 0, 1, 0).astype(np.int32), targets)


@pytest.mark.parametrize("source", ["popularity", "in-batch", "mixed"])
def test_equal_seed_step_and_batch_give_equal_candidates(source: str) -> None:
    one, two = (objective(negative_source=source).candidates(batch(), 5) for _ in range(2))
    assert one.items.tolist() == two.items.tolist() and one.offset.tolist() == two.offset.tolist()
    later = objective(negative_source=source).candidates(batch(), 6)
    assert (one.items.tolist() == later.items.tolist()) == (source == "in-batch")


def test_in_batch_negatives_never_hold_padding() -> None:
    assert objective(negative_source="in-batch").candidates(batch(), 0).items.tolist() == [4, 9, 25]
    mixed = objective(negative_source="mixed").candidates(batch(), 0).items
    assert {4, 9, 25} < set(mixed.tolist()) and 0 not in mixed


@pytest.mark.parametrize("loss", ["bce", "gbce", "bpr-max", "top1-max"])
def test_other_losses_count_negatives_as_often_as_they_were_sampled(loss: str) -> None:
    times = np.exp(objective(loss=loss, num_negatives=200).candidates(batch(), 0).offset)
    assert times == pytest.approx(np.round(times), rel=1e-5)
    assert times.sum() == pytest.approx(200)
    assert times.max() > 3


def test_every_setting_of_a_loss_reaches_it() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(5, 4, generator=generator), torch.randn(30, 4, generator=generator)
    targets = torch.tensor([1, 2, 3, 4, 5])

    def value(**values: object) -> float:
        own = objective(**values)
        drawn = own.candidates(batch(), 0)
        items, offset = torch.from_numpy(drawn.items), torch.from_numpy(drawn.offset)
        return float(own.loss(query, key, targets, items, offset, torch.float32))

    for loss, changes in {
        "full": [{"num_hardest_negatives": 2}],
        "sampled": [
            {"num_hardest_negatives": 2},
            {"logq_correction": False},
            {"negative_sampling_exponent": 0.0},
            {"negative_source": "mixed"},
        ],
        "bce": [{"num_hardest_negatives": 2}],
        "gbce": [{"gbce_t": 0.1}, {"num_hardest_negatives": 2}],
        "bpr-max": [{"score_penalty": 0.0}, {"elu_alpha": 0.5}, {"num_hardest_negatives": 2}],
        "top1-max": [{"elu_alpha": 0.5}, {"num_hardest_negatives": 2}],
    }.items():
        for change in changes:
            assert value(loss=loss) != pytest.approx(value(loss=loss, **change), rel=1e-4), (loss, change)


def test_full_compares_with_every_item_once() -> None:
    own = objective(loss="full")
    drawn = own.candidates(batch(), 0)
    assert drawn.items.tolist() == list(range(1, 30))
    query, key, targets = torch.ones(2, 4), torch.randn(30, 4), torch.tensor([1, 2])
    items, offset = torch.from_numpy(drawn.items), torch.from_numpy(drawn.offset)
    wanted = softmax_loss(query, key, targets, items, torch.zeros(29))
    torch.testing.assert_close(own.loss(query, key, targets, items, offset, torch.float32), wanted)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be at least 1, got 0."),
        ({"num_hardest_negatives": -1}, "num_hardest_negatives must be at least 0, got -1."),
        ({"gbce_t": 1.5}, "gbce_t must be in [0, 1], got 1.5."),
        ({"score_penalty": -0.1}, "score_penalty must be at least 0, got -0.1."),
        ({"elu_alpha": 0.0}, "elu_alpha must be above 0, or none, got 0.0."),
        ({"memory_gb": -2.0}, "memory_gb must be above 0, or none, got -2.0."),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0."),
        ({"momentum": 0.2}, "momentum is adagrad's; adam has its own, so leave momentum out (got 0.2)."),
    ],
)
def test_impossible_settings(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        TrainingConfig(**values)  # type: ignore[arg-type]
    assert str(refused.value) == message
