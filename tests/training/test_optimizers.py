"""Each row optimizer is the plain one where every row is touched, and leaves the others alone where not."""

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from segue.training.config import TrainingConfig
from segue.training.optimizers import Adagrad, RowAdagrad, RowAdam, check_weights, optimizers, rate_at


def test_the_rate_rises_and_falls_or_stays() -> None:
    cosine, constant = (TrainingConfig(learning_rate=0.2, schedule=name) for name in ("cosine", "constant"))
    assert [rate_at(constant, done) for done in (0.0, 0.4, 1.0)] == [0.2] * 3
    assert rate_at(cosine, 0.0) == pytest.approx(0.02 * 0.2)
    assert rate_at(cosine, 0.5) == pytest.approx(0.2 * 0.525)
    assert rate_at(cosine, 1.0) == pytest.approx(0.2 * 0.05)


def test_all_rows_equals_torch_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(6, 4, generator=generator)
    ours, theirs = start.clone(), start.clone().requires_grad_()
    rows = RowAdam(ours, betas=(0.9, 0.99))
    plain = torch.optim.Adam([theirs], lr=0.03, betas=(0.9, 0.99))
    for step in range(20):
        grad = torch.randn(6, 4, generator=generator)
        rows.step(None if step % 2 else torch.arange(6), grad, 0.03)
        theirs.grad = grad
        plain.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_only_touched_rows_move_and_each_counts_its_own_steps() -> None:
    table = torch.zeros(5, 2)
    rows = RowAdam(table)
    for _ in range(50):
        rows.step(torch.tensor([1, 3]), torch.ones(2, 2), 0.1)
    rows.step(torch.tensor([4]), torch.ones(1, 2), 0.1)
    assert table[0].tolist() == [0.0, 0.0] and table[2].tolist() == [0.0, 0.0]
    assert rows.steps_V.tolist() == [0.0, 50.0, 0.0, 50.0, 1.0]
    torch.testing.assert_close(table[4], torch.tensor([-0.1, -0.1]))  # a first step is a full step, however late


def test_adagrad_with_momentum_worked_by_hand() -> None:
    """Gradients 3 and 4: scaled they are 3/3 and 4/5; the second step adds half of the first."""
    table = torch.zeros(1, 1)
    rows = RowAdagrad(table, momentum=0.5)
    rows.step(None, torch.tensor([[3.0]]), 0.1)
    assert table.item() == pytest.approx(-0.1, rel=1e-5)
    rows.step(None, torch.tensor([[4.0]]), 0.1)
    assert table.item() == pytest.approx(-0.1 - (0.1 * 0.8 + 0.5 * 0.1), rel=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.3])
def test_rows_of_a_table_and_whole_parameters_take_the_same_steps(momentum: float) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(6, 4, generator=generator)
    table, plain = start.clone(), nn.Parameter(start.clone())
    rows, whole = RowAdagrad(table, momentum), Adagrad([plain], 0.05, momentum=momentum)
    theirs = start.clone().requires_grad_()
    torchs = torch.optim.Adagrad([theirs], lr=0.05)
    for step in range(20):
        grad = torch.randn(6, 4, generator=generator)
        rows.step(None if step % 2 else torch.arange(6), grad, 0.05)
        plain.grad, theirs.grad = grad, grad
        whole.step()
        torchs.step()
    torch.testing.assert_close(table, plain.detach())
    if not momentum:
        torch.testing.assert_close(table, theirs.detach(), rtol=1e-4, atol=1e-5)


def test_adagrad_leaves_untouched_rows_and_their_velocity_at_rest() -> None:
    table = torch.zeros(4, 2)
    rows = RowAdagrad(table, momentum=0.9)
    rows.step(torch.tensor([1, 3]), torch.ones(2, 2), 0.1)
    before = {name: value.clone() for name, value in rows.state().items()}
    rows.step(torch.tensor([3]), torch.ones(1, 2), 0.1)
    for name, value in rows.state().items():
        assert torch.equal(value[:3], before[name][:3]), name
        assert not torch.equal(value[3], before[name][3]), name
    torch.testing.assert_close(table[1], torch.tensor([-0.1, -0.1]))
    assert table[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("momentum", [0.0, 0.3])
def test_adagrad_goes_on_from_its_state(momentum: float) -> None:
    first, second = (RowAdagrad(torch.zeros(3, 2), momentum) for _ in range(2))
    first.step(torch.tensor([1]), torch.ones(1, 2), 0.1)
    second.load(first.state())
    second.table_VD.copy_(first.table_VD)
    for rows in (first, second):
        rows.step(torch.tensor([1, 2]), torch.full((2, 2), 0.5), 0.1)
    assert torch.equal(first.table_VD, second.table_VD)


def test_decay_shrinks_the_encoder_beside_the_gradient() -> None:
    weight = nn.Parameter(torch.full((2,), 10.0))
    weight.grad = torch.zeros(2)
    Adagrad([weight], 0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((2,), 9.5))


@pytest.mark.parametrize(("name", "kinds"), [("adam", (RowAdam, AdamW)), ("adagrad", (RowAdagrad, Adagrad))])
def test_one_name_chooses_both(name: str, kinds: tuple[type, type]) -> None:
    chosen = optimizers(TrainingConfig(optimizer=name), torch.zeros(3, 2), [nn.Parameter(torch.zeros(2))])  # type: ignore[arg-type]
    assert tuple(type(one) for one in chosen) == kinds


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1e20])
@pytest.mark.parametrize("position", [0, 1])
def test_weights_that_overflow_name_the_learning_rate(wrong: float, position: int) -> None:
    weights = [torch.zeros(0), torch.ones(3, 2), torch.ones(4)]
    check_weights(weights, 2)
    weights[1 + position].view(-1)[1] = wrong
    with pytest.raises(ValueError, match=r"^A weight is .* after epoch 2: lower learning_rate and train again\.$"):
        check_weights(weights, 2)
