"""LRURec's encoder in torch (Yue et al. 2024): a state that every event turns and shrinks, without a gate in its way.

h_t = decay * h_{t-1} + x_t with a complex decay for each number of the state (Orvieto et al. 2023, eq. 4). Nothing but
that product waits for the step before, so that all matrix products are done for the whole history at once.
Shape letters as in ``layers.py``; E complex numbers of a state.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.neural.configs.lrurec import LRURecConfig
from segue.training.nets.encoders.encoder import SequenceEncoder
from segue.training.nets.layers.basic import Dropout, DropoutRng, normal_

NEAREST, FARTHEST = 0.8, 0.99
"""Sizes of the decays at first: what is left of an event after one more."""


class DecayedSum(torch.autograd.Function):
    """(x complex [T, B, E], decay complex [E]) -> states [T, B, E], step by step, with the gradient by hand."""

    @staticmethod
    def forward(ctx: Any, x_TBE: Tensor, decay_E: Tensor) -> Tensor:
        """See ``fading``."""
        state_TBE = torch.empty_like(x_TBE)
        state_TBE[0] = x_TBE[0]
        for t in range(1, len(x_TBE)):
            torch.addcmul(x_TBE[t], state_TBE[t - 1], decay_E, out=state_TBE[t])
        ctx.save_for_backward(state_TBE, decay_E)
        return state_TBE

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """The same recurrence, backwards in time, with the conjugate decay."""
        state_TBE, decay_E = ctx.saved_tensors
        grad_TBE, back_E = grads[0], decay_E.conj().resolve_conj()
        into_TBE = torch.empty_like(state_TBE)
        into_TBE[-1] = grad_TBE[-1]
        for t in range(len(into_TBE) - 2, -1, -1):
            torch.addcmul(grad_TBE[t], into_TBE[t + 1], back_E, out=into_TBE[t])
        return into_TBE, (into_TBE[1:] * state_TBE[:-1].conj()).sum(dim=(0, 1))


def decayed_sum(x_BTE: tuple[Tensor, Tensor], decay_E: tuple[Tensor, Tensor], length: int) -> tuple[Tensor, Tensor]:
    """The states as real and imaginary parts, float32 [B, T, E] each, for histories of up to ``length`` events.

    By doubling (Hillis & Steele 1986): after pass p a position has the sum over its 2 ** p newest events. Real numbers
    and no loop over time: a graph can hold it.
    """
    (real, turned), (shrink, turn) = x_BTE, decay_E
    time, step = real.shape[1], 1
    while step < length:
        before, aside = (F.pad(part, (0, 0, step, 0))[:, :time] for part in (real, turned))
        real, turned = real + shrink * before - turn * aside, turned + shrink * aside + turn * before
        shrink, turn = shrink * shrink - turn * turn, 2 * shrink * turn
        step *= 2
    return real, turned


class LRUBlock(nn.Module):
    """A recurrence and a feed-forward net, around each of which the stream passes unchanged (Yue et al. 2024, section
    3.2); normalized before each, not behind it."""

    def __init__(self, config: LRURecConfig, dropout: Dropout) -> None:
        super().__init__()
        self.length = config.max_length
        self.states = config.expansion * config.embedding_dim
        self.norm_in = nn.LayerNorm(config.embedding_dim)
        self.enter = nn.Linear(config.embedding_dim, 2 * self.states)
        self.leave = nn.Linear(2 * self.states, config.embedding_dim)
        self.fade, self.turn, self.loud = (nn.Parameter(torch.empty(self.states)) for _ in range(3))
        self.norm_mid = nn.LayerNorm(config.embedding_dim)
        self.up = nn.Linear(config.embedding_dim, 4 * config.embedding_dim)
        self.down = nn.Linear(4 * config.embedding_dim, config.embedding_dim)
        self.dropout = dropout

    def start(self, generator: torch.Generator) -> None:
        """Decays spread evenly over a ring, what enters scaled so that states are as large as what enters (Orvieto et
        al. 2023, sections 3.2 and 3.3)."""
        with torch.no_grad():
            chance_E = torch.rand(2, self.states, generator=generator)
            size_E = torch.sqrt(chance_E[0] * (FARTHEST**2 - NEAREST**2) + NEAREST**2)
            self.fade.copy_(torch.log(-torch.log(size_E)))
            self.turn.copy_(torch.log(2 * math.pi * chance_E[1].clamp(min=1e-6)))
            self.loud.copy_(torch.log(torch.sqrt(1 - size_E**2)))

    def decay(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of exp(-exp(fade) + i exp(turn)): never larger than 1, whatever is learned."""
        size_E, angle_E = torch.exp(-torch.exp(self.fade)), torch.exp(self.turn)
        return size_E * torch.cos(angle_E), size_E * torch.sin(angle_E)

    def forward(self, x_BTD: Tensor) -> Tensor:
        entered = self.enter(self.norm_in(x_BTD)).float()
        loud_E = torch.exp(self.loud)
        parts = entered[..., : self.states] * loud_E, entered[..., self.states :] * loud_E
        if self.training:
            x_TBE = torch.complex(*(part.transpose(0, 1).contiguous() for part in parts))
            state_TBE = DecayedSum.apply(x_TBE, torch.complex(*self.decay()))
            parts = state_TBE.real.transpose(0, 1), state_TBE.imag.transpose(0, 1)
        else:
            parts = decayed_sum(parts, self.decay(), self.length)
        x_BTD = x_BTD + self.dropout(self.leave(torch.cat(parts, dim=-1)))
        return x_BTD + self.dropout(self.down(F.gelu(self.up(self.norm_mid(x_BTD)))))


class LRURecEncoder(SequenceEncoder):
    """[B, T, D] embedded events, oldest first and padding behind, -> [B, T, D] what each position expects next. A state
    knows how many events ago something was, so that nothing else tells positions apart."""

    def __init__(self, config: LRURecConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout, noise)
        self.blocks = nn.ModuleList(LRUBlock(config, self.dropout) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.embedding_dim)
        normal_(self, generator)
        for block in self.blocks:
            assert isinstance(block, LRUBlock)
            block.start(generator)

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None) -> Tensor:
        x_BTD = self.dropout(x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)
