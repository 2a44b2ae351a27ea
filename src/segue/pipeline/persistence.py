"""A pipeline on disk: one artifact that holds every source's model, so that it is loaded and served as one."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from segue.config.decode import decode_settings
from segue.models.artifact import Artifact
from segue.models.loading import restore_model
from segue.models.rankers.ranker import find_ranker, restore_ranker
from segue.models.scorer import Scorer
from segue.models.zoo import ZOO, find_model
from segue.pipeline.blending.blend import Blend, LearnedBlend, unlearned_blend
from segue.pipeline.blending.boosted_trees import BoostedTrees
from segue.pipeline.blending.cold_start import ColdStartScorer
from segue.pipeline.blending.features import ScoreScales
from segue.pipeline.blending.second_stage import SecondStageRanker
from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.candidates.vector_index import HNSWIndex
from segue.pipeline.config import PipelineConfig, decode_pipeline
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.pipeline import CandidateScorer, Pipeline, distinct_sources


def restore_saved_pipeline(artifact: Artifact) -> Scorer:
    """The scorer that an artifact holds, a single model's or a whole pipeline's. ValueError as for a single model."""
    if artifact.model != Pipeline.name:
        return restore_model(artifact)
    pipeline = restore_pipeline(artifact.arrays, artifact.settings)
    if pipeline.size != artifact.catalog.size:
        raise ValueError(
            f"The pipeline scores {pipeline.size - 1} items, but its catalog holds {len(artifact.catalog)}: the "
            "artifact was put together from two."
        )
    return pipeline


def saved_settings(pipeline: Pipeline, chosen: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """What an artifact's settings hold: the file's settings, and of each distinct model its name and its own settings
    (``chosen``, by the model's number), complete."""
    scorers, number_S = distinct_sources(pipeline)
    return {
        "pipeline": asdict(pipeline.config),
        "models": [{"name": scorer.name, "settings": dict(chosen[m])} for m, scorer in enumerate(scorers)],
        "model_of_source": number_S,
        "exclude_seen": pipeline.exclude_seen,
        "temperature": pipeline.scoring.temperature,
        "coverage": pipeline.scoring.coverage,
    } | _ranker_settings(pipeline)


def restore_pipeline(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Pipeline:
    """What ``arrays_of`` and ``settings_of`` gave. ValueError for settings that this version does not know."""
    config = decode_pipeline(values["pipeline"])
    scorers = [_model(one, _part(arrays, f"model.{m}")) for m, one in enumerate(values["models"])]
    sources = [
        CandidateSource(scorers[m], one, HNSWIndex.restore(arrays[f"index.{s}"]) if f"index.{s}" in arrays else None)
        for s, (m, one) in enumerate(zip(values["model_of_source"], config.source, strict=True))
    ]
    trees, told = _part(arrays, "trees"), _part(arrays, "newcomers")
    weighing = CandidateScorer(
        ScoreScales(arrays["scales.log"], arrays["scales.spread"]),
        _blend(_part(arrays, "blend"), config),
        BoostedTrees.restore(trees) if trees else None,
        float(values["temperature"]),
        float(values["coverage"]),
        ColdStartScorer.restore(told) if told else None,
    )
    shelf = ItemStatistics.restore(_part(arrays, "shelf"))
    second = _ranker(_part(arrays, "ranker"), values.get("ranker"))
    return Pipeline(sources, weighing, shelf, config, exclude_seen=bool(values["exclude_seen"]), second_stage=second)


def _model(one: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Scorer:
    name = one["name"]
    if name not in ZOO and name not in BUILTIN_SOURCES:
        raise ValueError(f"The pipeline holds the model '{name}', which this version of Segue does not know.")
    entry = BUILTIN_SOURCES[name] if name in BUILTIN_SOURCES else find_model(name)
    return entry.restore(arrays, decode_settings(entry.config, one["settings"]))


def _ranker_settings(pipeline: Pipeline) -> dict[str, Any]:
    """What brings the ranker back; nothing where the pipeline has none."""
    second = pipeline.second_stage
    if second is None:
        return {}
    own = {"weight": second.weight, "first": second.num_candidates, "settings": dict(second.settings)}
    return {"ranker": {"name": second.ranker.name, **own}}


def _ranker(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any] | None) -> SecondStageRanker | None:
    """None for a pipeline without one, and for one that an older version of Segue saved."""
    if values is None:
        return None
    config: Any = decode_settings(find_ranker(values["name"]).config, values["settings"])
    ranker = restore_ranker(values["name"], arrays, config)
    return SecondStageRanker(ranker, float(values["weight"]), int(values["first"]), values["settings"])


def _blend(arrays: Mapping[str, np.ndarray], config: PipelineConfig) -> Blend:
    """What was learned; where there was nothing to learn from, reciprocal rank."""
    return (
        LearnedBlend.restore(arrays)
        if arrays
        else unlearned_blend(config.blend, [one.display_name for one in config.source])
    )


def _part(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}
