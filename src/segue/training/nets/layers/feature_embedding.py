"""Feature embeddings in training, summed for the rows (items or contexts) that a step uses.

Shape letters: V rows of a feature table, R selected rows, F features, M entries, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.features.encoding import FeatureEncoding, ItemFeatures
from segue.training.nets.layers.basic import DropoutRng


@dataclass(frozen=True)
class UsedFeatures:
    """Features of the selected rows, and the embeddings of these features alone."""

    rows_F: Tensor | None
    """int64: indices of these features, ascending; None: all features."""
    embeddings_FD: Tensor
    """A leaf of the autograd graph: the optimizer needs its gradient."""
    codes_M: Tensor
    """int64: feature of each entry, as a row of ``embeddings_FD``."""
    offsets_R: Tensor
    """int64: first entry of each selected row."""
    weights_M: Tensor
    """float32: weight of each entry."""

    def sums(self) -> Tensor:
        """Return the weighted sum of each row's feature embeddings, [R, D]."""
        return F.embedding_bag(
            self.codes_M, self.embeddings_FD, self.offsets_R, mode="sum", per_sample_weights=self.weights_M
        )


class FeatureEmbeddingLayer(nn.Module):
    """Feature table of items or contexts, and the embedding of each feature.

    For items, a step drops an item's own embedding with probability ``dropout``, as a target and as an input alike,
    and keeps the features (after Volkovs, Yu & Poutanen 2017, "DropoutNet"; differs: there as an input alone). For
    contexts, a step drops an event's context with that probability.
    """

    def __init__(
        self, encoding: FeatureEncoding, feature_table: ItemFeatures, embeddings_FD: Tensor, dropout: float
    ) -> None:
        super().__init__()
        features = encoding.encode_catalog(feature_table)
        self.encoding = encoding
        self.feature_table = feature_table
        self.embeddings_FD: Tensor
        self.offsets_V: Tensor
        self.codes_M: Tensor
        self.weights_M: Tensor
        self.register_buffer("embeddings_FD", embeddings_FD)
        self.register_buffer("offsets_V", torch.from_numpy(features.offsets))
        self.register_buffer("codes_M", torch.from_numpy(features.codes.astype("int64")))
        self.register_buffer("weights_M", torch.from_numpy(features.weights))
        self.cut = round(dropout * 256)

    def identity(self) -> bytes:
        """Return bytes that are equal for equal feature tables and dropout."""
        parts = (tensor.cpu().numpy().tobytes() for tensor in (self.offsets_V, self.codes_M, self.weights_M))
        return b"".join([*parts, repr(self.cut).encode()])

    def select_rows(self, rows_R: Tensor | None) -> UsedFeatures:
        """Return the features of some rows of the table (None: all rows), in O(entries of these rows)."""
        if rows_R is None:
            embeddings_FD = self.embeddings_FD.detach().requires_grad_()
            return UsedFeatures(None, embeddings_FD, self.codes_M, self.offsets_V[:-1], self.weights_M)
        first_R, count_R = self.offsets_V[rows_R], self.offsets_V[rows_R + 1] - self.offsets_V[rows_R]
        offsets_R = torch.cumsum(count_R, 0) - count_R
        entry_M = torch.repeat_interleave(first_R - offsets_R, count_R)
        entry_M = entry_M + torch.arange(len(entry_M), device=entry_M.device)
        rows_F, codes_M = torch.unique(self.codes_M[entry_M], return_inverse=True)
        embeddings_FD = self.embeddings_FD[rows_F].detach().requires_grad_()
        return UsedFeatures(rows_F, embeddings_FD, codes_M, offsets_R, self.weights_M[entry_M])

    def embed_table(self, feature_table: ItemFeatures) -> Tensor:
        """Return the current embeddings of any feature table, [V, D]; row 0 is zero."""
        if feature_table is self.feature_table:
            return self.select_rows(None).sums().detach()
        embedded_VD = self.encoding.encode_catalog(feature_table) @ self.embeddings_FD.cpu().numpy()
        return torch.from_numpy(embedded_VD).to(self.embeddings_FD.device)

    def drop_rows(self, rows: Tensor, noise: DropoutRng) -> Tensor:
        """Replace rows by 0, the empty context, with the dropout probability.

        Args:
            rows: int64, row of each event's context.
            noise: source of random bytes.

        Returns:
            int64, same shape.
        """
        keep = noise.bytes(rows.numel()).view(rows.shape) >= self.cut if self.cut else torch.ones_like(rows)
        return rows * keep.to(rows.dtype)

    def add(self, own_RD: Tensor, used: UsedFeatures, noise: DropoutRng | None = None) -> Tensor:
        """Return item embeddings: own embeddings plus the sums of their features' embeddings.

        Args:
            own_RD: own embeddings of the selected items.
            used: features of these items.
            noise: source of dropout of the own embeddings; None: no dropout.

        Returns:
            [R, D].
        """
        if noise is not None and self.cut:
            keep_R = noise.bytes(len(own_RD)) >= self.cut
            own_RD = own_RD * keep_R[:, None].to(own_RD.dtype)
        return own_RD + used.sums()
