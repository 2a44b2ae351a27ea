"""A trained net under a larger catalog: known items keep their vectors, new ones start beside their neighbors."""

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
"""A new item starts as the mean of the known items at most so many events away."""


ROUNDING = 1e-5
"""An item whose vector is its features' but for this share of its length has nothing of its own."""


def expand_net(
    loaded: Artifact, config: Any, new: Catalog, sequences: Sequences, seed: int, asked: FeatureConfig | None = None
) -> TiedEmbeddingNet:
    """The net of an artifact, its table indexed by the new catalog; ``sequences`` (in it) place new items.

    Where it learned from features, the artifact's ``items`` say what each item is like, which counts as one more
    neighbor; ``asked``: the settings of this learning. ValueError where an item of the old catalog is missing from
    the new one, or the artifact has no parameters.
    """
    arrays, old = loaded.arrays, loaded.catalog
    where = new.to_indices(old.ids)
    if (where == PAD).any():
        raise ValueError(f"The new catalog has lost item {old.ids[int(np.argmin(where))]!r}; it may only grow.")
    table = np.zeros((new.size, arrays["table"].shape[1]), dtype=np.float32)
    table[where] = arrays["table"][1:]
    fresh = np.setdiff1d(np.arange(1, new.size), where)
    asked = asked or FeatureConfig()
    vectors, told = FeatureEmbeddings.restore(arrays, "features"), None
    sides: dict[str, FeatureEmbeddingLayer] = {}
    if vectors is not None:
        facts = ItemFeatures([{}, *(loaded.items.get(item, {}) for item in new.ids)], {})
        told = vectors.embed_table(facts)
        if asked.feature_use == "learned":
            sides["features"] = _side(vectors, facts, asked.id_dropout)
    if len(fresh):
        mine = None if told is None else told[fresh]
        table[fresh] = _start(table, fresh, sequences, config, np.random.default_rng((seed, 4)), mine)
    if told is not None and "features" in sides:
        _part(table, told)
    around = FeatureEmbeddings.restore(arrays, "contexts")
    if around is not None:
        facts = ItemFeatures([{}], {}) if sequences.contexts is None else sequences.contexts.features
        sides["contexts"] = _side(around, facts, asked.context_dropout)
    net = net_from_table(config, torch.from_numpy(table), torch.Generator().manual_seed(seed), **sides)
    net.encoder.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in _parameters(arrays, config)})
    return net


def _parameters(arrays: Mapping[str, np.ndarray], config: Any) -> list[tuple[str, np.ndarray]]:
    """(name in the torch net, value) of every parameter of the encoder."""
    times = [("clock.vectors", arrays["time.embeddings"])] if "time.embeddings" in arrays else []
    if isinstance(config, GRU4RecConfig):
        layers = [(f"layers.{key.removeprefix('gru.')}", v) for key, v in arrays.items() if key.startswith("gru.")]
        return layers + times
    found = [(key.removeprefix("net."), value) for key, value in arrays.items() if key.startswith("net.")]
    if not found:
        raise ValueError("This model was saved without its parameters, so it cannot be trained on: train it anew.")
    return found + times


def _side(vectors: FeatureEmbeddings, facts: ItemFeatures, dropout: float) -> FeatureEmbeddingLayer:
    return FeatureEmbeddingLayer(vectors.encoding, facts, torch.from_numpy(vectors.weights_FD.copy()), dropout)


def _part(table_VD: np.ndarray, told_VD: np.ndarray) -> None:
    """Takes what features tell out of the table, in place: what is left is an item's own."""
    table_VD -= told_VD
    left_V, told_V = (np.linalg.norm(x_VD, axis=1) for x_VD in (table_VD, told_VD))
    table_VD[left_V <= ROUNDING * told_V] = 0.0


def _start(
    table_VD: np.ndarray,
    fresh_F: np.ndarray,
    sequences: Sequences,
    config: Any,
    rng: np.random.Generator,
    told_FD: np.ndarray | None,
) -> np.ndarray:
    """float32 [F, D]: the mean of known neighbors, as long as known vectors are (what items enter by and what they are
    scored by each for itself), with what features tell as one more; that alone, or random, without neighbors."""
    forward = windowed_pairs(sequences, len(table_VD), WINDOW)
    near_FV = (forward + forward.T).tocsr()[fresh_F]
    near_FD = near_FV @ table_VD
    mean_FD = near_FD + (rng.normal(0.0, 1e-3, near_FD.shape) if told_FD is None else told_FD)
    if config.temperature is None:
        mean_FD[:, -1] = 0.0
    inputs = config.num_input_columns if isinstance(config, GRU4RecConfig) else 0
    known_VD = table_VD[table_VD.any(axis=1)]
    parts = [slice(0, inputs), slice(inputs, None)] if inputs else [slice(None)]
    lengths = [float(np.linalg.norm(known_VD[:, part], axis=1).mean()) if len(known_VD) else 1.0 for part in parts]
    scaled = [normalize_rows(mean_FD[:, part]) * length for part, length in zip(parts, lengths, strict=True)]
    start_FD = np.hstack(scaled).astype(np.float32)
    return start_FD if told_FD is None else np.where(near_FD.any(axis=1)[:, None], start_FD, told_FD)
