"""Settings -> an untrained net: the item table, spectral or random, and the encoder of the model's name."""

import math
from typing import Any

import numpy as np
import torch

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.gru4rec import GRU4RecConfig
from segue.models.sasrec import SASRecConfig
from segue.models.spectral import spectral_vectors
from segue.training.nets.gru import GruEncoder
from segue.training.nets.layers import Noise
from segue.training.nets.tied import TiedNet
from segue.training.nets.transformer import TransformerEncoder

ENCODERS: dict[type, type[torch.nn.Module]] = {GRU4RecConfig: GruEncoder, SASRecConfig: TransformerEncoder}
"""The one table of trainable encoders: settings -> net."""


def build_net(config: Any, sequences: Sequences, size: int, seed: int) -> TiedNet:
    """An untrained net for a catalogue of size V; equal arguments give equal weights."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng((seed, 2))
    columns = config.dim + (config.temperature is None)
    if config.spectral_start:
        table = np.zeros((size, columns), dtype=np.float32)
        table[:, : config.dim] = spectral_vectors(sequences, size, config.dim, rng)
    else:
        bound = math.sqrt(6.0 / (size + config.dim)) if config.temperature is None else 1.0 / math.sqrt(config.dim)
        table = rng.uniform(-bound, bound, (size, columns)).astype(np.float32)
        if config.temperature is None:
            table[:, -1] = 0.0
    table[PAD] = 0.0
    noise = Noise()
    encoder = ENCODERS[type(config)](config, noise, generator)
    return TiedNet(encoder, noise, torch.from_numpy(table), temperature=config.temperature, length=config.length)
