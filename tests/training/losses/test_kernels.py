"""Every kernel against a naive loss by autograd: values, gradients, chunks, repeats, the target among its negatives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segue.training.losses import Kernel, bce, bpr_max, chunked, chunked_loss, gbce, top1_max, with_elu_scores
from segue.training.losses.chunked import with_hardest_negatives

ITEMS = 22
Naive = Callable[[Tensor, Tensor], Tensor]
"""(score of the target [], scores of its negatives [k], one for each draw) -> loss []."""


def naive_bce(own: Tensor, others: Tensor) -> Tensor:
    return -torch.sigmoid(own).log() - (1 - torch.sigmoid(others)).log().mean()


def naive_gbce(own: Tensor, others: Tensor, t: float = 0.75) -> Tensor:
    alpha = len(others) / (ITEMS - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    total = (torch.sigmoid(own) ** beta).log() + (1 - torch.sigmoid(others)).log().sum()
    return -total / (len(others) + 1)


def naive_bpr_max(own: Tensor, others: Tensor, penalty: float = 0.7) -> Tensor:
    share = others.softmax(0)
    return -(share * torch.sigmoid(own - others)).sum().log() + penalty * (share * others**2).sum()


def naive_top1_max(own: Tensor, others: Tensor) -> Tensor:
    return (others.softmax(0) * (torch.sigmoid(others - own) + torch.sigmoid(others**2))).sum()


def bent(naive: Naive, alpha: float) -> Naive:
    return lambda own, others: naive(F.elu(own, alpha), F.elu(others, alpha))


LOSSES: dict[str, tuple[Kernel, Naive]] = {
    "bce": (bce, naive_bce),
    "gbce": (gbce(0.75, ITEMS), naive_gbce),
    "gbce, t 0": (gbce(0.0, ITEMS), lambda own, others: naive_gbce(own, others, 0.0)),
    "bpr-max": (bpr_max(0.7), naive_bpr_max),
    "bpr-max, elu": (with_elu_scores(bpr_max(0.7), 0.5), bent(naive_bpr_max, 0.5)),
    "top1-max": (top1_max, naive_top1_max),
    "top1-max, elu": (with_elu_scores(top1_max, 1.0), bent(naive_top1_max, 1.0)),
}
CANDIDATES, TIMES = torch.tensor([1, 4, 5, 9, 16, 20]), torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0, 1.0])


@pytest.fixture(params=LOSSES)
def pair(request: pytest.FixtureRequest) -> tuple[Kernel, Naive]:
    return LOSSES[request.param]


def case(n: int = 29, d: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    hidden, table = (torch.randn(rows, d, generator=generator, dtype=dtype) for rows in (n, ITEMS + 1))
    return hidden.requires_grad_(), table.requires_grad_(), torch.randint(1, ITEMS + 1, (n,), generator=generator)


def plain(naive: Naive, hidden: Tensor, table: Tensor, targets: Tensor, hardest: int = 0) -> Tensor:
    """Target by target, draw by draw."""
    drawn = CANDIDATES.repeat_interleave(TIMES.long())
    each = []
    for query, target in zip(hidden, targets, strict=True):
        kept = CANDIDATES[target != CANDIDATES]
        if hardest:
            kept = kept[(table[kept] @ query).topk(min(hardest, len(kept))).indices]
        others = drawn[torch.isin(drawn, kept)]
        each.append(naive(query @ table[target], table[others] @ query))
    return torch.stack(each).mean()


@pytest.mark.parametrize("hardest", [0, 1, 2, 50])
@pytest.mark.parametrize("chunk_bytes", [1, 700, 1 << 20])
def test_equals_the_naive_loss(
    pair: tuple[Kernel, Naive], chunk_bytes: int, hardest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "CHUNK_BYTES", chunk_bytes)
    kernel, naive = pair
    hidden, table, targets = case()
    assert torch.isin(targets, CANDIDATES).any() and not torch.isin(targets, CANDIDATES).all()
    ours = chunked_loss(
        with_hardest_negatives(kernel, hardest), hidden, table, targets, CANDIDATES, TIMES, torch.float64
    )
    wanted = plain(naive, hidden, table, targets, hardest)
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-12)
    got, right = (torch.autograd.grad(loss, (hidden, table)) for loss in (ours, wanted))
    for a, b in zip(got, right, strict=True):
        assert float(b.abs().max()) > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


def test_float32_stays_within_a_thousandth_of_float64(pair: tuple[Kernel, Naive]) -> None:
    kernel, naive = pair
    hidden, table, targets = case(dtype=torch.float32)
    ours = chunked_loss(kernel, hidden, table, targets, CANDIDATES, TIMES)
    wanted = plain(naive, hidden.double(), table.double(), targets)
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-5, atol=1e-6)
    got, right = (torch.autograd.grad(loss, (hidden, table)) for loss in (ours, wanted))
    for a, b in zip(got, right, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-3


def test_bfloat16_stays_within_three_percent(pair: tuple[Kernel, Naive]) -> None:
    kernel = pair[0]
    hidden, table, targets = case(n=400, d=32, dtype=torch.float32)
    hidden = (F.normalize(hidden, dim=-1) * 2.0).detach().requires_grad_()
    exact, fast = (
        chunked_loss(kernel, hidden, table, targets, CANDIDATES, TIMES, precision)
        for precision in (torch.float32, torch.bfloat16)
    )
    assert fast.item() == pytest.approx(exact.item(), rel=5e-3)
    got, right = (torch.autograd.grad(loss, (hidden, table)) for loss in (fast, exact))
    for a, b in zip(got, right, strict=True):
        assert float((a - b).norm() / b.norm()) < 0.03


@pytest.mark.parametrize("own", [-300.0, 300.0])
def test_far_scores_have_finite_slopes(pair: tuple[Kernel, Naive], own: float) -> None:
    """A sum of sigmoids that underflows, and its logarithm, would give NaN."""
    target, others = torch.tensor([own]), torch.tensor([[0.0, 100.0, -100.0]])
    for part in pair[0](target, others, torch.ones(1, 3)):
        assert torch.isfinite(part).all()
    if own < 0 and pair[0] is LOSSES["bpr-max"][0]:
        assert pair[0](target, others, torch.ones(1, 3))[1].item() == pytest.approx(-1.0, abs=1e-4)


def test_a_target_without_negatives(pair: tuple[Kernel, Naive]) -> None:
    """The only candidate is the target itself: nothing is compared, nothing is pushed."""
    loss_n, pull_n, push_nK = pair[0](torch.tensor([0.5]), torch.tensor([[0.5]]), torch.zeros(1, 1))
    assert torch.isfinite(loss_n).all() and torch.isfinite(pull_n).all()
    assert push_nK.tolist() == [[0.0]]


def test_gbce_with_every_item_is_bce_summed_whatever_t_is() -> None:
    target, others, weight = torch.tensor([0.3]), torch.randn(1, ITEMS - 1), torch.ones(1, ITEMS - 1)
    with_t, without = (gbce(t, ITEMS)(target, others, weight)[0] for t in (0.9, 0.0))
    torch.testing.assert_close(with_t, without)


def test_bce_with_many_shared_negatives_expects_what_one_negative_each_does() -> None:
    scores = torch.randn(1, 500, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0.3])
    alone = torch.stack([bce(target, scores[:, [i]], torch.ones(1, 1))[0] for i in range(500)]).mean()
    torch.testing.assert_close(bce(target, scores, torch.ones(1, 500))[0][0], alone)
