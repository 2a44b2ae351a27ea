"""Two decoders that write from an encoder's states: a GRU with Luong's attention, a transformer with cross-attention.

Shape letters as in ``layers.py``, and S stretches that are written side by side, K steps of each, N of their steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.training.nets.layers.attention import Attention
from segue.training.nets.layers.basic import Dropout, normal_, xavier_uniform_
from segue.training.nets.layers.gru_autograd import GRUFunction

Embed = Callable[[Tensor], Tensor]
"""Table rows of any shape -> their vectors."""
Draw = Callable[[Tensor, Tensor, int], Tensor]
"""(what the writer says [N, D]; the stretches they belong to, int64 [N]; the step that will be given them) -> table
rows drawn by it, int64 [N]."""


@dataclass(frozen=True)
class EncoderStates:
    """What stretch s is written from: the states of row ``row_S[s]`` up to column ``last_S[s]``."""

    states_BTD: Tensor
    row_S: Tensor
    last_S: Tensor

    def visible(self) -> Tensor:
        """bool [S, T]: the columns that each stretch may look at."""
        return torch.arange(self.states_BTD.shape[1], device=self.last_S.device) <= self.last_S[:, None]

    def newest(self) -> Tensor:
        """[S, D]: the last of the states."""
        return self.states_BTD[self.row_S, self.last_S]


class GRULayer(nn.Module):
    """One GRU layer with inputs of any width; gates lie in the order reset, update, candidate."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(3 * dim, inputs))
        self.state = nn.Parameter(torch.empty(3 * dim, dim))
        self.input_bias = nn.Parameter(torch.empty(3 * dim))
        self.state_bias = nn.Parameter(torch.empty(3 * dim))

    def forward(self, x_KSI: Tensor) -> Tensor:
        """All steps from a zero state, [K, S, D]."""
        dtype = torch.bfloat16 if torch.is_autocast_enabled(x_KSI.device.type) else torch.float32
        states_KSD: Tensor = GRUFunction.apply(
            x_KSI.float().contiguous(), self.input, self.state, self.input_bias, self.state_bias, dtype
        )
        return states_KSD

    def step(self, x_SI: Tensor, state_SD: Tensor) -> Tensor:
        """One step, [S, D]; see ``Recurrence`` for the equations."""
        enter = F.linear(x_SI, self.input, self.input_bias).chunk(3, dim=1)
        carry = F.linear(state_SD, self.state, self.state_bias).chunk(3, dim=1)
        reset_SD, update_SD = ((a + b).sigmoid() for a, b in zip(enter[:2], carry[:2], strict=True))
        fresh_SD = (enter[2] + reset_SD * carry[2]).tanh()
        return fresh_SD + update_SD * (state_SD - fresh_SD)


class GRUDecoder(nn.Module):
    """h_t = GRU(h_t-1, [y_t-1; s]) where s is the newest of the encoder's states, which enters at every step (Cho et
    al. 2014, eq. 2); then global attention after Luong et al. 2015: weights a = softmax over the states e of h_t W e
    ("general", eqs. 7-8), their mean c_t, and what is said is tanh(W_c [c_t; h_t]) (eq. 5).

    The attention does not enter the recurrence (no "input feeding"), so that all steps of the recurrence are one call.
    """

    def __init__(self, config: Seq2SeqConfig, dropout: Dropout, generator: torch.Generator) -> None:
        super().__init__()
        dim = config.embedding_dim
        self.layers = nn.ModuleList(GRULayer(2 * dim if i == 0 else dim, dim) for i in range(config.num_layers))
        self.match = nn.Linear(dim, dim, bias=False)
        self.merge = nn.Linear(2 * dim, dim)
        self.dropout = dropout
        xavier_uniform_(self, generator)

    def forward(self, given_SKD: Tensor, memory: EncoderStates) -> Tensor:
        """What is said at every step, [S, K, D]; ``given_SKD`` is what was there before each."""
        summary_SKD = memory.newest()[:, None].expand(-1, given_SKD.shape[1], -1)
        below_KSD = torch.cat([given_SKD, summary_SKD], dim=-1).transpose(0, 1)
        for layer in self.layers:
            below_KSD = self.dropout(layer(below_KSD))
        return self.output(below_KSD.transpose(0, 1), memory)

    def output(self, state_SKD: Tensor, memory: EncoderStates) -> Tensor:
        """The attention and what is said, [S, K, D]."""
        keys_STD = self.match(memory.states_BTD)[memory.row_S]
        score_SKT = (state_SKD @ keys_STD.transpose(1, 2)).float()
        weight_SKT = score_SKT.masked_fill(~memory.visible()[:, None], -torch.inf).softmax(2)
        context_SKD = weight_SKT @ memory.states_BTD[memory.row_S].float()
        said: Tensor = self.merge(torch.cat([context_SKD, state_SKD], dim=-1)).tanh()
        return said

    def free_running(
        self, embed: Embed, memory: EncoderStates, rows_SK: Tensor, chosen_SK: Tensor, draw: Draw
    ) -> Tensor:
        """``rows_SK`` where the chosen ones are drawn step by step from what is said after all before them, drawn
        ones included (Bengio et al. 2015, section 2.4)."""
        rows_SK = rows_SK.clone()
        state = [torch.zeros_like(memory.newest()).float() for _ in self.layers]
        for k in range(rows_SK.shape[1] - 1):
            below_SD = torch.cat([embed(rows_SK[:, k]), memory.newest()], dim=-1)
            for i, layer in enumerate(self.layers):
                assert isinstance(layer, GRULayer)
                below_SD = state[i] = layer.step(below_SD, state[i]).float()
            which_N = chosen_SK[:, k + 1].nonzero()[:, 0]
            if len(which_N):
                part = EncoderStates(memory.states_BTD, memory.row_S[which_N], memory.last_S[which_N])
                said_ND = self.output(below_SD[which_N][:, None], part)[:, 0]
                rows_SK[which_N, k + 1] = draw(said_ND, which_N, k + 1)
        return rows_SK


class CrossAttention(nn.Module):
    """Each step of a stretch looks at the states its memory allows (Vaswani et al. 2017, section 3.2.3)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, 2 * dim)
        self.merge = nn.Linear(dim, dim)

    def forward(self, x_SKD: Tensor, memory: EncoderStates) -> Tensor:
        stretches, steps, dim = x_SKD.shape
        kv_BTD = self.project(memory.states_BTD)
        k, v = (
            part[memory.row_S].view(stretches, -1, self.heads, dim // self.heads).transpose(1, 2)
            for part in kv_BTD.chunk(2, dim=-1)
        )
        q = self.query(x_SKD).view(stretches, steps, self.heads, dim // self.heads).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=memory.visible()[:, None, None])
        return self.merge(mixed.transpose(1, 2).reshape(stretches, steps, dim))


class DecoderBlock(nn.Module):
    """A pre-norm decoder block: causal self-attention, cross-attention, feed-forward, each added to its input."""

    def __init__(self, dim: int, heads: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm_cross = nn.LayerNorm(dim)
        self.cross = CrossAttention(dim, heads)
        self.norm_inner = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.dropout = dropout

    def forward(self, x_SKD: Tensor, memory: EncoderStates) -> Tensor:
        x_SKD = x_SKD + self.dropout(self.attention(self.norm_attention(x_SKD)))
        x_SKD = x_SKD + self.dropout(self.cross(self.norm_cross(x_SKD), memory))
        inner = F.gelu(self.widen(self.norm_inner(x_SKD)), approximate="tanh")
        return x_SKD + self.dropout(self.narrow(inner))


class TransformerDecoder(nn.Module):
    """A causal transformer over what was written since the cut, with a learned vector for each step."""

    def __init__(self, config: Seq2SeqConfig, dropout: Dropout, generator: torch.Generator) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(config.horizon, config.embedding_dim))
        self.blocks = nn.ModuleList(
            DecoderBlock(config.embedding_dim, config.num_heads, dropout) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.embedding_dim)
        self.dropout = dropout
        normal_(self, generator)

    def forward(self, given_SKD: Tensor, memory: EncoderStates) -> Tensor:
        """What is said at every step, [S, K, D]; ``given_SKD`` is what was there before each."""
        x_SKD = self.dropout(given_SKD + self.position[: given_SKD.shape[1]])
        for block in self.blocks:
            x_SKD = block(x_SKD, memory)
        said: Tensor = self.norm(x_SKD)
        return said

    def free_running(
        self, embed: Embed, memory: EncoderStates, rows_SK: Tensor, chosen_SK: Tensor, draw: Draw
    ) -> Tensor:
        """``rows_SK`` where the chosen ones are drawn from what a first pass over the true events says (two passes
        instead of K: Mihaylova & Martins 2019, section 3)."""
        rows_SK = rows_SK.clone()
        said_SKD = self(embed(rows_SK), memory)
        for k in range(1, rows_SK.shape[1]):
            which_N = chosen_SK[:, k].nonzero()[:, 0]
            if len(which_N):
                rows_SK[which_N, k] = draw(said_SKD[which_N, k - 1], which_N, k)
        return rows_SK
