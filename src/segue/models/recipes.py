"""Published settings by name: a model, and how it was trained where it reached the accuracy that is quoted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A model's name and the settings that differ from its own."""

    model: str
    settings: Mapping[str, Any]
    source: str
    """Who published them, and where ours differ."""


_PLAIN: Mapping[str, Any] = {"temperature": None, "spectral_start": False, "prior": 0.0, "learning_rate": 1e-3}
"""None of this library's own means: a dot product from a random start, no rule beside the network."""

RECIPES: dict[str, Recipe] = {
    "klenitskiy-2023": Recipe(
        "sasrec",
        {**_PLAIN, "positions": "reversed", "heads": 1, "length": 200, "dropout": 0.1}
        | {"loss": "full", "batch_tokens": 25_600, "epochs": 60, "patience": 10},
        "Klenitskiy & Vasilev 2023, 'Turning Dross Into Gold Loss': SASRec with cross-entropy over every item, ML-1M.",
    ),
    "esasrec": Recipe(
        "sasrec",
        {**_PLAIN, "positions": "reversed", "block": "ligr", "heads": 1, "length": 200, "dropout": 0.2}
        | {"loss": "sampled", "negatives": 256, "negative_power": 0.0, "batch_tokens": 25_600, "epochs": 100}
        | {"patience": 10},
        "eSASRec (2025): LiGR blocks and a sampled softmax; its negatives are drawn for each target, ours for a batch.",
    ),
    "bert4rec-2019": Recipe(
        "bert4rec",
        {**_PLAIN, "length": 199, "mask": 0.2, "dropout": 0.2}
        | {"loss": "full", "batch_tokens": 25_600, "epochs": 200, "patience": 20},
        "Sun et al. 2019, with the share of hidden events for ML-1M and the patience that Petrov & Macdonald 2022 ask.",
    ),
}
"""The one table of recipes."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name. ValueError that lists the names for any other."""
    if name not in RECIPES:
        raise ValueError(f"There is no recipe '{name}'. Known recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]
