"""Torch encoder of LRURec (Yue et al. 2024): a linear recurrence, without gates.

h_t = decay * h_{t-1} + x_t with one complex decay per state component (Orvieto et al. 2023, eq. 4). Only this
product depends on the previous step, so that all matrix products cover the whole history at once.
Shape letters as in ``layers/basic.py``; E complex components of a state.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.neural.configs.lrurec import LRURecConfig
from segue.training.nets.encoders.encoder import SequenceEncoder
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_

MIN_DECAY, MAX_DECAY = 0.8, 0.99
"""Bounds of the absolute value of the initial decays: the share of an event that is left after one more."""


class DecayedSum(torch.autograd.Function):
    """Linear recurrence step by step, with the gradient by hand."""

    @staticmethod
    def forward(ctx: Any, x_TBE: Tensor, decay_E: Tensor) -> Tensor:
        """Return the states, complex [T, B, E]; see ``decayed_sum``.

        Args:
            ctx: context of autograd.
            x_TBE: complex inputs.
            decay_E: complex decays.
        """
        state_TBE = torch.empty_like(x_TBE)
        state_TBE[0] = x_TBE[0]
        for t in range(1, len(x_TBE)):
            torch.addcmul(x_TBE[t], state_TBE[t - 1], decay_E, out=state_TBE[t])
        ctx.save_for_backward(state_TBE, decay_E)
        return state_TBE

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients: the same recurrence, backwards in time, with the conjugate decay.

        Args:
            ctx: context of autograd.
            grads: gradient of the states, complex [T, B, E].
        """
        state_TBE, decay_E = ctx.saved_tensors
        grad_TBE, conjugate_E = grads[0], decay_E.conj().resolve_conj()
        grad_input_TBE = torch.empty_like(state_TBE)
        grad_input_TBE[-1] = grad_TBE[-1]
        for t in range(len(grad_input_TBE) - 2, -1, -1):
            torch.addcmul(grad_TBE[t], grad_input_TBE[t + 1], conjugate_E, out=grad_input_TBE[t])
        return grad_input_TBE, (grad_input_TBE[1:] * state_TBE[:-1].conj()).sum(dim=(0, 1))


def decayed_sum(x_BTE: tuple[Tensor, Tensor], decay_E: tuple[Tensor, Tensor], length: int) -> tuple[Tensor, Tensor]:
    """Return the states of the recurrence, without a loop over time and complex numbers, as a graph needs it.

    By doubling (Hillis & Steele 1986): after pass p a position holds the sum over its 2 ** p newest events.

    Args:
        x_BTE: real and imaginary parts of the inputs.
        decay_E: real and imaginary parts of the decays.
        length: largest number of events in a history.

    Returns:
        Real and imaginary parts, float32 [B, T, E] each.
    """
    (real, imaginary), (shrink, turn) = x_BTE, decay_E
    time, step = real.shape[1], 1
    while step < length:
        real_before, imaginary_before = (F.pad(part, (0, 0, step, 0))[:, :time] for part in (real, imaginary))
        real, imaginary = (
            real + shrink * real_before - turn * imaginary_before,
            imaginary + shrink * imaginary_before + turn * real_before,
        )
        shrink, turn = shrink * shrink - turn * turn, 2 * shrink * turn
        step *= 2
    return real, imaginary


class LRUBlock(nn.Module):
    """Residual block of a linear recurrence and a feed-forward net (Yue et al. 2024, section 3.2).

    Differs: normalized before each, not after it.
    """

    def __init__(self, config: LRURecConfig, dropout: Dropout) -> None:
        super().__init__()
        self.length = config.max_length
        self.state_dim = config.expansion * config.embedding_dim
        self.norm_in = nn.LayerNorm(config.embedding_dim)
        self.enter = nn.Linear(config.embedding_dim, 2 * self.state_dim)
        self.leave = nn.Linear(2 * self.state_dim, config.embedding_dim)
        self.fade, self.turn, self.loud = (nn.Parameter(torch.empty(self.state_dim)) for _ in range(3))
        self.norm_mid = nn.LayerNorm(config.embedding_dim)
        self.up = nn.Linear(config.embedding_dim, 4 * config.embedding_dim)
        self.down = nn.Linear(4 * config.embedding_dim, config.embedding_dim)
        self.dropout = dropout

    def init_decays(self, generator: torch.Generator) -> None:
        """Initialize the decays uniformly over a ring (Orvieto et al. 2023, sections 3.2 and 3.3).

        The scale of the inputs makes states as large as inputs.
        """
        with torch.no_grad():
            uniform_E = torch.rand(2, self.state_dim, generator=generator)
            size_E = torch.sqrt(uniform_E[0] * (MAX_DECAY**2 - MIN_DECAY**2) + MIN_DECAY**2)
            self.fade.copy_(torch.log(-torch.log(size_E)))
            self.turn.copy_(torch.log(2 * math.pi * uniform_E[1].clamp(min=1e-6)))
            self.loud.copy_(torch.log(torch.sqrt(1 - size_E**2)))

    def decay(self) -> tuple[Tensor, Tensor]:
        """Return the real and imaginary parts of exp(-exp(fade) + i exp(turn)), whose size never exceeds 1."""
        size_E, angle_E = torch.exp(-torch.exp(self.fade)), torch.exp(self.turn)
        return size_E * torch.cos(angle_E), size_E * torch.sin(angle_E)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the output at every position, [B, T, D]."""
        inputs_BTE = self.enter(self.norm_in(x_BTD)).float()
        scale_E = torch.exp(self.loud)
        parts = inputs_BTE[..., : self.state_dim] * scale_E, inputs_BTE[..., self.state_dim :] * scale_E
        if self.training:
            x_TBE = torch.complex(*(part.transpose(0, 1).contiguous() for part in parts))
            state_TBE = DecayedSum.apply(x_TBE, torch.complex(*self.decay()))
            parts = state_TBE.real.transpose(0, 1), state_TBE.imag.transpose(0, 1)
        else:
            parts = decayed_sum(parts, self.decay(), self.length)
        x_BTD = x_BTD + self.dropout(self.leave(torch.cat(parts, dim=-1)))
        return x_BTD + self.dropout(self.down(F.gelu(self.up(self.norm_mid(x_BTD)))))


class LRURecEncoder(SequenceEncoder):
    """Stack of linear recurrences. States depend on the age of events, so that there is no position embedding."""

    def __init__(self, config: LRURecConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout, noise)
        self.blocks = nn.ModuleList(LRUBlock(config, self.dropout) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.embedding_dim)
        normal_(self, generator)
        for block in self.blocks:
            assert isinstance(block, LRUBlock)
            block.init_decays(generator)

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None) -> Tensor:
        """See `SequenceEncoder`."""
        x_BTD = self.dropout(x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)
