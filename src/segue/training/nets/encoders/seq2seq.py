"""Torch encoder-decoder with attention: encode a history, decode the next items step by step.

A window is encoded once. From each of its cuts the decoder predicts the events up to the next cut, and attends to the
encoder states up to the cut alone. Shape letters as in ``layers/basic.py``; S segments between cuts, K steps, N
targets, R selected table rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.training.nets.encoders.decoders import EncoderStates, GRUDecoder, TransformerDecoder
from segue.training.nets.encoders.encoder import EncoderBatch, SequenceEncoder
from segue.training.nets.encoders.gru4rec import GRU4RecEncoder
from segue.training.nets.encoders.sasrec import SASRecEncoder
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.nets.layers.basic import Dropout, DropoutRng
from segue.training.nets.layers.feature_embedding import FeatureEmbeddingLayer
from segue.training.tasks import NextItemsTask, Task


class Seq2SeqEncoder(SequenceEncoder):
    """Encoder (``reader``) and decoder (``writer``) of one Seq2Seq net."""

    def __init__(self, config: Seq2SeqConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        dim, layers, length, dropout = config.embedding_dim, config.num_layers, config.max_length, config.dropout
        self.reader: SequenceEncoder
        if config.encoder_type == "gru":
            gru = GRU4RecConfig(embedding_dim=dim, num_layers=layers, max_length=length, dropout_hidden=dropout)
            self.reader = GRU4RecEncoder(gru, noise, generator)
        else:
            sasrec = SASRecConfig(
                embedding_dim=dim, num_layers=layers, max_length=length, num_heads=config.num_heads, dropout=dropout
            )
            self.reader = SASRecEncoder(sasrec, noise, generator)
        writer = GRUDecoder if config.decoder_type == "gru" else TransformerDecoder
        self.writer: GRUDecoder | TransformerDecoder = writer(config, Dropout(dropout, noise), generator)


@dataclass(frozen=True)
class TargetSequences:
    """Segments of targets between cuts: row ``row_S``, columns ``first_S`` to ``first_S`` + K - 1 at most."""

    row_S: Tensor
    first_S: Tensor
    column_SK: Tensor
    is_target_SK: Tensor
    """bool: the step has a target. Row by row, these are the N targets in the batch's order."""

    @classmethod
    def between_cuts(cls, is_target_BT: Tensor, cuts_B: Tensor, horizon: int) -> "TargetSequences":
        """Return the segments of a batch; see ``NextItemsTask``.

        Cuts are at column 0, at ``cuts_B``, and at every ``horizon`` columns after it.

        Args:
            is_target_BT: bool, positions with a target.
            cuts_B: int64, each row's first cut.
            horizon: number of steps from a cut.
        """
        width = is_target_BT.shape[1]
        column_T = torch.arange(width, device=is_target_BT.device)
        offset_BT = column_T - cuts_B[:, None]
        is_first_BT = is_target_BT & ((column_T == 0) | ((offset_BT >= 0) & (offset_BT % horizon == 0)))
        row_S, first_S = is_first_BT.nonzero(as_tuple=True)
        cut_S = cuts_B[row_S]
        stop_S = torch.where(first_S < cut_S, cut_S, first_S + horizon).clamp(max=width)
        column_SK = first_S[:, None] + torch.arange(horizon, device=is_target_BT.device)
        inside_SK = column_SK < stop_S[:, None]
        column_SK = column_SK.clamp(max=width - 1)
        return cls(row_S, first_S, column_SK, inside_SK & is_target_BT[row_S[:, None], column_SK])


class Seq2SeqNet(TiedEmbeddingNet):
    """Encoder-decoder around one item table, which embeds the inputs of both and holds the keys of the outputs."""

    def __init__(
        self,
        encoder: Seq2SeqEncoder,
        noise: DropoutRng,
        table_VD: Tensor,
        config: Seq2SeqConfig,
        **feature_layers: FeatureEmbeddingLayer | None,
    ) -> None:
        length, temperature = config.max_length, config.temperature
        super().__init__(encoder, noise, table_VD, temperature=temperature, length=length, **feature_layers)
        self.encoder: Seq2SeqEncoder = encoder
        self.config = config

    @property
    def task(self) -> Task:
        """Prediction of several steps from cuts."""
        return NextItemsTask(self.length, self.config.horizon)

    def target_states(self, table_RD: Tensor, batch: EncoderBatch) -> Tensor:
        """Return the decoder output at every target.

        Inputs are the true events before ("teacher forcing"). A share of them is replaced by samples from the decoder
        ("scheduled sampling"). It grows linearly over the training.

        Args:
            table_RD: selected rows of the item table, features included.
            batch: the batch.

        Returns:
            [N, D].
        """
        assert batch.cuts_B is not None
        segments = TargetSequences.between_cuts(batch.is_target_BT, batch.cuts_B, self.config.horizon)
        x_BTD = self.embed(table_RD, batch.inputs_BT, batch.context_embeddings_BTD)
        states_BTD = self.encoder.reader(x_BTD)
        memory = EncoderStates(states_BTD, segments.row_S, segments.first_S)
        rows_SK = torch.where(segments.is_target_SK, batch.inputs_BT[segments.row_S[:, None], segments.column_SK], 0)
        share = self.config.scheduled_sampling * batch.progress
        if share > 0 and self.training:
            rows_SK = self._sample_inputs(table_RD, memory, rows_SK, segments.is_target_SK, share)
        inputs_SKD = self.embed(table_RD, rows_SK)
        if batch.context_embeddings_BTD is not None:  # the last encoded event has a context, decoded events have none
            inputs_SKD = torch.cat([x_BTD[segments.row_S, segments.first_S][:, None], inputs_SKD[:, 1:]], dim=1)
        output_SKD: Tensor = self.encoder.writer(inputs_SKD, memory)
        return output_SKD[segments.is_target_SK]

    @torch.no_grad()
    def _sample_inputs(
        self, table_RD: Tensor, memory: EncoderStates, rows_SK: Tensor, is_target_SK: Tensor, share: float
    ) -> Tensor:
        """Replace a ``share`` of the events, except each segment's first, by samples from the net itself."""
        uniform = self.uniform(2 * rows_SK.numel()).view(2, *rows_SK.shape)
        is_sampled_SK = is_target_SK & (uniform[0] < share)
        is_sampled_SK[:, 0] = False
        keys_RD = self.key(table_RD)

        def sample(output_ND: Tensor, segments_N: Tensor, step: int) -> Tensor:
            scores_NR = self.query(output_ND.float()) @ keys_RD.T
            scores_NR[:, 0] = -torch.inf
            cumulative_NR = scores_NR.softmax(1).cumsum(1)
            threshold_N1 = uniform[1][segments_N, step, None] * cumulative_NR[:, -1:]
            return torch.searchsorted(cumulative_NR, threshold_N1, right=True)[:, 0].clamp(max=len(keys_RD) - 1)

        def embed(rows: Tensor) -> Tensor:
            return self.embed(table_RD, rows)

        self.encoder.eval()
        sampled_SK: Tensor = self.encoder.writer.free_running(embed, memory, rows_SK, is_sampled_SK, sample)
        self.encoder.train()
        return sampled_SK

    def uniform(self, count: int) -> Tensor:
        """Return ``count`` numbers in [0, 1), float32, from the dropout generator, so that a step can be repeated."""
        return (self.noise.bytes(4 * count).view(torch.int32) & 0xFFFFFF).float() / float(1 << 24)

    def last_state(
        self,
        table_VD: Tensor,
        items_BT: Tensor,
        last_B: Tensor,
        context_embeddings_BTD: Tensor | None = None,
        times_BS: Tensor | None = None,
    ) -> Tensor:
        """See `TiedEmbeddingNet.last_state`. The first output of the decoder."""
        x_BTD = self.embed(table_VD, items_BT, context_embeddings_BTD)
        states_BTD = self.encoder.reader(x_BTD)
        row_B = torch.arange(len(last_B), device=self.device)
        inputs_BKD = x_BTD[row_B, last_B][:, None]
        first_BKD: Tensor = self.encoder.writer(inputs_BKD, EncoderStates(states_BTD, row_B, last_B))
        return first_BKD[:, 0]
