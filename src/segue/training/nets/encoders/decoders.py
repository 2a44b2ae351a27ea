"""Decoders over the states of an encoder: a GRU with Luong's attention, a transformer with cross-attention.

Shape letters as in ``layers/basic.py``; S segments that are decoded in parallel, K steps of each, N of their steps.
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
"""Table rows of any shape -> their embeddings."""
Sample = Callable[[Tensor, Tensor, int], Tensor]
"""(decoder outputs [N, D]; their segments, int64 [N]; step of the samples) -> sampled table rows, int64 [N]."""


@dataclass(frozen=True)
class EncoderStates:
    """Encoder states that each segment s attends to: row ``row_S[s]``, up to column ``last_S[s]``."""

    states_BTD: Tensor
    row_S: Tensor
    last_S: Tensor

    def visible(self) -> Tensor:
        """Return the columns that each segment may attend to, bool [S, T]."""
        return torch.arange(self.states_BTD.shape[1], device=self.last_S.device) <= self.last_S[:, None]

    def last(self) -> Tensor:
        """Return the last visible state of each segment, [S, D]."""
        return self.states_BTD[self.row_S, self.last_S]


class GRULayer(nn.Module):
    """GRU layer with inputs of any width; gates in the order reset, update, candidate."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(3 * dim, inputs))
        self.state = nn.Parameter(torch.empty(3 * dim, dim))
        self.input_bias = nn.Parameter(torch.empty(3 * dim))
        self.state_bias = nn.Parameter(torch.empty(3 * dim))

    def forward(self, x_KSI: Tensor) -> Tensor:
        """Return the states after all steps from a zero state, [K, S, D]."""
        dtype = torch.bfloat16 if torch.is_autocast_enabled(x_KSI.device.type) else torch.float32
        states_KSD: Tensor = GRUFunction.apply(
            x_KSI.float().contiguous(), self.input, self.state, self.input_bias, self.state_bias, dtype
        )
        return states_KSD

    def step(self, x_SI: Tensor, state_SD: Tensor) -> Tensor:
        """Return the next state, [S, D]; equations in ``layers/gru_autograd.py``.

        Args:
            x_SI: inputs.
            state_SD: current state.
        """
        from_input = F.linear(x_SI, self.input, self.input_bias).chunk(3, dim=1)
        from_state = F.linear(state_SD, self.state, self.state_bias).chunk(3, dim=1)
        reset_SD, update_SD = ((a + b).sigmoid() for a, b in zip(from_input[:2], from_state[:2], strict=True))
        candidate_SD = (from_input[2] + reset_SD * from_state[2]).tanh()
        return candidate_SD + update_SD * (state_SD - candidate_SD)


class GRUDecoder(nn.Module):
    """GRU decoder with global attention.

    h_t = GRU(h_t-1, [y_t-1; s]), where s is the last encoder state, an input of every step (Cho et al. 2014, eq. 2).
    Attention weights are the softmax of h_t W e over the encoder states e ("general", Luong et al. 2015, eqs. 7-8).
    With their weighted mean c_t, the output is tanh(W_c [c_t; h_t]) (eq. 5).

    Differs: attention does not enter the recurrence (no "input feeding"), so that all its steps are one call.
    """

    def __init__(self, config: Seq2SeqConfig, dropout: Dropout, generator: torch.Generator) -> None:
        super().__init__()
        dim = config.embedding_dim
        self.layers = nn.ModuleList(GRULayer(2 * dim if i == 0 else dim, dim) for i in range(config.num_layers))
        self.match = nn.Linear(dim, dim, bias=False)
        self.merge = nn.Linear(2 * dim, dim)
        self.dropout = dropout
        xavier_uniform_(self, generator)

    def forward(self, inputs_SKD: Tensor, memory: EncoderStates) -> Tensor:
        """Return the output at every step.

        Args:
            inputs_SKD: embedded event before each step.
            memory: encoder states to attend to.

        Returns:
            [S, K, D].
        """
        summary_SKD = memory.last()[:, None].expand(-1, inputs_SKD.shape[1], -1)
        below_KSD = torch.cat([inputs_SKD, summary_SKD], dim=-1).transpose(0, 1)
        for layer in self.layers:
            below_KSD = self.dropout(layer(below_KSD))
        return self.output(below_KSD.transpose(0, 1), memory)

    def output(self, state_SKD: Tensor, memory: EncoderStates) -> Tensor:
        """Return the output of attention over the encoder states.

        Args:
            state_SKD: states of the GRU.
            memory: encoder states to attend to.

        Returns:
            [S, K, D].
        """
        keys_STD = self.match(memory.states_BTD)[memory.row_S]
        score_SKT = (state_SKD @ keys_STD.transpose(1, 2)).float()
        weight_SKT = score_SKT.masked_fill(~memory.visible()[:, None], -torch.inf).softmax(2)
        context_SKD = weight_SKT @ memory.states_BTD[memory.row_S].float()
        output: Tensor = self.merge(torch.cat([context_SKD, state_SKD], dim=-1)).tanh()
        return output

    def free_running(
        self, embed: Embed, memory: EncoderStates, rows_SK: Tensor, is_sampled_SK: Tensor, sample: Sample
    ) -> Tensor:
        """Replace inputs by samples step by step, each after the samples before it.

        Source: Bengio et al. 2015, section 2.4.

        Args:
            embed: embeds table rows.
            memory: encoder states to attend to.
            rows_SK: int64, table row of the true event before each step.
            is_sampled_SK: bool, events to replace.
            sample: samples table rows from outputs.

        Returns:
            int64 [S, K]: ``rows_SK`` with the samples.
        """
        rows_SK = rows_SK.clone()
        state = [torch.zeros_like(memory.last()).float() for _ in self.layers]
        for k in range(rows_SK.shape[1] - 1):
            below_SD = torch.cat([embed(rows_SK[:, k]), memory.last()], dim=-1)
            for i, layer in enumerate(self.layers):
                assert isinstance(layer, GRULayer)
                below_SD = state[i] = layer.step(below_SD, state[i]).float()
            sampled_N = is_sampled_SK[:, k + 1].nonzero()[:, 0]
            if len(sampled_N):
                selected = EncoderStates(memory.states_BTD, memory.row_S[sampled_N], memory.last_S[sampled_N])
                output_ND = self.output(below_SD[sampled_N][:, None], selected)[:, 0]
                rows_SK[sampled_N, k + 1] = sample(output_ND, sampled_N, k + 1)
        return rows_SK


class CrossAttention(nn.Module):
    """Multi-head attention from each step to the visible encoder states (Vaswani et al. 2017, section 3.2.3)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, 2 * dim)
        self.merge = nn.Linear(dim, dim)

    def forward(self, x_SKD: Tensor, memory: EncoderStates) -> Tensor:
        """Return the output at every step.

        Args:
            x_SKD: inputs of the layer.
            memory: encoder states to attend to.

        Returns:
            [S, K, D].
        """
        segments, steps, dim = x_SKD.shape
        kv_BTD = self.project(memory.states_BTD)
        k, v = (
            part[memory.row_S].view(segments, -1, self.heads, dim // self.heads).transpose(1, 2)
            for part in kv_BTD.chunk(2, dim=-1)
        )
        q = self.query(x_SKD).view(segments, steps, self.heads, dim // self.heads).transpose(1, 2)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=memory.visible()[:, None, None])
        return self.merge(attended.transpose(1, 2).reshape(segments, steps, dim))


class DecoderBlock(nn.Module):
    """Pre-norm decoder block: causal self-attention, cross-attention, feed-forward net, each added to its input."""

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
        """Return the output at every step.

        Args:
            x_SKD: inputs of the layer.
            memory: encoder states to attend to.

        Returns:
            [S, K, D].
        """
        x_SKD = x_SKD + self.dropout(self.attention(self.norm_attention(x_SKD)))
        x_SKD = x_SKD + self.dropout(self.cross(self.norm_cross(x_SKD), memory))
        inner = F.gelu(self.widen(self.norm_inner(x_SKD)), approximate="tanh")
        return x_SKD + self.dropout(self.narrow(inner))


class TransformerDecoder(nn.Module):
    """Causal transformer over the events of a segment, with a learned embedding for each step."""

    def __init__(self, config: Seq2SeqConfig, dropout: Dropout, generator: torch.Generator) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(config.horizon, config.embedding_dim))
        self.blocks = nn.ModuleList(
            DecoderBlock(config.embedding_dim, config.num_heads, dropout) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.embedding_dim)
        self.dropout = dropout
        normal_(self, generator)

    def forward(self, inputs_SKD: Tensor, memory: EncoderStates) -> Tensor:
        """Return the output at every step.

        Args:
            inputs_SKD: embedded event before each step.
            memory: encoder states to attend to.

        Returns:
            [S, K, D].
        """
        x_SKD = self.dropout(inputs_SKD + self.position[: inputs_SKD.shape[1]])
        for block in self.blocks:
            x_SKD = block(x_SKD, memory)
        output: Tensor = self.norm(x_SKD)
        return output

    def free_running(
        self, embed: Embed, memory: EncoderStates, rows_SK: Tensor, is_sampled_SK: Tensor, sample: Sample
    ) -> Tensor:
        """Replace inputs by samples from a first pass over the true events.

        Two passes instead of K (Mihaylova & Martins 2019, section 3).

        Args:
            embed: embeds table rows.
            memory: encoder states to attend to.
            rows_SK: int64, table row of the true event before each step.
            is_sampled_SK: bool, events to replace.
            sample: samples table rows from outputs.

        Returns:
            int64 [S, K]: ``rows_SK`` with the samples.
        """
        rows_SK = rows_SK.clone()
        output_SKD = self(embed(rows_SK), memory)
        for k in range(1, rows_SK.shape[1]):
            sampled_N = is_sampled_SK[:, k].nonzero()[:, 0]
            if len(sampled_N):
                rows_SK[sampled_N, k] = sample(output_SKD[sampled_N, k - 1], sampled_N, k)
        return rows_SK
