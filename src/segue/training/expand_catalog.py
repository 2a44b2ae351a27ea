"""Expansion of a trained net to a larger catalog: known items keep their embeddings, new items start near neighbors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from segue.data.catalog import PAD, Catalog
from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.models.artifact import Artifact
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.numpy_layers import normalize_rows
from segue.models.sparse_rows import windowed_pairs
from segue.training.build_net import net_from_table
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.nets.layers.feature_embedding import FeatureEmbeddingLayer

WINDOW = 5
"""Largest distance, in events, of the known items whose mean embedding a new item starts with."""


ROUNDING = 1e-5
"""Share of the length of an item's feature embedding below which its own remainder is rounding, and set to zero."""


def expand_net(
    loaded: Artifact, config: Any, new: Catalog, sequences: Sequences, seed: int, features: FeatureConfig | None = None
) -> TiedEmbeddingNet:
    """Return the net of an artifact with its item table indexed by a larger catalog.

    If the net was trained with item features, the feature embedding of a new item counts as one more neighbor.

    Args:
        loaded: the artifact, whose ``items`` hold the features of items.
        config: settings of the model.
        new: the larger catalog.
        sequences: events indexed by the larger catalog, in which new items have their neighbors.
        seed: seed of the embeddings of new items.
        features: settings of features and contexts; None: the defaults.

    Raises:
        ValueError: the new catalog lacks an item of the old one, or the artifact has no parameters.
    """
    arrays, old = loaded.arrays, loaded.catalog
    known = new.to_indices(old.ids)
    if (known == PAD).any():
        raise ValueError(f"The new catalog has lost item {old.ids[int(np.argmin(known))]!r}; it may only grow.")
    table = np.zeros((new.size, arrays["table"].shape[1]), dtype=np.float32)
    table[known] = arrays["table"][1:]
    new_items = np.setdiff1d(np.arange(1, new.size), known)
    features = features or FeatureConfig()
    embeddings, by_features = FeatureEmbeddings.restore(arrays, "features"), None
    sides: dict[str, FeatureEmbeddingLayer] = {}
    if embeddings is not None:
        item_features = ItemFeatures([{}, *(loaded.items.get(item, {}) for item in new.ids)], {})
        by_features = embeddings.embed_table(item_features)
        if features.feature_use == "learned":
            sides["features"] = _feature_layer(embeddings, item_features, features.id_dropout)
    if len(new_items):
        own = None if by_features is None else by_features[new_items]
        table[new_items] = _start(table, new_items, sequences, config, np.random.default_rng((seed, 4)), own)
    if by_features is not None and "features" in sides:
        _subtract_features(table, by_features)
    contexts = FeatureEmbeddings.restore(arrays, "contexts")
    if contexts is not None:
        context_features = ItemFeatures([{}], {}) if sequences.contexts is None else sequences.contexts.features
        sides["contexts"] = _feature_layer(contexts, context_features, features.context_dropout)
    net = net_from_table(config, torch.from_numpy(table), torch.Generator().manual_seed(seed), **sides)
    net.encoder.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in _parameters(arrays, config)})
    return net


def _parameters(arrays: Mapping[str, np.ndarray], config: Any) -> list[tuple[str, np.ndarray]]:
    """Return (name in the torch net, value) of every parameter of the encoder."""
    times = [("time_embedding.embeddings", arrays["time.embeddings"])] if "time.embeddings" in arrays else []
    if isinstance(config, GRU4RecConfig):
        layers = [(f"layers.{key.removeprefix('gru.')}", v) for key, v in arrays.items() if key.startswith("gru.")]
        return layers + times
    weights = [(key.removeprefix("net."), value) for key, value in arrays.items() if key.startswith("net.")]
    if not weights:
        raise ValueError("This model was saved without its parameters, so it cannot be trained on: train it anew.")
    return weights + times


def _feature_layer(embeddings: FeatureEmbeddings, item_features: ItemFeatures, dropout: float) -> FeatureEmbeddingLayer:
    weights_FD = torch.from_numpy(embeddings.weights_FD.copy())
    return FeatureEmbeddingLayer(embeddings.encoding, item_features, weights_FD, dropout)


def _subtract_features(table_VD: np.ndarray, by_features_VD: np.ndarray) -> None:
    """Subtract the feature embeddings from the table, in place; each item keeps its own remainder."""
    table_VD -= by_features_VD
    own_V, feature_V = (np.linalg.norm(x_VD, axis=1) for x_VD in (table_VD, by_features_VD))
    table_VD[own_V <= ROUNDING * feature_V] = 0.0


def _start(
    table_VD: np.ndarray,
    new_items_F: np.ndarray,
    sequences: Sequences,
    config: Any,
    rng: np.random.Generator,
    by_features_FD: np.ndarray | None,
) -> np.ndarray:
    """Return the embeddings that new items start with, float32 [F, D].

    Each is the mean of the known neighbors, the feature embedding being one more, scaled to the mean length of known
    embeddings. Input and output embeddings are scaled separately. An item without neighbors starts with its feature
    embedding, or at random.
    """
    forward = windowed_pairs(sequences, len(table_VD), WINDOW)
    near_FV = (forward + forward.T).tocsr()[new_items_F]
    near_FD = near_FV @ table_VD
    mean_FD = near_FD + (rng.normal(0.0, 1e-3, near_FD.shape) if by_features_FD is None else by_features_FD)
    if config.temperature is None:
        mean_FD[:, -1] = 0.0
    inputs = config.num_input_columns if isinstance(config, GRU4RecConfig) else 0
    known_VD = table_VD[table_VD.any(axis=1)]
    parts = [slice(0, inputs), slice(inputs, None)] if inputs else [slice(None)]
    lengths = [float(np.linalg.norm(known_VD[:, part], axis=1).mean()) if len(known_VD) else 1.0 for part in parts]
    scaled = [normalize_rows(mean_FD[:, part]) * length for part, length in zip(parts, lengths, strict=True)]
    start_FD = np.hstack(scaled).astype(np.float32)
    return start_FD if by_features_FD is None else np.where(near_FD.any(axis=1)[:, None], start_FD, by_features_FD)
