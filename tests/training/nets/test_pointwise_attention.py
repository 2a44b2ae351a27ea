"""The pointwise attention that trains: equal to its definition in values and gradients, whatever the tiles."""

import pytest
import torch

from segue.training.nets.layers import pointwise_attention as module
from segue.training.nets.layers.pointwise_attention import PointwiseAttention, pointwise_attention


def drawn(batch: int, time: int, generator: torch.Generator) -> list[torch.Tensor]:
    """q, k, v, near, gap and buckets for two heads of four numbers."""
    parts = [torch.randn(batch, 2, time, 4, generator=generator) for _ in range(3)]
    biases = [torch.randn(time + 3, generator=generator), torch.randn(7, generator=generator)]
    return [*parts, *biases, torch.randint(0, 7, (batch, time, time), generator=generator, dtype=torch.int32)]


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (5, 4), (3, 70)])
@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("numbers", [1, 400, 1 << 17])
def test_values_and_gradients_equal_the_definition(
    batch: int, time: int, gaps: bool, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of one row, of a few rows, and of all."""
    monkeypatch.setattr(module, "TILE_NUMBERS", numbers)
    *given, buckets = drawn(batch, time, torch.Generator().manual_seed(0))
    ours = [x.clone().requires_grad_() for x in given]
    theirs = [x.clone().requires_grad_() for x in given]
    one = PointwiseAttention.apply(*ours, buckets if gaps else None)
    two = pointwise_attention(*theirs, buckets if gaps else None)  # type: ignore[arg-type, call-arg]
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    pull = torch.randn(two.shape, generator=torch.Generator().manual_seed(1))
    used = slice(0, 5 if gaps else 4)
    mine = torch.autograd.grad((one * pull).sum(), ours[used])
    wanted = torch.autograd.grad((two * pull).sum(), theirs[used])
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_the_definition_equals_a_loop() -> None:
    q, k, v, near, gap, buckets = drawn(1, 5, torch.Generator().manual_seed(2))
    found = pointwise_attention(q, k, v, near, gap, buckets)
    for head in range(2):
        for t in range(5):
            total = torch.zeros(4)
            for s in range(t + 1):
                score = q[0, head, t] @ k[0, head, s] + near[t - s] + gap[buckets[0, t, s]]
                total += score * torch.sigmoid(score) * v[0, head, s]
            torch.testing.assert_close(found[0, head, t], total, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_near() -> None:
    *given, buckets = drawn(2, 20, torch.Generator().manual_seed(3))
    wanted = pointwise_attention(*given, buckets)  # type: ignore[call-arg, arg-type]
    low = [x.bfloat16() for x in given[:3]]
    found = PointwiseAttention.apply(*low, *given[3:], buckets)
    assert found.dtype == torch.bfloat16
    assert float((found.float() - wanted).abs().max() / wanted.abs().max()) < 0.02
