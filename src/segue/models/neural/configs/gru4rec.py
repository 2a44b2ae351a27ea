"""Settings of GRU4Rec (Hidasi et al. 2016; Hidasi & Karatzoglou 2018)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from segue.config.ranges import Range
from segue.models.neural.configs.shared import GATES, CellName, TimedNetworkConfig


@dataclass(frozen=True)
class GRU4RecConfig(TimedNetworkConfig):
    """Size of the network, its recurrent cell and its input layer.

    ``max_length`` bounds a history that is scored from scratch; a state kept between events has no bound.
    """

    num_layers: Annotated[int, Range(ge=1)] = 1
    """Number of stacked recurrent layers."""
    cell: CellName = "gru"
    """Recurrent cell of every layer; rnn has no gates."""
    input_embedding: Literal["shared", "separate", "one-hot"] = "shared"
    """Input of an item: the embedding that scores are computed with, an input embedding of its own, or a row of the
    first layer's input matrix ('one-hot'; as wide as all gates together)."""
    dropout_input: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """Dropout probability on the embedded input."""
    dropout_hidden: Annotated[float, Range(ge=0, lt=1)] = 0.1
    """Dropout probability on the hidden states of each layer."""

    @property
    def num_input_columns(self) -> int:
        """Number of leading columns of the item table that are input only; 0: the item embedding is the input."""
        return {"shared": 0, "separate": 1, "one-hot": GATES[self.cell]}[self.input_embedding] * self.embedding_dim
