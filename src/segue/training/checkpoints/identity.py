"""Identity of a training: the hash that ties a checkpoint to its data, settings and seed."""

import hashlib

import numpy as np

from segue.data.sequences import Sequences, iter_chunks
from segue.training.config import TrainingConfig
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet


def training_identity(net: TiedEmbeddingNet, sequences: Sequences, config: TrainingConfig, seed: int) -> str:
    """Return the hash of data, settings and seed that the checkpoints of a training carry, as hexadecimal SHA-256.

    Args:
        net: the net, of which sizes and features count and weights do not.
        sequences: training events, indexed by the net's catalog.
        config: settings of the training.
        seed: seed of batches, negatives and dropout.
    """
    digest = hashlib.sha256(repr((config, seed, net.length, net.temperature)).encode())
    codes = None if sequences.contexts is None else sequences.contexts.codes
    optional = [array for array in (sequences.times, codes) if array is not None]
    for array in (sequences.items, sequences.starts, sequences.stops, *optional):
        for chunk in iter_chunks(array):
            digest.update(np.ascontiguousarray(chunk).data)
    for side in net.feature_layers.values():
        digest.update(side.identity())
    shapes = [(name, tuple(value.shape)) for name, value in net.weights().items()]
    digest.update(repr(shapes).encode())
    return digest.hexdigest()
