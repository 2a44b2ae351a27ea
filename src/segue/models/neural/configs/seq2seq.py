"""Settings of Seq2SeqRec, an encoder of the history and a decoder with attention that generates the next items."""

from dataclasses import dataclass
from typing import Annotated, Literal

from segue.config.ranges import Range
from segue.models.neural.configs.shared import NetworkConfig


@dataclass(frozen=True)
class Seq2SeqConfig(NetworkConfig):
    """Architecture and size of the network, and the training of its decoder."""

    architecture: Literal["gru", "transformer", "gru-transformer", "transformer-gru"] = "gru"
    """Encoder, then decoder behind the dash; one word: both. A GRU decoder has the attention of Luong et al. 2015."""
    num_layers: Annotated[int, Range(ge=1)] = 1
    """Number of encoder layers, and of decoder layers."""
    horizon: Annotated[int, Range(ge=1)] = 10
    """Number of decoding steps in training; more can be requested in generation."""
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Dropout probability on the hidden states or branches of each layer."""
    scheduled_sampling: Annotated[float, Range(ge=0, le=1)] = 0.2
    """Share of decoder inputs that are the decoder's own predictions at the end of training; rises from 0."""

    @property
    def encoder_type(self) -> str:
        """Layer type of the encoder: gru or transformer."""
        return self.architecture.partition("-")[0]

    @property
    def decoder_type(self) -> str:
        """Layer type of the decoder: gru or transformer."""
        return self.architecture.rpartition("-")[2]

    @property
    def num_heads(self) -> int:
        """Number of attention heads: the largest divisor of the width that is at most embedding_dim / 32."""
        return next(h for h in range(max(1, self.embedding_dim // 32), 0, -1) if self.embedding_dim % h == 0)
