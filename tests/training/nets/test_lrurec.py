"""Linear recurrence: equal step by step, by doubling and by hand; its gradient is correct."""

import pytest
import torch

from segue.models.neural.configs.lrurec import LRURecConfig
from segue.training.nets.encoders.lrurec import MAX_DECAY, MIN_DECAY, DecayedSum, LRUBlock, LRURecEncoder, decayed_sum
from segue.training.nets.layers.basic import DropoutRng


def complex_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def test_three_steps_by_hand() -> None:
    """Decay i / 2: the state turns by a quarter and halves."""
    x = torch.tensor([1, 4, 0], dtype=torch.complex128).view(3, 1, 1)
    states = DecayedSum.apply(x, torch.tensor([0.5j], dtype=torch.complex128)).flatten().tolist()
    assert states == [1, 4 + 0.5j, 2j - 0.25]


@pytest.mark.parametrize("time", [1, 2, 5, 8, 13])
def test_doubling_equals_stepping(time: int) -> None:
    x_TBE, decay_E = complex_numbers(time, 3, 4), complex_numbers(4, seed=1) * 0.4
    stepped = DecayedSum.apply(x_TBE, decay_E).transpose(0, 1)
    x_BTE = x_TBE.transpose(0, 1)
    real, imaginary = decayed_sum((x_BTE.real, x_BTE.imag), (decay_E.real, decay_E.imag), 13)
    torch.testing.assert_close(torch.complex(real, imaginary), stepped)


def test_the_gradient_is_correct() -> None:
    x_TBE, decay_E = complex_numbers(5, 2, 3).requires_grad_(), (complex_numbers(3, seed=1) * 0.5).requires_grad_()
    assert torch.autograd.gradcheck(DecayedSum.apply, (x_TBE, decay_E))


def test_training_and_exported_computation_are_equal() -> None:
    encoder = LRURecEncoder(
        LRURecConfig(embedding_dim=8, dropout=0.0, max_length=9), DropoutRng(), torch.Generator().manual_seed(3)
    )
    x_BTD = torch.randn(4, 9, 8, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(encoder.train()(x_BTD), encoder.eval()(x_BTD), rtol=1e-5, atol=1e-6)


def test_initial_decays_lie_in_a_ring_and_never_exceed_one() -> None:
    block = LRUBlock(LRURecConfig(embedding_dim=64, expansion=4), torch.nn.Identity())
    block.init_decays(torch.Generator().manual_seed(0))
    size = torch.hypot(*block.decay())
    assert MIN_DECAY - 1e-6 < size.min() < 0.85 and 0.97 < size.max() < MAX_DECAY + 1e-6
    with torch.no_grad():
        block.fade.fill_(-50.0)
    assert torch.hypot(*block.decay()).max() <= 1 + 1e-6


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="expansion must be at least 1, got 0"):
        LRURecConfig(expansion=0)
