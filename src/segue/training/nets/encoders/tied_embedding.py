"""An encoder and the one item table it reads from and writes to ("tied" or "constrained" embeddings).

The table is no parameter of the module: the trainer hands in either the whole table or only the rows that a batch
touches, so that a step never costs a catalog. Shape letters as in ``layers.py``; R rows at hand.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.sequences import NO_TIME, Sequences
from segue.models.neural.time_features import event_times
from segue.training.nets.encoders.encoder import EncoderBatch, SequenceEncoder
from segue.training.nets.layers.basic import DropoutRng
from segue.training.nets.layers.feature_embedding import FeatureEmbeddingLayer, UsedFeatures
from segue.training.tasks import Task, context_codes

TABLE = "table"
"""Name of the item table among the weights; no parameter of an encoder has it, nor those of ``TiedNet.sides``."""


class TiedEmbeddingNet(nn.Module):
    """Scores are dot products of ``query(encoder(embed(...)))`` with ``key(table)``.

    With a temperature both sides have unit length (a cosine softmax); without one, the table's last column is a bias
    for each item. The first ``inputs`` columns, where there are any, are what an item enters by and no part of its key
    ("separate" embeddings): one wide row an item, so that all that is done to rows is done to both.
    """

    def __init__(
        self,
        encoder: SequenceEncoder,
        noise: DropoutRng,
        table_VD: Tensor,
        *,
        temperature: float | None,
        length: int,
        features: FeatureEmbeddingLayer | None = None,
        contexts: FeatureEmbeddingLayer | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.noise = noise
        self.table_VD: Tensor
        self.register_buffer("table_VD", table_VD)
        self.temperature = temperature
        self.length = length
        self.features = features
        self.contexts = contexts
        self.num_input_columns = encoder.num_input_columns

    @property
    def task(self) -> Task:
        """What the net is asked in training."""
        return self.encoder.task(self.length)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.table_VD.device

    @property
    def dim(self) -> int:
        """The width of an embedded event."""
        if self.num_input_columns:
            return self.num_input_columns
        return self.table_VD.shape[1] - (self.temperature is None)

    @property
    def feature_layers(self) -> dict[str, FeatureEmbeddingLayer]:
        """What is learned from besides events: facts about items, and about the circumstances of events."""
        found = {"feature vectors": self.features, "context vectors": self.contexts}
        return {name: side for name, side in found.items() if side is not None}

    def items(self, own_RD: Tensor, touched: UsedFeatures | None) -> Tensor:
        """The table that inputs and outputs both use: rows as they are, or with their features' vectors added."""
        if self.features is None or touched is None:
            return own_RD
        return self.features.add(own_RD, touched, self.noise if self.training else None)

    def around(self, codes_BT: np.ndarray | None) -> tuple[UsedFeatures | None, Tensor | None]:
        """(the contexts of a batch, int64 [B, T] which of them each event has); None where there are none."""
        if self.contexts is None or codes_BT is None:
            return None, None
        rows_R, where = np.unique(np.append(codes_BT, 0), return_inverse=True)
        rows, place = (torch.from_numpy(x.astype(np.int64)).to(self.device) for x in (rows_R, where[:-1]))
        return self.contexts.at(rows), place.view(codes_BT.shape)

    def added(self, touched: UsedFeatures | None, rows_BT: Tensor | None) -> Tensor | None:
        """[B, T, D]: what contexts, rows of those at hand, add to the inputs' vectors. Row 0 adds nothing."""
        if self.contexts is None or touched is None or rows_BT is None:
            return None
        rows_BT = self.contexts.kept(rows_BT, self.noise) if self.training else rows_BT
        return F.embedding(rows_BT, touched.sums())

    @torch.no_grad()
    def item_embeddings(self) -> Tensor:
        """[V, D]: every item as it is served."""
        if self.features is None:
            return self.table_VD
        return self.features.add(self.table_VD, self.features.at(None))

    def offered_items(self, counts_V: np.ndarray) -> np.ndarray | None:
        """bool [V]: the items that targets are compared with; None: all of them. A net that learns from features must
        not learn that what nobody could take is not taken: such an item has no event and nothing of its own."""
        if self.features is None:
            return None
        offered_V: np.ndarray = (counts_V > 0) | self.table_VD.any(dim=1).cpu().numpy()
        return offered_V

    def embed(self, table_RD: Tensor, rows_BT: Tensor, added_BTD: Tensor | None = None) -> Tensor:
        """The input vectors of events."""
        if self.num_input_columns:
            table_RD = table_RD[:, : self.num_input_columns]
        elif self.temperature is None:
            table_RD = table_RD[:, :-1]
        vectors = F.embedding(rows_BT, table_RD)
        return vectors if added_BTD is None else vectors + added_BTD

    def timed(self, x_BTD: Tensor, times_BS: Tensor | None) -> Tensor:
        """The input vectors with what the events' times add, where the net looks at that."""
        if self.encoder.clock is None:
            return x_BTD
        if times_BS is None:
            times_BS = torch.full((x_BTD.shape[0], x_BTD.shape[1] + 1), NO_TIME, device=x_BTD.device)
        return x_BTD + self.encoder.clock(times_BS[:, :-1])

    def states(self, table_RD: Tensor, steps: EncoderBatch) -> Tensor:
        """[N, D]: the state at every position that is asked."""
        x_BTD = self.timed(self.embed(table_RD, steps.inputs_BT, steps.added_BTD), steps.times_BS)
        return self.encoder.states(x_BTD, steps)

    def query(self, hidden_ND: Tensor) -> Tensor:
        """States as they enter the dot product."""
        if self.temperature is not None:
            return F.normalize(hidden_ND, dim=-1) / self.temperature
        return torch.cat([hidden_ND, hidden_ND.new_ones(*hidden_ND.shape[:-1], 1)], dim=-1)

    def key(self, table_RD: Tensor) -> Tensor:
        """Table rows as they enter the dot product."""
        own_RD = table_RD[:, self.num_input_columns :]
        return F.normalize(own_RD, dim=-1) if self.temperature is not None else own_RD

    def newest(
        self,
        table_VD: Tensor,
        items_BT: Tensor,
        last_B: Tensor,
        added_BTD: Tensor | None = None,
        times_BS: Tensor | None = None,
    ) -> Tensor:
        """[B, D]: the state after each row's newest event, which is in column ``last_B``."""
        x_BTD = self.timed(self.embed(table_VD, items_BT, added_BTD), times_BS)
        return self.encoder.newest(x_BTD, last_B, times_BS)

    def weights(self) -> dict[str, Tensor]:
        """A copy of everything that is learned, by name."""
        found = {name: value.detach().clone() for name, value in self.encoder.state_dict().items()}
        found |= {name: side.vectors_FD.clone() for name, side in self.feature_layers.items()}
        return {**found, TABLE: self.table_VD.clone()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Takes back what ``weights`` gave."""
        self.table_VD.copy_(weights[TABLE])
        for name, side in self.feature_layers.items():
            side.vectors_FD.copy_(weights[name])
        others = (TABLE, *self.feature_layers)
        self.encoder.load_state_dict({name: value for name, value in weights.items() if name not in others})

    @torch.no_grad()
    def queries(self, histories: Sequences, table_VD: Tensor | None = None) -> np.ndarray:
        """float32 [B, D] or [B, D + 1]: the query after each whole history; the zero vector after an empty one.

        Rows of like length are encoded together, at most 16k events at a time. ``table_VD``: ``whole()``, where the
        caller has it at hand.
        """
        table_VD = self.item_embeddings() if table_VD is None else table_VD
        was_training = self.training
        self.eval()
        told_CD = None
        if self.contexts is not None and histories.contexts is not None:
            told_CD = self.contexts.rows_of(histories.contexts.features)
        newest = histories.drop_unknown().tail(self.length)
        lengths = newest.lengths
        order = np.argsort(-lengths, kind="stable")
        order = order[lengths[order] > 0]
        out = np.zeros((len(histories), self.key(self.table_VD[:1]).shape[1]), dtype=np.float32)
        start = 0
        while start < len(order):
            width = int(lengths[order[start]])
            rows = order[start : start + max(1, 16384 // width)]
            chosen = newest.take(rows)
            items_BT = torch.from_numpy(chosen.padded(align="left").astype(np.int64)).to(self.device)
            last_B = torch.from_numpy(lengths[rows] - 1).to(self.device)
            added_BTD, contexts_BT = None, context_codes(chosen)
            if told_CD is not None and contexts_BT is not None:
                added_BTD = told_CD[torch.from_numpy(contexts_BT.astype(np.int64)).to(self.device)]
            times_BS = (
                torch.from_numpy(event_times(chosen, width)).to(self.device) if self.encoder.uses_target_times else None
            )
            hidden_BD = self.newest(table_VD, items_BT, last_B, added_BTD, times_BS)
            out[rows] = self.query(hidden_BD.float()).cpu().numpy()
            start += len(rows)
        self.train(was_training)
        return out


class TorchScorer:
    """A net under training as a scorer, for validation only; what is served is its exported twin."""

    def __init__(self, net: TiedEmbeddingNet) -> None:
        self.net = net

    @property
    def name(self) -> str:
        return "net"

    @property
    def size(self) -> int:
        return len(self.net.table_VD)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights as they are now; saving goes through ``export``."""
        return {name: value.cpu().numpy() for name, value in self.net.state_dict().items()}

    def scores(self, histories: Sequences) -> np.ndarray:
        table_VD = self.net.item_embeddings()
        scores: np.ndarray = self.net.queries(histories, table_VD) @ self.net.key(table_VD).cpu().numpy().T
        return scores
