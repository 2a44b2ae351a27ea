"""What the rankers' nets share, the pooled baseline and DIN; each has a twin of the same parameter names in numpy.

Shape letters: B cases, C candidates, L events of a history, D width of item vectors, V catalog size with PAD.
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
HEAD = (80, 40)
"""Units of the last layers, as in the papers' networks."""


def tensor(array: np.ndarray) -> Tensor:
    """The same numbers; whole ones as int64, as indices must be."""
    wide = array if array.dtype in (np.float32, np.bool_) else array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(wide))


def small_table(*shape: int, generator: torch.Generator) -> nn.Parameter:
    """Vectors that say almost nothing yet."""
    return nn.Parameter(torch.empty(*shape).normal_(0.0, 0.01, generator=generator))


def bucket_embeddings(tables_XKF: Tensor, buckets: Tensor) -> Tensor:
    """[..., X F]: the vectors of X bucketed facts side by side."""
    return tables_XKF[torch.arange(len(tables_XKF)), buckets].flatten(-2)


class UserTower(nn.Module):
    """Item vectors, and those of pauses, ages and facts about the person."""

    def __init__(self, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        dim = table_VD.shape[1]
        self.table = nn.Parameter(table_VD)
        self.gap = small_table(BUCKETS, dim, generator=generator)
        self.age = small_table(BUCKETS, dim, generator=generator)
        self.features = small_table(NUM_USER_BUCKETS, BUCKETS, BUCKET_EMBEDDING_DIM, generator=generator)

    def items(self, indices: np.ndarray) -> Tensor:
        """[..., D]."""
        return F.embedding(tensor(indices), self.table)

    def history(self, seen: RankerInput) -> tuple[Tensor, Tensor]:
        """([B, L, D] events, bool [B, L] which columns hold one)."""
        inside_BL = tensor(seen.is_event)
        x_BLD = self.items(seen.items_BL)
        x_BLD = x_BLD + F.embedding(tensor(seen.gaps_BL), self.gap) + F.embedding(tensor(seen.ages_BL), self.age)
        return x_BLD * inside_BL[..., None], inside_BL

    def person(self, seen: RankerInput) -> Tensor:
        """[B, C, PERSON_FACTS * FACT_WIDTH]."""
        return bucket_embeddings(self.features, tensor(seen.features_BX))[:, None].expand(
            -1, seen.candidates_BC.shape[1], -1
        )


class ClickHead(nn.Module):
    """Parts side by side -> log-odds."""

    def __init__(self, width: int, dropout: Dropout, generator: torch.Generator) -> None:
        super().__init__()
        self.first = nn.Linear(width, HEAD[0])
        self.second = nn.Linear(HEAD[0], HEAD[1])
        self.last = nn.Linear(HEAD[1], 1)
        self.dropout = dropout
        xavier_uniform_(self, generator)

    def forward(self, *parts: Tensor) -> Tensor:
        """[B, C]."""
        x = self.dropout(torch.cat(parts, dim=2))
        x = self.dropout(self.first(x).relu())
        log_odds: Tensor = self.last(self.second(x).relu())[..., 0]
        return log_odds


class RankerNet(nn.Module, ABC):
    """A ranker in training: ``forward`` gives (log-odds [B, C], what else is to be minimised or None)."""

    def __init__(self, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.noise = noise
        self.reader = UserTower(table_VD, generator)

    @abstractmethod
    def forward(self, seen: RankerInput) -> tuple[Tensor, Tensor | None]:
        """For a view of cases."""

    def weights(self) -> dict[str, np.ndarray]:
        """The parameters by name: what the served twin takes."""
        return {name: value.detach().numpy().copy() for name, value in self.state_dict().items()}


class PooledNet(RankerNet):
    """The mean of the history's events."""

    def __init__(self, config: Any, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__(noise, table_VD, generator)
        width = 3 * table_VD.shape[1] + NUM_USER_BUCKETS * BUCKET_EMBEDDING_DIM
        self.head = ClickHead(width, Dropout(config.dropout, noise), generator)

    def forward(self, seen: RankerInput) -> tuple[Tensor, Tensor | None]:
        x_BLD, inside_BL = self.reader.history(seen)
        mean_BD = x_BLD.sum(dim=1) / inside_BL.sum(dim=1, keepdim=True).clamp(min=1)
        return self.answer(seen, mean_BD[:, None].expand(-1, seen.candidates_BC.shape[1], -1)), None

    def answer(self, seen: RankerInput, person_BCD: Tensor) -> Tensor:
        """Log-odds [B, C] from the person as each candidate sees them."""
        asked_BCD = self.reader.items(seen.candidates_BC)
        log_odds: Tensor = self.head(person_BCD, asked_BCD, person_BCD * asked_BCD, self.reader.person(seen))
        return log_odds


class DINNet(RankerNet):
    """A weight for each pair of event and candidate."""

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

    def forward(self, seen: RankerInput) -> tuple[Tensor, Tensor | None]:
        x_BLD, inside_BL = self.reader.history(seen)
        asked_BCD = self.reader.items(seen.candidates_BC)
        x_BCLD, asked_BCLD = torch.broadcast_tensors(x_BLD[:, None], asked_BCD[:, :, None])
        pairs = torch.cat([x_BCLD, asked_BCLD, x_BCLD - asked_BCLD, x_BCLD * asked_BCLD], dim=3)
        weight_BCL = self.weigh(self.compare(pairs).relu())[..., 0] * inside_BL[:, None]
        person_BCD = weight_BCL @ x_BLD
        return self.head(person_BCD, asked_BCD, person_BCD * asked_BCD, self.reader.person(seen)), None
