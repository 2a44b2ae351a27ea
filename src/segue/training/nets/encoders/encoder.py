"""What a trainable encoder is: embedded events -> states, and how it is asked, in training and after a history.

Shape letters as in ``layers.py``; N events asked for.
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
    """A batch as tensors beside the net; items are rows of the table at hand."""

    inputs_BT: Tensor
    """int64; row 0 behind a row's end, and where an event is hidden."""
    is_event_BT: Tensor
    """bool: where an event is given."""
    is_target_BT: Tensor
    """bool: where a target is to be predicted, N times."""
    times_BS: Tensor | None
    """int64 UTC microseconds, S = T + 1: of each input, and of the row's last target behind them; NO_TIME where nobody
    knows. None where the log has no times or the net looks at none."""
    cuts_B: Tensor | None = None
    """int64: each row's first cut, for a net that writes several steps from one place."""
    added_BTD: Tensor | None = None
    """What the vectors of the inputs have added, from the context of each; None for nothing."""
    done: float = 0.0
    """How much of the training is behind it, 0 to 1: what a net may be taught by degrees."""
    lanes: SessionStates | None = None
    """Where rows go on from and what they leave behind, for a batch of lanes."""


class SequenceEncoder(nn.Module):
    """``forward(x_BTD, last_B)``: embedded events, oldest first and padding behind, -> [B, T, D] the state after each
    event. ``last_B`` is the column of each row's newest event; None: every row is full.

    What is here is right for a causal encoder, where no state depends on a later event.
    """

    num_input_columns: int = 0
    """So many of the table's first columns are what an item enters by; 0: it enters by its own vector."""
    timed = False
    """Whether it looks at times itself, beside what they add to an event's vector."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: TimeEmbeddingLayer | None = None
        """What is added to an event's vector for its time."""

    @property
    def uses_target_times(self) -> bool:
        """Whether times make any difference."""
        return self.timed or self.clock is not None

    def task(self, length: int) -> Task:
        """What it is asked in training, in windows of so many events."""
        return NextItemTask(length, timed=self.uses_target_times)

    @property
    def state_shape(self) -> tuple[int, int] | None:
        """(layers, width) of what a later event can go on from; None: a history can only be read from its beginning."""
        return None

    def states(self, x_BTD: Tensor, steps: EncoderBatch) -> Tensor:
        """[N, D]: the state at every position that is asked."""
        states_ND: Tensor = self(x_BTD, steps.is_event_BT.sum(dim=1) - 1)[steps.is_target_BT]
        return states_ND

    def newest(self, x_BTD: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        """[B, D]: the state after each row's newest event; this is what is exported."""
        return select_column(self(x_BTD, last_B), last_B)


def column_indices(x_BTD: Tensor) -> Tensor:
    """int64 [T]: 0, 1, 2 ..."""
    return torch.arange(x_BTD.shape[1], device=x_BTD.device)
