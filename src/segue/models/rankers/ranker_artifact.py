"""Artifact of a ranker. Its manifest names no model, so a server refuses it as a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.models import artifact
from segue.models.rankers.ranker import NeuralRanker, find_ranker, restore_ranker
from segue.models.tensor_checks import check_tensors, refuse_unsound

KIND = "ranker"
"""Entry of the manifest in place of a model's name."""


@dataclass(frozen=True)
class SavedRanker:
    """Ranker with the other contents of its artifact."""

    ranker: NeuralRanker
    settings: dict[str, Any]
    """All settings of the ranker."""
    catalog: Catalog
    """Item ids."""
    items: dict[str, dict[str, Any]]
    """Displayed columns of the items, by item id."""
    about: dict[str, Any]
    """Origin and evaluation of the ranker."""

    def save(self, folder: Path) -> str:
        """Write the artifact to a folder and return its version; see ``artifact.save``."""
        named = {"name": self.ranker.name, "settings": self.settings}
        arrays = self.ranker.arrays()
        return artifact.save(artifact.Artifact(KIND, named, self.catalog, arrays, self.items, self.about), folder)


def is_ranker(folder: Path) -> bool:
    """Return True if a folder holds a ranker.

    Raises:
        ValueError: the folder holds no artifact, or a damaged one.
    """
    return artifact.load(folder).model == KIND


def load_ranker(folder: Path) -> SavedRanker:
    """Read the artifact that ``SavedRanker.save`` wrote.

    Raises:
        ValueError: the folder holds anything else, or a damaged artifact.
    """
    saved = artifact.load(folder)
    if saved.model != KIND:
        raise ValueError(f"{folder} holds the model {saved.model} and no ranker: 'segue train-ranker' writes one.")
    with refuse_unsound(KIND):
        name, settings = saved.settings["name"], saved.settings["settings"]
        check_tensors(KIND, saved.arrays, saved.catalog.size)
        ranker = restore_ranker(name, saved.arrays, decode_settings(find_ranker(name).config, settings))
    if ranker.size != saved.catalog.size:
        raise ValueError(
            f"The ranker in {folder} knows {ranker.size - 1} items, but its catalog holds {len(saved.catalog)}: the "
            "artifact was put together from two."
        )
    return SavedRanker(ranker, settings, saved.catalog, saved.items, saved.about)
