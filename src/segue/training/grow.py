"""A trained net under a larger catalogue: known items keep their vectors, new ones start beside their neighbours."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.models.gru4rec import GRU4RecConfig
from segue.models.neural import unit
from segue.models.rows import windowed_pairs
from segue.training.build import assemble
from segue.training.nets.tied import TiedNet

WINDOW = 5
"""A new item starts as the mean of the known items at most so many events away."""


def grow_net(
    arrays: Mapping[str, np.ndarray], config: Any, old: Catalog, new: Catalog, sequences: Sequences, seed: int
) -> TiedNet:
    """The net of an artifact's arrays, its table indexed by the new catalogue; ``sequences`` (in it) place new items.

    ValueError where an item of the old catalogue is missing from the new one, or the artifact has no parameters.
    """
    where = new.index(old.ids)
    if (where == PAD).any():
        raise ValueError(f"The new catalogue has lost item {old.ids[int(np.argmin(where))]!r}; it may only grow.")
    table = np.zeros((new.size, arrays["table"].shape[1]), dtype=np.float32)
    table[where] = arrays["table"][1:]
    fresh = np.setdiff1d(np.arange(1, new.size), where)
    if len(fresh):
        table[fresh] = _start(table, fresh, sequences, config, np.random.default_rng((seed, 4)))
    net = assemble(config, torch.from_numpy(table), torch.Generator().manual_seed(seed))
    weights = {name: torch.from_numpy(value.copy()) for name, value in _parameters(arrays, config)}
    if "time.vectors" in arrays:
        weights["clock.vectors"] = torch.from_numpy(arrays["time.vectors"].copy())
    net.encoder.load_state_dict(weights)
    return net


def _parameters(arrays: Mapping[str, np.ndarray], config: Any) -> list[tuple[str, np.ndarray]]:
    """(name in the torch net, value) of every parameter of the encoder."""
    if isinstance(config, GRU4RecConfig):
        return [(f"layers.{key.removeprefix('gru.')}", v) for key, v in arrays.items() if key.startswith("gru.")]
    found = [(key.removeprefix("net."), value) for key, value in arrays.items() if key.startswith("net.")]
    if not found:
        raise ValueError("This model was saved without its parameters, so it cannot be trained on: train it anew.")
    return found


def _start(
    table_VD: np.ndarray, fresh_F: np.ndarray, sequences: Sequences, config: Any, rng: np.random.Generator
) -> np.ndarray:
    """float32 [F, D]: the mean of known neighbours, as long as known vectors are; random where there is none."""
    forward = windowed_pairs(sequences, len(table_VD), WINDOW)
    near_FV = (forward + forward.T).tocsr()[fresh_F]
    length = float(np.linalg.norm(table_VD[table_VD.any(axis=1)], axis=1).mean()) if table_VD.any() else 1.0
    mean_FD = near_FV @ table_VD + rng.normal(0.0, 1e-3, (len(fresh_F), table_VD.shape[1]))
    if config.temperature is None:
        mean_FD[:, -1] = 0.0
    return (unit(mean_FD) * length).astype(np.float32)
