"""An encoder and a decoder with attention, in torch: read a history, write what comes next, step by step.

A window is encoded once; from each of its cuts the decoder writes the events up to the next cut, looking at the
encoder's states up to the cut alone. Shape letters as in ``layers.py``, and S stretches between cuts, K steps, N
targets, R table rows at hand.
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
    """The encoder ("reader") and the decoder ("writer") of one Seq2Seq net."""

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
    """Where a batch's targets lie between cuts: row ``row_S``, columns ``first_S`` to ``first_S`` + K - 1 at most."""

    row_S: Tensor
    first_S: Tensor
    column_SK: Tensor
    inside_SK: Tensor
    """bool: whether that step is asked; these, row by row, are the N targets in the batch's order."""

    @classmethod
    def between(cls, asked_BT: Tensor, cuts_B: Tensor, horizon: int) -> "TargetSequences":
        """See ``NextSteps``: a cut at column 0, at ``cuts_B``, and at every ``horizon`` columns behind."""
        width = asked_BT.shape[1]
        column_T = torch.arange(width, device=asked_BT.device)
        behind_BT = column_T - cuts_B[:, None]
        begins_BT = asked_BT & ((column_T == 0) | ((behind_BT >= 0) & (behind_BT % horizon == 0)))
        row_S, first_S = begins_BT.nonzero(as_tuple=True)
        cut_S = cuts_B[row_S]
        stop_S = torch.where(first_S < cut_S, cut_S, first_S + horizon).clamp(max=width)
        column_SK = first_S[:, None] + torch.arange(horizon, device=asked_BT.device)
        inside_SK = column_SK < stop_S[:, None]
        column_SK = column_SK.clamp(max=width - 1)
        return cls(row_S, first_S, column_SK, inside_SK & asked_BT[row_S[:, None], column_SK])


class Seq2SeqNet(TiedEmbeddingNet):
    """The net around one item table, which feeds the reader and the writer, and which the writer is compared with."""

    def __init__(
        self,
        encoder: Seq2SeqEncoder,
        noise: DropoutRng,
        table_VD: Tensor,
        config: Seq2SeqConfig,
        **sides: FeatureEmbeddingLayer | None,
    ) -> None:
        length, temperature = config.max_length, config.temperature
        super().__init__(encoder, noise, table_VD, temperature=temperature, length=length, **sides)
        self.encoder: Seq2SeqEncoder = encoder
        self.config = config

    @property
    def task(self) -> Task:
        """Several steps from cuts."""
        return NextItemsTask(self.length, self.config.horizon)

    def states(self, table_RD: Tensor, steps: EncoderBatch) -> Tensor:
        """[N, D]: what the writer says at every step that is asked.

        It is given the true events before ("teacher forcing"), of which a share that rises with the training is
        replaced by what it would have written itself ("scheduled sampling").
        """
        assert steps.cuts_B is not None
        between = TargetSequences.between(steps.is_target_BT, steps.cuts_B, self.config.horizon)
        x_BTD = self.embed(table_RD, steps.inputs_BT, steps.added_BTD)
        states_BTD = self.encoder.reader(x_BTD)
        memory = EncoderStates(states_BTD, between.row_S, between.first_S)
        rows_SK = torch.where(between.inside_SK, steps.inputs_BT[between.row_S[:, None], between.column_SK], 0)
        share = self.config.scheduled_sampling * steps.done
        if share > 0 and self.training:
            rows_SK = self._own(table_RD, memory, rows_SK, between.inside_SK, share)
        given_SKD = self.embed(table_RD, rows_SK)
        if steps.added_BTD is not None:  # known of the event that was read last, not of those that are written
            given_SKD = torch.cat([x_BTD[between.row_S, between.first_S][:, None], given_SKD[:, 1:]], dim=1)
        written_SKD: Tensor = self.encoder.writer(given_SKD, memory)
        return written_SKD[between.inside_SK]

    @torch.no_grad()
    def _own(self, table_RD: Tensor, memory: EncoderStates, rows_SK: Tensor, inside_SK: Tensor, share: float) -> Tensor:
        """``rows_SK`` with a ``share`` of its events, but for each stretch's first, drawn from the net itself."""
        uniform = self.uniform(2 * rows_SK.numel()).view(2, *rows_SK.shape)
        chosen_SK = inside_SK & (uniform[0] < share)
        chosen_SK[:, 0] = False
        keys_RD = self.key(table_RD)

        def draw(said_ND: Tensor, stretches_N: Tensor, step: int) -> Tensor:
            scores_NR = self.query(said_ND.float()) @ keys_RD.T
            scores_NR[:, 0] = -torch.inf
            mass_NR = scores_NR.softmax(1).cumsum(1)
            aim_N1 = uniform[1][stretches_N, step, None] * mass_NR[:, -1:]
            return torch.searchsorted(mass_NR, aim_N1, right=True)[:, 0].clamp(max=len(keys_RD) - 1)

        def embed(rows: Tensor) -> Tensor:
            return self.embed(table_RD, rows)

        self.encoder.eval()
        own_SK: Tensor = self.encoder.writer.free_running(embed, memory, rows_SK, chosen_SK, draw)
        self.encoder.train()
        return own_SK

    def uniform(self, count: int) -> Tensor:
        """``count`` numbers in [0, 1) from the net's noise: they repeat with the step."""
        return (self.noise.bytes(4 * count).view(torch.int32) & 0xFFFFFF).float() / float(1 << 24)

    def newest(
        self,
        table_VD: Tensor,
        items_BT: Tensor,
        last_B: Tensor,
        added_BTD: Tensor | None = None,
        times_BS: Tensor | None = None,
    ) -> Tensor:
        """[B, D]: what the writer says first, after each row's newest event, which is in column ``last_B``."""
        x_BTD = self.embed(table_VD, items_BT, added_BTD)
        states_BTD = self.encoder.reader(x_BTD)
        row_B = torch.arange(len(last_B), device=self.device)
        given_BKD = x_BTD[row_B, last_B][:, None]
        first_BKD: Tensor = self.encoder.writer(given_BKD, EncoderStates(states_BTD, row_B, last_B))
        return first_BKD[:, 0]
