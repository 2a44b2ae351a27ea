"""Restoring a scorer from an artifact."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from segue.config.decode import decode_settings
from segue.models.artifact import Artifact
from segue.models.artifact_tensors import find_tensor
from segue.models.ensemble import Ensemble
from segue.models.rankers import ranker_artifact
from segue.models.scorer import Scorer
from segue.models.tensor_checks import check_tensors, refuse_unsound
from segue.models.zoo import ZOO


def restore_model(artifact: Artifact) -> Scorer:
    """Restore the fitted scorer of an artifact.

    Raises:
        ValueError: this version does not know the model or a setting, or the tensors belong to another catalog.
    """
    if artifact.model == ranker_artifact.KIND:
        raise ValueError(
            f"This is a ranker, {artifact.settings.get('name')}: it orders candidates and finds none itself. Name its "
            "folder as rank.model in a pipeline's settings, or use it with 'segue rank'."
        )
    if not set(artifact.model.split("+")) <= set(ZOO):
        known = ", ".join(sorted(ZOO)) or "none"
        raise ValueError(
            f"The artifact holds the model '{artifact.model[:100]}'; this version of Segue knows: {known}."
        )
    with refuse_unsound(artifact.model):
        names = artifact.model.split("+")
        if unlisted := [name for name in artifact.arrays if find_tensor(artifact.model, name) is None]:
            raise ValueError(f"The tensor '{unlisted[0]}' does not belong to the model '{artifact.model}'.")
        if len(names) > 1:
            scorer: Scorer = Ensemble.restore(artifact.arrays, artifact.model, artifact.settings, artifact.catalog.size)
        else:
            scorer = restore_member(artifact.model, artifact.arrays, artifact.settings, artifact.catalog.size)
    if scorer.size != artifact.catalog.size:
        raise ValueError(
            f"The model '{artifact.model}' scores {scorer.size - 1} items, but its catalog holds "
            f"{len(artifact.catalog)}: the artifact was put together from two models."
        )
    return scorer


def restore_member(name: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any], size: int) -> Scorer:
    """Check the tensors and settings of one model, and restore it.

    Args:
        name: name in the zoo.
        arrays: tensors of the model.
        settings: plain values of its settings.
        size: V, catalog size with PAD.

    Raises:
        ValueError: a tensor or a setting is not valid.
    """
    entry = ZOO[name]
    config: Any = decode_settings(entry.config, settings)
    check_tensors(name, arrays, size)
    return entry.restore(arrays, config)
