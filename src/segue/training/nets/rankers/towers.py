"""Shared layers of the ranker networks, the pooled baseline and DIN.

Each network has a numpy model with the same parameter names. Shape letters: B examples, C candidates, L events of a
history, D width of item embeddings, V catalog size with PAD.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.rankers.din import DINConfig
from segue.models.rankers.item_histories import BUCKETS
from segue.models.rankers.layers_numpy import BUCKET_EMBEDDING_DIM
from segue.models.rankers.ranker_input import RankerInput
from segue.training.nets.layers.basic import Dropout, DropoutRng, xavier_uniform_

NUM_USER_BUCKETS = 2
"""Number of bucketed user features."""
HEAD_UNITS = (80, 40)
"""Units of the output layers, as in the networks of the papers."""


def to_tensor(array: np.ndarray) -> Tensor:
    """Return the same numbers as a tensor; integers as int64, which indices need."""
    wide = array if array.dtype in (np.float32, np.bool_) else array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(wide))


def init_embeddings(*shape: int, generator: torch.Generator) -> nn.Parameter:
    """Return embeddings drawn from N(0, 0.01).

    Args:
        shape: shape of the parameter.
        generator: source of all random numbers.
    """
    return nn.Parameter(torch.empty(*shape).normal_(0.0, 0.01, generator=generator))


def bucket_embeddings(tables_XKF: Tensor, buckets: Tensor) -> Tensor:
    """Return the embeddings of X bucketed features side by side.

    Args:
        tables_XKF: one table of bucket embeddings per feature.
        buckets: int64 [..., X].

    Returns:
        [..., X * F].
    """
    return tables_XKF[torch.arange(len(tables_XKF)), buckets].flatten(-2)


class UserTower(nn.Module):
    """Item embeddings, and the embeddings of time gaps, ages and user features."""

    def __init__(self, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        dim = table_VD.shape[1]
        self.table = nn.Parameter(table_VD)
        self.gap = init_embeddings(BUCKETS, dim, generator=generator)
        self.age = init_embeddings(BUCKETS, dim, generator=generator)
        self.features = init_embeddings(NUM_USER_BUCKETS, BUCKETS, BUCKET_EMBEDDING_DIM, generator=generator)

    def embed_items(self, indices: np.ndarray) -> Tensor:
        """Return the embeddings of item indices of any shape, [..., D]."""
        return F.embedding(to_tensor(indices), self.table)

    def embed_history(self, ranker_input: RankerInput) -> tuple[Tensor, Tensor]:
        """Return ([B, L, D] embedded events with zeros in padding, bool [B, L] False for padding)."""
        inside_BL = to_tensor(ranker_input.is_event)
        x_BLD = self.embed_items(ranker_input.items_BL)
        x_BLD = (
            x_BLD
            + F.embedding(to_tensor(ranker_input.gaps_BL), self.gap)
            + F.embedding(to_tensor(ranker_input.ages_BL), self.age)
        )
        return x_BLD * inside_BL[..., None], inside_BL

    def user_features(self, ranker_input: RankerInput) -> Tensor:
        """Return the embeddings of the user features for each candidate, [B, C, X * F]."""
        return bucket_embeddings(self.features, to_tensor(ranker_input.features_BX))[:, None].expand(
            -1, ranker_input.candidates_BC.shape[1], -1
        )


class ClickHead(nn.Module):
    """Output layers: inputs side by side -> log odds."""

    def __init__(self, width: int, dropout: Dropout, generator: torch.Generator) -> None:
        super().__init__()
        self.first = nn.Linear(width, HEAD_UNITS[0])
        self.second = nn.Linear(HEAD_UNITS[0], HEAD_UNITS[1])
        self.last = nn.Linear(HEAD_UNITS[1], 1)
        self.dropout = dropout
        xavier_uniform_(self, generator)

    def forward(self, *parts: Tensor) -> Tensor:
        """Return the log odds [B, C] of inputs [B, C, any width]."""
        x = self.dropout(torch.cat(parts, dim=2))
        x = self.dropout(self.first(x).relu())
        log_odds: Tensor = self.last(self.second(x).relu())[..., 0]
        return log_odds


class RankerNet(nn.Module, ABC):
    """Base class of ranker networks."""

    def __init__(self, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.noise = noise
        self.reader = UserTower(table_VD, generator)

    @abstractmethod
    def forward(self, ranker_input: RankerInput) -> tuple[Tensor, Tensor | None]:
        """Return (log odds [B, C], an additional loss to minimize or None) of ranker inputs."""

    def weights(self) -> dict[str, np.ndarray]:
        """Return the parameters by name, as the numpy model needs them."""
        return {name: value.detach().numpy().copy() for name, value in self.state_dict().items()}


class PooledNet(RankerNet):
    """Ranker on the mean embedding of the history."""

    def __init__(self, config: Any, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__(noise, table_VD, generator)
        width = 3 * table_VD.shape[1] + NUM_USER_BUCKETS * BUCKET_EMBEDDING_DIM
        self.head = ClickHead(width, Dropout(config.dropout, noise), generator)

    def forward(self, ranker_input: RankerInput) -> tuple[Tensor, Tensor | None]:
        """See `RankerNet.forward`."""
        x_BLD, inside_BL = self.reader.embed_history(ranker_input)
        mean_BD = x_BLD.sum(dim=1) / inside_BL.sum(dim=1, keepdim=True).clamp(min=1)
        return self.log_odds(ranker_input, mean_BD[:, None].expand(-1, ranker_input.candidates_BC.shape[1], -1)), None

    def log_odds(self, ranker_input: RankerInput, user_BCD: Tensor) -> Tensor:
        """Return the log odds of each candidate.

        Args:
            ranker_input: histories, candidates and features of the examples.
            user_BCD: user representation for each candidate.

        Returns:
            [B, C].
        """
        candidate_BCD = self.reader.embed_items(ranker_input.candidates_BC)
        log_odds: Tensor = self.head(
            user_BCD, candidate_BCD, user_BCD * candidate_BCD, self.reader.user_features(ranker_input)
        )
        return log_odds


class DINNet(RankerNet):
    """Ranker on the weighted sum of the history, with a weight for each pair of event and candidate."""

    def __init__(self, config: DINConfig, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__(noise, table_VD, generator)
        dim = table_VD.shape[1]
        self.compare = nn.Linear(4 * dim, config.attention_units)
        self.weigh = nn.Linear(config.attention_units, 1)
        for layer in (self.compare, self.weigh):
            xavier_uniform_(layer, generator)
        self.head = ClickHead(
            3 * dim + NUM_USER_BUCKETS * BUCKET_EMBEDDING_DIM, Dropout(config.dropout, noise), generator
        )

    def forward(self, ranker_input: RankerInput) -> tuple[Tensor, Tensor | None]:
        """See `RankerNet.forward`."""
        x_BLD, inside_BL = self.reader.embed_history(ranker_input)
        candidate_BCD = self.reader.embed_items(ranker_input.candidates_BC)
        x_BCLD, candidate_BCLD = torch.broadcast_tensors(x_BLD[:, None], candidate_BCD[:, :, None])
        pairs = torch.cat([x_BCLD, candidate_BCLD, x_BCLD - candidate_BCLD, x_BCLD * candidate_BCLD], dim=3)
        weight_BCL = self.weigh(self.compare(pairs).relu())[..., 0] * inside_BL[:, None]
        user_BCD = weight_BCL @ x_BLD
        return self.head(
            user_BCD, candidate_BCD, user_BCD * candidate_BCD, self.reader.user_features(ranker_input)
        ), None
