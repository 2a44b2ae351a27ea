"""Net of an encoder and one item table, used for inputs and outputs ("tied" or "constrained" embeddings).

The table is no parameter of the module. The trainer passes either the whole table or only the rows that a batch uses,
so that a step costs O(used rows). Shape letters as in ``layers/basic.py``; R selected rows of the table.
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
"""Name of the item table among the weights; no encoder parameter and no feature layer has this name."""


class TiedEmbeddingNet(nn.Module):
    """Scores are dot products of ``query(encoder(embed(...)))`` with ``key(table)``.

    With a temperature both sides have unit length (a cosine softmax). Without one, the table's last column is a bias
    for each item. The first ``num_input_columns`` columns are separate input embeddings and no part of the key. One
    wide row per item holds both, so that optimizers update both.
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
        """Training task of the encoder."""
        return self.encoder.task(self.length)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.table_VD.device

    @property
    def dim(self) -> int:
        """Width of an embedded event."""
        if self.num_input_columns:
            return self.num_input_columns
        return self.table_VD.shape[1] - (self.temperature is None)

    @property
    def feature_layers(self) -> dict[str, FeatureEmbeddingLayer]:
        """Feature embeddings of items and of event contexts, by name among the weights."""
        layers = {"feature embeddings": self.features, "context embeddings": self.contexts}
        return {name: layer for name, layer in layers.items() if layer is not None}

    def add_features(self, own_RD: Tensor, used: UsedFeatures | None) -> Tensor:
        """Return the item table of inputs and outputs: the given rows plus their feature embeddings, if any.

        Args:
            own_RD: selected rows of the item table.
            used: features of these items; None: no item features.

        Returns:
            [R, D].
        """
        if self.features is None or used is None:
            return own_RD
        return self.features.add(own_RD, used, self.noise if self.training else None)

    def encode_contexts(self, codes_BT: np.ndarray | None) -> tuple[UsedFeatures | None, Tensor | None]:
        """Return the distinct contexts of a batch and each event's row among them; None without contexts.

        ``codes_BT``: int, context of each event; None: the log has no contexts. The rows are int64 [B, T].
        """
        if self.contexts is None or codes_BT is None:
            return None, None
        rows_R, index = np.unique(np.append(codes_BT, 0), return_inverse=True)
        rows, index_BT = (torch.from_numpy(x.astype(np.int64)).to(self.device) for x in (rows_R, index[:-1]))
        return self.contexts.select_rows(rows), index_BT.view(codes_BT.shape)

    def context_embeddings(self, used: UsedFeatures | None, rows_BT: Tensor | None) -> Tensor | None:
        """Return the context embeddings to add to the inputs; row 0 adds zeros.

        Args:
            used: distinct contexts of the batch; None: no contexts.
            rows_BT: int64, each event's row among them; None: no contexts.

        Returns:
            [B, T, D]; None without contexts.
        """
        if self.contexts is None or used is None or rows_BT is None:
            return None
        rows_BT = self.contexts.drop_rows(rows_BT, self.noise) if self.training else rows_BT
        return F.embedding(rows_BT, used.sums())

    @torch.no_grad()
    def item_embeddings(self) -> Tensor:
        """Return the embedding of every item as exported, features included, [V, D]."""
        if self.features is None:
            return self.table_VD
        return self.features.add(self.table_VD, self.features.select_rows(None))

    def offered_items(self, counts_V: np.ndarray) -> np.ndarray | None:
        """Return the items that targets are compared with, bool [V]; None: all items.

        A net with item features excludes items without events and without an own embedding. Otherwise it would learn
        low scores for features of items that no user could interact with.
        """
        if self.features is None:
            return None
        offered_V: np.ndarray = (counts_V > 0) | self.table_VD.any(dim=1).cpu().numpy()
        return offered_V

    def embed(self, table_RD: Tensor, rows_BT: Tensor, context_embeddings_BTD: Tensor | None = None) -> Tensor:
        """Return the input embeddings of events.

        Args:
            table_RD: selected rows of the item table.
            rows_BT: int64, row of each event.
            context_embeddings_BTD: embeddings to add; None: no contexts.

        Returns:
            [B, T, D].
        """
        if self.num_input_columns:
            table_RD = table_RD[:, : self.num_input_columns]
        elif self.temperature is None:
            table_RD = table_RD[:, :-1]
        embedded_BTD = F.embedding(rows_BT, table_RD)
        return embedded_BTD if context_embeddings_BTD is None else embedded_BTD + context_embeddings_BTD

    def add_time_embeddings(self, x_BTD: Tensor, times_BS: Tensor | None) -> Tensor:
        """Return the input embeddings plus the time embeddings of the events, if the net has time inputs.

        Args:
            x_BTD: input embeddings.
            times_BS: int64 [B, T + 1], UTC microseconds of the inputs and of the target; None: unknown.

        Returns:
            [B, T, D].
        """
        if self.encoder.time_embedding is None:
            return x_BTD
        if times_BS is None:
            times_BS = torch.full((x_BTD.shape[0], x_BTD.shape[1] + 1), NO_TIME, device=x_BTD.device)
        return x_BTD + self.encoder.time_embedding(times_BS[:, :-1])

    def target_states(self, table_RD: Tensor, batch: EncoderBatch) -> Tensor:
        """Return the hidden state at every target position.

        Args:
            table_RD: selected rows of the item table, features included.
            batch: the batch.

        Returns:
            [N, D].
        """
        x_BTD = self.add_time_embeddings(
            self.embed(table_RD, batch.inputs_BT, batch.context_embeddings_BTD), batch.times_BS
        )
        return self.encoder.target_states(x_BTD, batch)

    def query(self, hidden_ND: Tensor) -> Tensor:
        """Return the queries of hidden states: normalized and divided by the temperature, or with a 1 for the bias."""
        if self.temperature is not None:
            return F.normalize(hidden_ND, dim=-1) / self.temperature
        return torch.cat([hidden_ND, hidden_ND.new_ones(*hidden_ND.shape[:-1], 1)], dim=-1)

    def key(self, table_RD: Tensor) -> Tensor:
        """Return the keys of table rows: output embeddings, normalized with a temperature."""
        own_RD = table_RD[:, self.num_input_columns :]
        return F.normalize(own_RD, dim=-1) if self.temperature is not None else own_RD

    def last_state(
        self,
        table_VD: Tensor,
        items_BT: Tensor,
        last_B: Tensor,
        context_embeddings_BTD: Tensor | None = None,
        times_BS: Tensor | None = None,
    ) -> Tensor:
        """Return the hidden state after each row's last event.

        Args:
            table_VD: item table, features included.
            items_BT: int64, item indices, oldest first and padding at the end.
            last_B: int64, column of each row's last event.
            context_embeddings_BTD: embeddings to add to the inputs; None: no contexts.
            times_BS: int64 [B, T + 1], UTC microseconds of the inputs and of the target; None: unknown.

        Returns:
            [B, D].
        """
        x_BTD = self.add_time_embeddings(self.embed(table_VD, items_BT, context_embeddings_BTD), times_BS)
        return self.encoder.last_state(x_BTD, last_B, times_BS)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of all trained weights by name."""
        weights = {name: value.detach().clone() for name, value in self.encoder.state_dict().items()}
        weights |= {name: layer.embeddings_FD.clone() for name, layer in self.feature_layers.items()}
        return {**weights, TABLE: self.table_VD.clone()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Restore weights that ``weights`` returned."""
        self.table_VD.copy_(weights[TABLE])
        for name, layer in self.feature_layers.items():
            layer.embeddings_FD.copy_(weights[name])
        not_encoder = (TABLE, *self.feature_layers)
        self.encoder.load_state_dict({name: value for name, value in weights.items() if name not in not_encoder})

    @torch.no_grad()
    def queries(self, histories: Sequences, table_VD: Tensor | None = None) -> np.ndarray:
        """Return the query after each whole history; the zero vector for an empty history.

        Rows of similar length are encoded together, at most 16k events at a time.

        Args:
            histories: event histories.
            table_VD: ``item_embeddings()``, if the caller has them; None: computed here.

        Returns:
            float32 [B, D], or [B, D + 1] without a temperature.
        """
        table_VD = self.item_embeddings() if table_VD is None else table_VD
        was_training = self.training
        self.eval()
        contexts_CD = None
        if self.contexts is not None and histories.contexts is not None:
            contexts_CD = self.contexts.embed_table(histories.contexts.features)
        recent = histories.drop_unknown().tail(self.length)
        lengths = recent.lengths
        order = np.argsort(-lengths, kind="stable")
        order = order[lengths[order] > 0]
        out = np.zeros((len(histories), self.key(self.table_VD[:1]).shape[1]), dtype=np.float32)
        start = 0
        while start < len(order):
            width = int(lengths[order[start]])
            rows = order[start : start + max(1, 16384 // width)]
            chosen = recent.take(rows)
            items_BT = torch.from_numpy(chosen.padded(align="left").astype(np.int64)).to(self.device)
            last_B = torch.from_numpy(lengths[rows] - 1).to(self.device)
            context_embeddings_BTD, contexts_BT = None, context_codes(chosen)
            if contexts_CD is not None and contexts_BT is not None:
                context_embeddings_BTD = contexts_CD[torch.from_numpy(contexts_BT.astype(np.int64)).to(self.device)]
            times_BS = (
                torch.from_numpy(event_times(chosen, width)).to(self.device) if self.encoder.uses_target_times else None
            )
            hidden_BD = self.last_state(table_VD, items_BT, last_B, context_embeddings_BTD, times_BS)
            out[rows] = self.query(hidden_BD.float()).cpu().numpy()
            start += len(rows)
        self.train(was_training)
        return out


class TorchScorer:
    """Scorer of a net in training, for validation only. The server runs the exported model."""

    def __init__(self, net: TiedEmbeddingNet) -> None:
        self.net = net

    @property
    def name(self) -> str:
        """See `Scorer`."""
        return "net"

    @property
    def size(self) -> int:
        """See `Scorer`."""
        return len(self.net.table_VD)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the current weights. Models are saved from the exported scorer instead."""
        return {name: value.cpu().numpy() for name, value in self.net.state_dict().items()}

    def scores(self, histories: Sequences) -> np.ndarray:
        """See `Scorer.scores`."""
        table_VD = self.net.item_embeddings()
        scores: np.ndarray = self.net.queries(histories, table_VD) @ self.net.key(table_VD).cpu().numpy().T
        return scores
