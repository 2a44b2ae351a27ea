"""Settings of the training of a click ranker, readable without torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from segue.config.ranges import Range, check_ranges


@dataclass(frozen=True)
class RankerTrainingConfig:
    """Settings of epochs, batches, optimizer and calibration."""

    epochs: Annotated[int, Range(ge=1)] = 8
    """Maximum number of passes over the examples; negatives are sampled anew in each."""
    batch_size: Annotated[int, Range(ge=1)] = 512
    """Number of examples in a batch."""
    learning_rate: Annotated[float, Range(gt=0)] = 4e-3
    """Peak learning rate: linear warm-up over the first twentieth of the steps, then half a cosine down to a twentieth
    of the peak."""
    embedding_rate: Annotated[float, Range(ge=0)] = 0.3
    """Learning rate of the item embeddings, as a share of learning_rate."""
    weight_decay: Annotated[float, Range(ge=0)] = 1e-4
    """Decoupled weight decay of all weights but the item embeddings."""
    max_grad_norm: Annotated[float, Range(gt=0)] = 1.0
    """Norm to which longer gradients are clipped."""
    patience: Annotated[int, Range(ge=1)] = 2
    """Number of epochs without a better validation AUC after which training stops."""
    calibration: Literal["platt", "isotonic"] = "platt"
    """Calibration curve from log odds to click probability, fitted on validation examples."""

    def __post_init__(self) -> None:
        check_ranges(self)
