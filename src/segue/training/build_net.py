"""Construction of untrained nets: item table, spectral or random, and encoder."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from segue.data.catalog import PAD
from segue.data.features.encoding import FeatureConfig, FeatureEncoding, ItemFeatures
from segue.data.sequences import Sequences
from segue.data.training_data import SideData
from segue.models.factorization.spectral import spectral_embeddings
from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.models.neural.configs.caser import CaserConfig
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.neural.configs.lrurec import LRURecConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.neural.configs.shared import TimeConfig
from segue.models.neural.feature_embeddings import fit_feature_embeddings
from segue.models.neural.recurrent_cells import CELLS
from segue.models.sparse_rows import item_counts
from segue.training.nets.encoders.bert4rec import BERT4RecEncoder
from segue.training.nets.encoders.convolutional import CaserEncoder, NextItNetEncoder
from segue.training.nets.encoders.encoder import SequenceEncoder
from segue.training.nets.encoders.gru4rec import GRU4RecEncoder
from segue.training.nets.encoders.hstu import HSTUEncoder
from segue.training.nets.encoders.lrurec import LRURecEncoder
from segue.training.nets.encoders.sasrec import SASRecEncoder
from segue.training.nets.encoders.seq2seq import Seq2SeqEncoder, Seq2SeqNet
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.nets.layers.basic import DropoutRng
from segue.training.nets.layers.feature_embedding import FeatureEmbeddingLayer
from segue.training.nets.layers.time_embedding import TimeEmbeddingLayer

ENCODERS: dict[type, Callable[[Any, DropoutRng, torch.Generator], SequenceEncoder]] = {
    GRU4RecConfig: GRU4RecEncoder,
    SASRecConfig: SASRecEncoder,
    LRURecConfig: LRURecEncoder,
    HSTUConfig: HSTUEncoder,
    BERT4RecConfig: BERT4RecEncoder,
    CaserConfig: CaserEncoder,
    NextItNetConfig: NextItNetEncoder,
    Seq2SeqConfig: Seq2SeqEncoder,
}
"""Encoder class of each settings class."""


def build_net(
    config: Any,
    sequences: Sequences,
    size: int,
    seed: int,
    side_data: SideData | None = None,
) -> TiedEmbeddingNet:
    """Build an untrained net; equal arguments give equal weights.

    Args:
        config: settings of the model.
        sequences: training events, with contexts if the net uses them.
        size: catalog size V, PAD included.
        seed: seed of the initial weights.
        side_data: item features and the settings of features and contexts; None: events only.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng((seed, 2))
    columns = config.embedding_dim + (config.temperature is None)
    if config.spectral_init:
        table = np.zeros((size, columns), dtype=np.float32)
        table[:, : config.embedding_dim] = spectral_embeddings(sequences, size, config.embedding_dim, rng)
    else:
        bound = (
            math.sqrt(6.0 / (size + config.embedding_dim))
            if config.temperature is None
            else 1.0 / math.sqrt(config.embedding_dim)
        )
        table = rng.uniform(-bound, bound, (size, columns)).astype(np.float32)
        if config.temperature is None:
            table[:, -1] = 0.0
    if isinstance(config, GRU4RecConfig) and config.num_input_columns:
        table = np.hstack([_input_embeddings(config, table[:, : config.embedding_dim], rng), table])
    table[PAD] = 0.0
    features, contexts = None, None
    if side_data is not None:
        learned, item_features = side_data.config.learned, side_data.item_features
        if item_features is not None and learned.features:
            occurs_V = item_counts(sequences, size) > 0
            features = _split_table(table, occurs_V, learned, item_features, spectral=config.spectral_init)
        if sequences.contexts is not None and learned.contexts:
            width = (config.num_input_columns if isinstance(config, GRU4RecConfig) else 0) or config.embedding_dim
            contexts = _context_layer(sequences, learned, width)
    return net_from_table(config, torch.from_numpy(table), generator, features=features, contexts=contexts)


def _input_embeddings(config: GRU4RecConfig, outputs_VD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return separate input embeddings, float32 [V, inputs], for the given output embeddings.

    With spectral initialization they start where tied embeddings would: equal to the output embeddings, or to their
    product with a random input matrix. Without it they start random, as published.
    """
    if not config.spectral_init:
        bound = float(np.abs(outputs_VD).max())
        if config.input_embedding == "one-hot" and config.temperature is not None:
            # The bound of a Glorot-uniform matrix times embeddings of unit length.
            bound = math.sqrt(3.0 / config.embedding_dim)
        return rng.uniform(-bound, bound, (len(outputs_VD), config.num_input_columns)).astype(np.float32)
    if config.input_embedding == "separate":
        return outputs_VD.copy()
    bound = math.sqrt(3.0 / config.embedding_dim)
    matrix_DG = rng.uniform(-bound, bound, (config.embedding_dim, CELLS[config.cell].gates * config.embedding_dim))
    return (outputs_VD @ matrix_DG).astype(np.float32)


def net_from_table(
    config: Any, table_VD: torch.Tensor, generator: torch.Generator, **sides: FeatureEmbeddingLayer | None
) -> TiedEmbeddingNet:
    """Build a net around an item table, with an untrained encoder.

    Args:
        config: settings of the model.
        table_VD: float32, the item table, which the net keeps.
        generator: generator of the encoder's initial weights.
        sides: ``features`` and ``contexts``, the embeddings of item features and event contexts; None: not used.
    """
    noise = DropoutRng()
    encoder = ENCODERS[type(config)](config, noise, generator)
    times = config.time_inputs if isinstance(config, TimeConfig) else ()
    if times:
        encoder.time_embedding = TimeEmbeddingLayer(
            times, encoder.num_input_columns or table_VD.shape[1] - (config.temperature is None)
        )
    if isinstance(encoder, Seq2SeqEncoder):
        return Seq2SeqNet(encoder, noise, table_VD, config, **sides)
    return TiedEmbeddingNet(encoder, noise, table_VD, temperature=config.temperature, length=config.max_length, **sides)


def _split_table(
    table_VD: np.ndarray, occurs_V: np.ndarray, config: FeatureConfig, item_features: ItemFeatures, *, spectral: bool
) -> FeatureEmbeddingLayer:
    """Split the table, in place, into feature embeddings and a remainder per item, so that the sum stays equal.

    Spectral embeddings are regressed on the features of the items that occur. Random ones do not depend on features,
    whose embeddings then start at zero. The remainder of an item that never occurs is zero.
    """
    encoding = FeatureEncoding.fit(item_features, occurs_V.astype(np.int64), config.features, config)
    table_VD[~occurs_V] = 0.0
    embeddings_FD = np.zeros((encoding.size, table_VD.shape[1]), dtype=np.float32)
    if spectral:
        features = encoding.encode_catalog(item_features)
        embeddings_FD = fit_feature_embeddings(features.masked(occurs_V), table_VD, config.ridge)
        table_VD[occurs_V] -= (features @ embeddings_FD)[occurs_V]
    return FeatureEmbeddingLayer(encoding, item_features, torch.from_numpy(embeddings_FD), config.id_dropout)


def _context_layer(sequences: Sequences, config: FeatureConfig, width: int) -> FeatureEmbeddingLayer:
    """Return the context embeddings, which start at zero: an untrained net ignores contexts."""
    assert sequences.contexts is not None
    context_features = sequences.contexts.features
    positions_N = sequences.positions()[1]
    counts_C = np.bincount(sequences.contexts.codes[positions_N], minlength=len(context_features.rows))
    counts_C[0] = 0
    encoding = FeatureEncoding.fit(context_features, counts_C, config.contexts, config)
    return FeatureEmbeddingLayer(encoding, context_features, torch.zeros(encoding.size, width), config.context_dropout)
