"""Settings of GRU4Rec and of the recurrent layers that Seq2SeqRec shares."""

from dataclasses import dataclass
from typing import Literal

from segue.models.neural.configs.shared import GATES, CellName, TimeConfig


@dataclass(frozen=True)
class RecurrentConfig(TimeConfig):
    """What steps from event to event, and how an item enters it."""

    num_layers: int = 1
    """Recurrent layers on top of each other."""
    cell: CellName = "gru"
    """What a layer is made of; rnn has no gates."""
    input_embedding: Literal["shared", "separate", "one-hot"] = "shared"
    """An item enters by the vector that scores are products with; by one of its own; or by a row of the input matrix,
    'gates' times as wide as the state, without a vector in between."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {self.num_layers}.")


@dataclass(frozen=True)
class GRU4RecConfig(RecurrentConfig):
    """The shape of the network."""

    embedding_dim: int = 64
    """Width of item vectors and of the recurrent state."""
    max_length: int = 50
    """The newest events of a history that are read when it is scored from scratch, and the longest training window."""
    dropout_input: float = 0.0
    """On the embedded input."""
    dropout_hidden: float = 0.1
    """On each layer's states."""
    temperature: float | None = 0.07
    """Cosine softmax divided by this; 'none': a dot product and a bias for each item, as published."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""
    covisitation_weight: float | None = None
    """Weight of the co-visit rule added to the scores; 'none': chosen on validation (0 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embedding_dim", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("dropout_input", "dropout_hidden"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}.")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")

    @property
    def inputs(self) -> int:
        """Leading columns of an item's row by which it enters, and nothing else; 0: by the vector it is scored with."""
        return {"shared": 0, "separate": 1, "one-hot": GATES[self.cell]}[self.input_embedding] * self.embedding_dim
