"""Torch encoder of GRU4Rec (Hidasi et al. 2016): recurrent layers, with dropout between them but not along time."""

import torch
from torch import Tensor, nn

from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.recurrent_cells import CELLS
from segue.training.nets.encoders.encoder import EncoderBatch, SequenceEncoder
from segue.training.nets.layers.basic import Dropout, DropoutRng, select_column, xavier_uniform_
from segue.training.nets.layers.recurrent import RecurrentLayer


class GRU4RecEncoder(SequenceEncoder):
    """Stack of recurrent layers; states have D columns, embedded events E.

    Every row starts from a zero state, so that sessions are independent. In session-parallel batches a row whose
    session began in an earlier batch continues from the state at the end of that batch.
    """

    def __init__(self, config: GRU4RecConfig, noise: DropoutRng, generator: torch.Generator) -> None:
        super().__init__()
        self.cell = config.cell
        self.num_input_columns = config.num_input_columns
        self.dim = config.embedding_dim
        self.dropout_input = Dropout(config.dropout_input, noise)
        self.dropout_hidden = Dropout(config.dropout_hidden, noise)
        self.layers = nn.ModuleList(
            RecurrentLayer(config.cell, config.embedding_dim, looked_up=i == 0 and config.input_embedding == "one-hot")
            for i in range(config.num_layers)
        )
        xavier_uniform_(self, generator)
        if config.cell == "lstm":
            self._open_forget_gates()

    def _open_forget_gates(self) -> None:
        """Initialize the biases of the forget gates with 1, that is open (Jozefowicz et al. 2015)."""
        for layer in self.layers:
            assert isinstance(layer, RecurrentLayer)
            with torch.no_grad():
                layer.state_bias[self.dim : 2 * self.dim] = 1.0

    @property
    def state_shape(self) -> tuple[int, int]:
        """Number of layers, and width of a layer's state."""
        return len(self.layers), CELLS[self.cell].parts * self.dim

    def forward(self, x_BTD: Tensor, last_B: Tensor | None = None) -> Tensor:
        """See `SequenceEncoder`."""
        return self._run(x_BTD, None)[0]

    def target_states(self, x_BTD: Tensor, batch: EncoderBatch) -> Tensor:
        """See `SequenceEncoder.target_states`. In session-parallel batches the last state of each row is stored."""
        if batch.session_states is None:
            return super().target_states(x_BTD, batch)
        hidden_BTD, parts = self._run(x_BTD, batch.session_states.start())
        last_B = batch.is_event_BT.sum(dim=1) - 1
        batch.session_states.store(torch.stack([select_column(torch.cat(layer, dim=-1), last_B) for layer in parts]))
        return hidden_BTD[batch.is_target_BT]

    def _run(self, x_BTD: Tensor, start_LBS: Tensor | None) -> tuple[Tensor, list[list[Tensor]]]:
        """Return (hidden states of the last layer at every position, parts of each layer's states)."""
        x_BTD = self.dropout_input(x_BTD)
        states = []
        for i, layer in enumerate(self.layers):
            states.append(layer(x_BTD, None if start_LBS is None else start_LBS[i]))
            x_BTD = self.dropout_hidden(states[-1][0])
        return x_BTD, states
