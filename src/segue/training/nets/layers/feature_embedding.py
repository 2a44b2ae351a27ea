"""Side features in training: the vectors of facts, summed for the rows (of items, of contexts) that a step touches.

Shape letters: V rows of a table of facts, R rows at hand, F features, M entries, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.features.encoding import FeatureEncoding, ItemFeatures
from segue.training.nets.layers.basic import DropoutRng


@dataclass(frozen=True)
class UsedFeatures:
    """The features of the rows at hand, and the vectors of these features alone."""

    rows_F: Tensor | None
    """int64: which features they are, ascending; None: all of them."""
    vectors_FD: Tensor
    """A leaf: its gradient is what a step needs."""
    codes_M: Tensor
    offsets_R: Tensor
    weights_M: Tensor

    def sums(self) -> Tensor:
        """[R, D]: what each row's features add up to."""
        return F.embedding_bag(
            self.codes_M, self.vectors_FD, self.offsets_R, mode="sum", per_sample_weights=self.weights_M
        )


class FeatureEmbeddingLayer(nn.Module):
    """A table of facts, and the vectors of what its rows say.

    Of items, with probability ``dropout`` a step knows one by its features alone, as a target and as an input alike
    (after Volkovs, Yu & Poutanen 2017, "DropoutNet": there as an input alone). Of contexts, a step sees an event
    without its own with that probability.
    """

    def __init__(self, encoding: FeatureEncoding, facts: ItemFeatures, vectors_FD: Tensor, dropout: float) -> None:
        super().__init__()
        features = encoding.encode_catalog(facts)
        self.encoding = encoding
        self.facts = facts
        self.vectors_FD: Tensor
        self.offsets_V: Tensor
        self.codes_M: Tensor
        self.weights_M: Tensor
        self.register_buffer("vectors_FD", vectors_FD)
        self.register_buffer("offsets_V", torch.from_numpy(features.offsets))
        self.register_buffer("codes_M", torch.from_numpy(features.codes.astype("int64")))
        self.register_buffer("weights_M", torch.from_numpy(features.weights))
        self.cut = round(dropout * 256)

    def identity(self) -> bytes:
        """What must be equal for two trainings to be the same."""
        parts = (tensor.cpu().numpy().tobytes() for tensor in (self.offsets_V, self.codes_M, self.weights_M))
        return b"".join([*parts, repr(self.cut).encode()])

    def at(self, rows_R: Tensor | None) -> UsedFeatures:
        """Of some rows of the catalog (None: all): costs what these rows hold."""
        if rows_R is None:
            vectors_FD = self.vectors_FD.detach().requires_grad_()
            return UsedFeatures(None, vectors_FD, self.codes_M, self.offsets_V[:-1], self.weights_M)
        first_R, count_R = self.offsets_V[rows_R], self.offsets_V[rows_R + 1] - self.offsets_V[rows_R]
        offsets_R = torch.cumsum(count_R, 0) - count_R
        where_M = torch.repeat_interleave(first_R - offsets_R, count_R)
        where_M = where_M + torch.arange(len(where_M), device=where_M.device)
        rows_F, codes_M = torch.unique(self.codes_M[where_M], return_inverse=True)
        vectors_FD = self.vectors_FD[rows_F].detach().requires_grad_()
        return UsedFeatures(rows_F, vectors_FD, codes_M, offsets_R, self.weights_M[where_M])

    def rows_of(self, facts: ItemFeatures) -> Tensor:
        """[V, D]: of any table of facts, as they are now; its row 0 is zero."""
        if facts is self.facts:
            return self.at(None).sums().detach()
        told_VD = self.encoding.encode_catalog(facts) @ self.vectors_FD.cpu().numpy()
        return torch.from_numpy(told_VD).to(self.vectors_FD.device)

    def kept(self, rows: Tensor, noise: DropoutRng) -> Tensor:
        """The rows, some of them 0 instead: events whose context a step does not see."""
        keep = noise.bytes(rows.numel()).view(rows.shape) >= self.cut if self.cut else torch.ones_like(rows)
        return rows * keep.to(rows.dtype)

    def add(self, own_RD: Tensor, touched: UsedFeatures, noise: DropoutRng | None = None) -> Tensor:
        """[R, D]: the items as the net sees them; with ``noise``, in training, some by their features alone."""
        if noise is not None and self.cut:
            keep_R = noise.bytes(len(own_RD)) >= self.cut
            own_RD = own_RD * keep_R[:, None].to(own_RD.dtype)
        return own_RD + touched.sums()
