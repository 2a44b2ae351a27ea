"""Pointwise attention in training: equal to its definition in values and gradients, for all tile sizes."""

import pytest
import torch

from segue.training.nets.layers import pointwise_attention as module
from segue.training.nets.layers.pointwise_attention import PointwiseAttention, pointwise_attention


def random_arguments(batch: int, time: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Random q, k, v, near, gap and buckets for two heads of width four."""
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
    *arguments, buckets = random_arguments(batch, time, torch.Generator().manual_seed(0))
    ours = [x.clone().requires_grad_() for x in arguments]
    theirs = [x.clone().requires_grad_() for x in arguments]
    output = PointwiseAttention.apply(*ours, buckets if gaps else None)
    expected = pointwise_attention(*theirs, buckets if gaps else None)  # type: ignore[arg-type, call-arg]
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    grad_out = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    used = slice(0, 5 if gaps else 4)
    mine = torch.autograd.grad((output * grad_out).sum(), ours[used])
    wanted = torch.autograd.grad((expected * grad_out).sum(), theirs[used])
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_the_definition_equals_a_loop() -> None:
    q, k, v, near, gap, buckets = random_arguments(1, 5, torch.Generator().manual_seed(2))
    output = pointwise_attention(q, k, v, near, gap, buckets)
    for head in range(2):
        for t in range(5):
            total = torch.zeros(4)
            for s in range(t + 1):
                score = q[0, head, t] @ k[0, head, s] + near[t - s] + gap[buckets[0, t, s]]
                total += score * torch.sigmoid(score) * v[0, head, s]
            torch.testing.assert_close(output[0, head, t], total, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close() -> None:
    *arguments, buckets = random_arguments(2, 20, torch.Generator().manual_seed(3))
    wanted = pointwise_attention(*arguments, buckets)  # type: ignore[call-arg, arg-type]
    low = [x.bfloat16() for x in arguments[:3]]
    output = PointwiseAttention.apply(*low, *arguments[3:], buckets)
    assert output.dtype == torch.bfloat16
    assert float((output.float() - wanted).abs().max() / wanted.abs().max()) < 0.02
