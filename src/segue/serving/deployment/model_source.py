"""Source of a server's model versions: a registry, or one model folder."""

import os
from pathlib import Path
from typing import Protocol

from segue.models import artifact
from segue.serving.deployment import golden_requests
from segue.serving.deployment.candidate_examination import CandidateExaminer
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.pointer import POINTER_FORMAT, DeploymentSpec, Pointer
from segue.serving.inference.served_model import ServedModel

_MAX_NAMES = 100


class ModelSource(Protocol):
    """Source of model versions: a registry or a plain model folder."""

    def pointer(self) -> Pointer:
        """Return the pointer to the deployed versions."""

    def open(self, version: str) -> ServedModel:
        """Load and test a version. ValueError if it is not sound."""

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """Restore the previous deployment.

        Args:
            note: reason of the change.
            generation: roll back only if this is still the current generation; None: always.
        """

    def clean(self) -> None:
        """Remove what killed processes left behind."""

    def file_states(self) -> object:
        """Return the state of the files that may change under one pointer; a refused version is tried again then."""

    def close(self) -> None:
        """End an examination under way."""


class ModelFolder:
    """Source of one model in a folder of its own. A version that is saved there later is deployed."""

    def __init__(self, folder: Path, examiner: CandidateExaminer | None = None) -> None:
        """Follow a folder.

        Args:
            folder: the model folder.
            examiner: examiner of versions; None: one with the default limits.
        """
        self._folder = Path(folder)
        self._examiner = examiner or CandidateExaminer()

    def pointer(self) -> Pointer:
        """Return a pointer to the folder's version.

        Raises:
            ValueError: the folder holds no model at this time.
        """
        version = artifact.version(self._folder)
        return Pointer(POINTER_FORMAT, int(version, 16), DeploymentSpec(version))

    def open(self, version: str) -> ServedModel:
        """Examine the folder's model, load it, and check its golden requests.

        Raises:
            ValueError: the model is not sound, or was replaced meanwhile.
        """
        golden = self._examiner.examine(self._folder)
        model = ServedModel.open(self._folder)
        if model.version != version:
            raise ValueError(f"{self._folder} was replaced while it was examined: the next check loads it.")
        golden_requests.check_golden(model, golden or golden_requests.record_golden(model))
        return model

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """Return the pointer unchanged: a plain folder has no previous version. See ``ModelSource.rollback``."""
        return self.pointer()

    def clean(self) -> None:
        """Do nothing: the next save removes what a killed one left behind."""

    def file_states(self) -> object:
        """Return inode, size and time of the folder's files."""
        try:
            names = sorted(os.listdir(self._folder))[:_MAX_NAMES]
            states = [os.lstat(self._folder / name) for name in names]
        except OSError:
            return None
        return [(name, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in zip(names, states, strict=True)]

    def close(self) -> None:
        """End an examination under way."""
        self._examiner.close()


def model_source(folder: Path, examiner: CandidateExaminer | None = None) -> ModelSource:
    """Return the registry in a folder, or the folder as a plain model folder.

    Args:
        folder: the folder.
        examiner: examiner of versions; None: one with the default limits.
    """
    return ModelRegistry.at(folder, examiner) or ModelFolder(folder, examiner)
