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
        table = np.hstack([_entering(config, table[:, : config.embedding_dim], rng), table])
    table[PAD] = 0.0
    features, contexts = None, None
    if side_data is not None:
        asked, facts = side_data.config.learned, side_data.item_features
        if facts is not None and asked.features:
            seen_V = item_counts(sequences, size) > 0
            features = _part(table, seen_V, asked, facts, spectral=config.spectral_init)
        if sequences.contexts is not None and asked.contexts:
            width = (config.num_input_columns if isinstance(config, GRU4RecConfig) else 0) or config.embedding_dim
            contexts = _contexts(sequences, asked, width)
    return net_from_table(config, torch.from_numpy(table), generator, features=features, contexts=contexts)


def _entering(config: GRU4RecConfig, vectors_VD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 [V, inputs]: by what items enter that do not enter by their own vectors.

    From a spectral start they begin where tied ones would: at the same vectors, or at what a random input matrix makes
    of them. As published, they begin as random as the vectors.
    """
    if not config.spectral_init:
        bound = float(np.abs(vectors_VD).max())
        if config.input_embedding == "one-hot" and config.temperature is not None:
            bound = math.sqrt(
                3.0 / config.embedding_dim
            )  # what a Glorot-uniform matrix makes of vectors of unit length
        return rng.uniform(-bound, bound, (len(vectors_VD), config.num_input_columns)).astype(np.float32)
    if config.input_embedding == "separate":
        return vectors_VD.copy()
    bound = math.sqrt(3.0 / config.embedding_dim)
    matrix_DG = rng.uniform(-bound, bound, (config.embedding_dim, CELLS[config.cell].gates * config.embedding_dim))
    return (vectors_VD @ matrix_DG).astype(np.float32)


def net_from_table(
    config: Any, table_VD: torch.Tensor, generator: torch.Generator, **sides: FeatureEmbeddingLayer | None
) -> TiedEmbeddingNet:
    """The net of these settings around a table, its encoder freshly drawn; ``sides``: ``features`` and ``contexts``."""
    noise = DropoutRng()
    encoder = ENCODERS[type(config)](config, noise, generator)
    times = config.time_inputs if isinstance(config, TimeConfig) else ()
    if times:
        encoder.clock = TimeEmbeddingLayer(
            times, encoder.num_input_columns or table_VD.shape[1] - (config.temperature is None)
        )
    if isinstance(encoder, Seq2SeqEncoder):
        return Seq2SeqNet(encoder, noise, table_VD, config, **sides)
    return TiedEmbeddingNet(encoder, noise, table_VD, temperature=config.temperature, length=config.max_length, **sides)


def _part(
    table_VD: np.ndarray, seen_V: np.ndarray, config: FeatureConfig, facts: ItemFeatures, *, spectral: bool
) -> FeatureEmbeddingLayer:
    """Parts the table, in place, into what features tell and what is an item's own, so that the sum stays.

    Spectral vectors are regressed on the features of the items that occur; random ones tell nothing, so that features
    start at zero there. An item that never occurs has nothing of its own.
    """
    encoding = FeatureEncoding.fit(facts, seen_V.astype(np.int64), config.features, config)
    table_VD[~seen_V] = 0.0
    vectors_FD = np.zeros((encoding.size, table_VD.shape[1]), dtype=np.float32)
    if spectral:
        features = encoding.encode_catalog(facts)
        vectors_FD = fit_feature_embeddings(features.masked(seen_V), table_VD, config.ridge)
        table_VD[seen_V] -= (features @ vectors_FD)[seen_V]
    return FeatureEmbeddingLayer(encoding, facts, torch.from_numpy(vectors_FD), config.id_dropout)


def _contexts(sequences: Sequences, config: FeatureConfig, width: int) -> FeatureEmbeddingLayer:
    """Return the context embeddings, which start at zero: at first an event is its item."""
    assert sequences.contexts is not None
    facts = sequences.contexts.features
    where_N = sequences.positions()[1]
    counts_C = np.bincount(sequences.contexts.codes[where_N], minlength=len(facts.rows))
    counts_C[0] = 0
    encoding = FeatureEncoding.fit(facts, counts_C, config.contexts, config)
    return FeatureEmbeddingLayer(encoding, facts, torch.zeros(encoding.size, width), config.context_dropout)
