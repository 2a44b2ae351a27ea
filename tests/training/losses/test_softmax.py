"""The chunked softmax against the plain one: values, gradients, sampling, precision."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segue.training.losses import bpr_max, chunked_loss, softmax, softmax_loss
from segue.training.negative_sampling import NegativeSampler, all_items

NOTHING = np.empty(0, dtype=np.int32)


def case(n: int = 37, v: int = 23, d: int = 8, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = (torch.randn(n, d, generator=generator) * scale).requires_grad_()
    table = torch.randn(v, d, generator=generator).requires_grad_()
    return hidden, table, torch.randint(1, v, (n,), generator=generator)


def full(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    every = all_items(len(table))
    return torch.from_numpy(every.items), torch.from_numpy(every.offset)


def gradients(loss: torch.Tensor, *of: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, of))


@pytest.mark.parametrize("chunk_bytes", [1, 200, 1 << 20])
@pytest.mark.parametrize("scale", [1.0, 100.0])  # the second needs the row maximum, or exp overflows
def test_full_softmax_equals_cross_entropy(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, scale: float) -> None:
    monkeypatch.setattr(softmax, "CHUNK_BYTES", chunk_bytes)
    hidden, table, targets = case(scale=scale)
    ours = softmax_loss(hidden, table, targets, *full(table))
    plain = F.cross_entropy((hidden @ table.T)[:, 1:], targets - 1)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(ours, hidden, table), gradients(plain, hidden, table), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_gradient_by_finite_differences() -> None:
    hidden, table, targets = case(n=5, v=7, d=3)
    candidates, offset = torch.tensor([1, 3, 4, 6]), torch.tensor([0.3, -0.2, 0.0, 1.0])
    value = softmax_loss(hidden, table, targets, candidates, offset)
    grad_hidden, grad_table = gradients(value, hidden, table)
    for tensor, grad in ((hidden, grad_hidden), (table, grad_table)):
        for i in range(tensor.numel()):
            moved = []
            for step in (1e-2, -1e-2):
                with torch.no_grad():
                    tensor.view(-1)[i] += step
                    moved.append(float(softmax_loss(hidden, table, targets, candidates, offset)))
                    tensor.view(-1)[i] -= step
            assert (moved[0] - moved[1]) / 2e-2 == pytest.approx(float(grad.reshape(-1)[i]), abs=2e-4)


def test_a_candidate_that_is_the_target_counts_once() -> None:
    hidden, table, targets = case()
    candidates = torch.tensor([2, 5, 9])
    scores = hidden @ table.T
    own = scores.gather(1, targets[:, None])
    others = scores[:, candidates].masked_fill(candidates[None, :] == targets[:, None], -torch.inf)
    plain = (torch.cat([own, others], dim=1).logsumexp(1) - own[:, 0]).mean()
    torch.testing.assert_close(softmax_loss(hidden, table, targets, candidates, torch.zeros(3)), plain)


def test_without_log_q_an_item_counts_as_often_as_it_was_drawn() -> None:
    hidden, table, targets = case()
    drawn = NegativeSampler(np.ones(len(table)), 50, 0.0, corrected=False).draw(np.random.default_rng(0), NOTHING)
    times = torch.from_numpy(np.exp(drawn.offset)).round().long()
    assert int(times.sum()) == 50
    repeated = torch.from_numpy(drawn.items).repeat_interleave(times)
    scores = hidden @ table.T
    own = scores.gather(1, targets[:, None])
    others = scores[:, repeated].masked_fill(repeated[None, :] == targets[:, None], -torch.inf)
    plain = (torch.cat([own, others], dim=1).logsumexp(1) - own[:, 0]).mean()
    ours = softmax_loss(hidden, table, targets, torch.from_numpy(drawn.items), torch.from_numpy(drawn.offset))
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("hardest", [1, 3, 7, 22, 100])
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_hardest_looks_at_the_largest_terms_alone(
    monkeypatch: pytest.MonkeyPatch, hardest: int, chunk_bytes: int
) -> None:
    monkeypatch.setattr(softmax, "CHUNK_BYTES", chunk_bytes)
    hidden, table, targets = case()
    items, offset = full(table)
    offset = torch.linspace(-1.0, 1.0, len(items))
    ours = softmax_loss(hidden, table, targets, items, offset, hardest=hardest)
    scores = (hidden @ table.T)[:, 1:] + offset
    own = (hidden * table[targets]).sum(dim=1)
    others = scores.masked_fill(items[None, :] == targets[:, None], -torch.inf)
    others = others.topk(min(hardest, len(items)), dim=1).values
    plain = (torch.cat([own[:, None], others], dim=1).logsumexp(1) - own).mean()
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(ours, hidden, table), gradients(plain, hidden, table), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_float64_gradient_equals_finite_differences() -> None:
    hidden, table, targets = (t.detach().double() if t.is_floating_point() else t for t in case(n=5, v=9, d=3))
    items, offset = torch.tensor([1, 3, 4, 6, 8]), torch.tensor([0.3, -0.2, 0.0, 1.0, 0.5], dtype=torch.float64)

    def loss(h: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return softmax_loss(h, t, targets, items, offset, hardest=3, precision=torch.float64)

    assert torch.autograd.gradcheck(loss, (hidden.requires_grad_(), table.requires_grad_()))


def test_bfloat16_stays_within_two_percent() -> None:
    hidden, table, targets = case(n=200, v=500, d=64)
    hidden, table = F.normalize(hidden, dim=-1) / 0.07, F.normalize(table, dim=-1)
    hidden, table = hidden.detach().requires_grad_(), table.detach().requires_grad_()
    exact = softmax_loss(hidden, table, targets, *full(table))
    fast = softmax_loss(hidden, table, targets, *full(table), precision=torch.bfloat16)
    assert fast.item() == pytest.approx(exact.item(), rel=2e-3)
    for a, b in zip(gradients(fast, hidden, table), gradients(exact, hidden, table), strict=True):
        assert float((a - b).norm() / b.norm()) < 0.02


def test_a_wrong_gradient_would_be_seen() -> None:
    hidden, table, targets = case()
    right = gradients(softmax_loss(hidden, table, targets, *full(table)), hidden)[0]
    wrong = gradients(softmax_loss(hidden, table, targets.roll(1), *full(table)), hidden)[0]
    assert float((right - wrong).norm() / right.norm()) > 0.1


@pytest.mark.parametrize("loss", ["softmax", "bpr-max"])
def test_gradients_have_the_same_bits_every_time_with_several_threads(loss):
    """Many targets of few items, whose gradients meet in the same rows: the order in which they are added must not
    depend on which thread comes first."""
    hidden, table, targets = case(20_000, 40, 32)
    candidates, offset = full(table)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = []
        for _ in range(6):
            if loss == "softmax":
                value = softmax_loss(hidden, table, targets, candidates, offset)
            else:
                times = torch.ones(len(candidates))
                value = chunked_loss(bpr_max(0.5), hidden, table, targets, candidates, times)
            found.append(gradients(value, table)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], one) for one in found[1:])
