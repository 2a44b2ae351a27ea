"""Restoring a scorer from an artifact."""

from segue.config.decode import decode_settings
from segue.models.artifact import Artifact
from segue.models.ensemble import Ensemble
from segue.models.rankers import ranker_artifact
from segue.models.scorer import Scorer
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
        raise ValueError(f"The artifact holds the model '{artifact.model}'; this version of Segue knows: {known}.")
    if "+" in artifact.model:
        scorer: Scorer = Ensemble.restore(artifact.arrays, artifact.model, artifact.settings)
    else:
        entry = ZOO[artifact.model]
        scorer = entry.restore(artifact.arrays, decode_settings(entry.config, artifact.settings))
    if scorer.size != artifact.catalog.size:
        raise ValueError(
            f"The model '{artifact.model}' scores {scorer.size - 1} items, but its catalog holds "
            f"{len(artifact.catalog)}: the artifact was put together from two models."
        )
    return scorer
