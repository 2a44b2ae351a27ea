"""A ranker on disk: an artifact like a model's, which no server takes for a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.models import artifact
from segue.models.rankers.ranker import NeuralRanker, find_ranker, restore_ranker

KIND = "ranker"
"""What the manifest calls it in place of a model's name."""


@dataclass(frozen=True)
class SavedRanker:
    """A ranker with everything that its folder holds."""

    ranker: NeuralRanker
    settings: dict[str, Any]
    """The ranker's own, complete."""
    catalog: Catalog
    items: dict[str, dict[str, Any]]
    """What people see of the items."""
    about: dict[str, Any]
    """Where it came from and how good it was."""

    def save(self, folder: Path) -> str:
        """Writes the folder and returns its version; see ``artifact.save``."""
        named = {"name": self.ranker.name, "settings": self.settings}
        arrays = self.ranker.arrays()
        return artifact.save(artifact.Artifact(KIND, named, self.catalog, arrays, self.items, self.about), folder)


def is_ranker(folder: Path) -> bool:
    """Whether a folder holds a ranker. ValueError where it holds nothing of Segue's, or something damaged."""
    return artifact.load(folder).model == KIND


def load_ranker(folder: Path) -> SavedRanker:
    """What ``SavedRanker.save`` wrote. ValueError, in a sentence, for anything else."""
    saved = artifact.load(folder)
    if saved.model != KIND:
        raise ValueError(f"{folder} holds the model {saved.model} and no ranker: 'segue train-ranker' writes one.")
    name, own = saved.settings["name"], saved.settings["settings"]
    ranker = restore_ranker(name, saved.arrays, decode_settings(find_ranker(name).config, own))
    if ranker.size != saved.catalog.size:
        raise ValueError(
            f"The ranker in {folder} knows {ranker.size - 1} items, but its catalog holds {len(saved.catalog)}: the "
            "artifact was put together from two."
        )
    return SavedRanker(ranker, own, saved.catalog, saved.items, saved.about)
