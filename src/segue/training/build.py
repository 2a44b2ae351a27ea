"""Settings -> an untrained net: the item table, spectral or random, and the encoder of the model's name."""

import math
from typing import Any

import numpy as np
import torch

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.bert4rec import BERT4RecConfig
from segue.models.caser import CaserConfig
from segue.models.clock import TimeConfig
from segue.models.gru4rec import GRU4RecConfig
from segue.models.hstu import HSTUConfig
from segue.models.nextitnet import NextItNetConfig
from segue.models.sasrec import SASRecConfig
from segue.models.seq2seq import Seq2SeqConfig
from segue.models.spectral import spectral_vectors
from segue.training.nets.clock import Clock
from segue.training.nets.convolution import CaserEncoder, NextItNetEncoder
from segue.training.nets.encoder import Encoder
from segue.training.nets.gru import GruEncoder
from segue.training.nets.hstu import HstuEncoder
from segue.training.nets.layers import Noise
from segue.training.nets.masked import MaskedEncoder
from segue.training.nets.seq2seq import Seq2SeqNet, Translator
from segue.training.nets.tied import TiedNet
from segue.training.nets.transformer import TransformerEncoder

ENCODERS: dict[type, type[Encoder]] = {
    GRU4RecConfig: GruEncoder,
    SASRecConfig: TransformerEncoder,
    HSTUConfig: HstuEncoder,
    BERT4RecConfig: MaskedEncoder,
    CaserConfig: CaserEncoder,
    NextItNetConfig: NextItNetEncoder,
    Seq2SeqConfig: Translator,
}
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
    return assemble(config, torch.from_numpy(table), generator)


def assemble(config: Any, table_VD: torch.Tensor, generator: torch.Generator) -> TiedNet:
    """The net of these settings around a table, its encoder freshly drawn."""
    noise = Noise()
    encoder = ENCODERS[type(config)](config, noise, generator)
    if isinstance(config, TimeConfig) and config.time_inputs:
        encoder.clock = Clock(config.time_inputs, config.dim)
    if isinstance(encoder, Translator):
        return Seq2SeqNet(encoder, noise, table_VD, config)
    return TiedNet(encoder, noise, table_VD, temperature=config.temperature, length=config.length)
