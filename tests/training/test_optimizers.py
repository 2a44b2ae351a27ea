"""RowAdam is Adam where every row is touched, and leaves the others alone where not."""

import torch

from segue.training.optimizers import RowAdam


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
