"""Base class of trainable encoders: embedded events -> hidden states.

Shape letters as in ``nets/layers/basic.py``; N targets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segue.training.nets.layers.basic import select_column
from segue.training.nets.layers.session_states import SessionStates
from segue.training.nets.layers.time_embedding import TimeEmbeddingLayer
from segue.training.tasks import NextItemTask, Task


@dataclass(frozen=True)
class EncoderBatch:
    """Tensors of a batch on the net's device; items are indices into the table rows in use."""

    inputs_BT: Tensor
    """int64; index 0 for padding and for masked events."""
    is_event_BT: Tensor
    """bool: the position has an input event."""
    is_target_BT: Tensor
    """bool: the position has a target, N of them in total."""
    times_BS: Tensor | None
    """int64 UTC microseconds, S = T + 1: of each input, then of the row's last target; NO_TIME if unknown.
    None: the log has no timestamps, or the net uses none."""
    cuts_B: Tensor | None = None
    """int64: each row's first cut, for a net that predicts several steps from one position."""
    context_embeddings_BTD: Tensor | None = None
    """Context embeddings that are added to the input embeddings; None: no contexts."""
    progress: float = 0.0
    """Share of the training so far, 0 to 1, for schedules such as scheduled sampling."""
    session_states: SessionStates | None = None
    """Initial states of the rows, and the place to store their last ones; None: not a session-parallel batch."""


class SequenceEncoder(nn.Module):
    """Base class of encoders: embedded events -> hidden states.

    ``forward(x_BTD, last_B)`` takes embedded events, oldest first and padding at the end, and returns [B, T, D], the
    hidden state after each event. ``last_B`` is the column of each row's last event; None: every row is full.

    The methods here fit a causal encoder, where no state depends on a later event.
    """

    num_input_columns: int = 0
    """Number of the table's first columns that hold separate input embeddings; 0: inputs and outputs are tied."""
    timed = False
    """True: the encoder reads timestamps itself, beside the time embedding of each event."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embedding: TimeEmbeddingLayer | None = None
        """Time embedding that is added to each event; None: no time features."""

    @property
    def uses_target_times(self) -> bool:
        """True: timestamps change the output."""
        return self.timed or self.time_embedding is not None

    def task(self, length: int) -> Task:
        """Return the training task, in windows of ``length`` events."""
        return NextItemTask(length, timed=self.uses_target_times)

    @property
    def state_shape(self) -> tuple[int, int] | None:
        """Number of layers and width of the recurrent state; None: the encoder has none."""
        return None

    def target_states(self, x_BTD: Tensor, batch: EncoderBatch) -> Tensor:
        """Return the hidden state at every target position.

        Args:
            x_BTD: embedded events.
            batch: the batch.

        Returns:
            [N, D].
        """
        states_ND: Tensor = self(x_BTD, batch.is_event_BT.sum(dim=1) - 1)[batch.is_target_BT]
        return states_ND

    def last_state(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        """Return the hidden state after each row's last event. The exported graph computes this.

        Args:
            x_BTD: embedded events, oldest first and padding at the end.
            last_B: int64, column of each row's last event.
            times_BS: int64 [B, T + 1], UTC microseconds of the inputs and of the target; None: unknown.

        Returns:
            [B, D].
        """
        return select_column(self(x_BTD, last_B), last_B)


def column_indices(x_BTD: Tensor) -> Tensor:
    """Return the column numbers 0, 1, 2 ..., int64 [T]."""
    return torch.arange(x_BTD.shape[1], device=x_BTD.device)
