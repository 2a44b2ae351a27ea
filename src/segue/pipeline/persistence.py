"""Save and load of a pipeline: one artifact with the models of all sources."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.sequences import Sequences
from segue.models.artifact import Artifact
from segue.models.loading import restore_model
from segue.models.probabilities.temperature_mixture import TemperatureMixture
from segue.models.rankers.ranker import find_ranker, restore_ranker
from segue.models.rankers.ranker_artifact import KIND
from segue.models.scorer import Scorer
from segue.models.tensor_checks import check_tensors, refuse_unsound
from segue.models.zoo import ZOO, find_model
from segue.pipeline.blending.blend import Blend, LearnedBlend, unlearned_blend
from segue.pipeline.blending.boosted_trees import BoostedTrees
from segue.pipeline.blending.candidate_scorer import CandidateScorer
from segue.pipeline.blending.cold_start import ColdStartScorer
from segue.pipeline.blending.features import CONTEXT_FEATURES, ITEM_FEATURES, ScoreScales
from segue.pipeline.blending.second_stage import SecondStageRanker
from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES
from segue.pipeline.candidates.source import CandidateSource, as_vector_scorer
from segue.pipeline.candidates.vector_index import HNSWIndex
from segue.pipeline.config import PipelineConfig, decode_pipeline
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.pipeline import Pipeline, distinct_sources


def restore_saved_pipeline(artifact: Artifact) -> Scorer:
    """Return the scorer of an artifact: a single model or a whole pipeline.

    Raises:
        ValueError: an unknown model or setting, or a catalog of another size than the pipeline's.
    """
    if artifact.model != Pipeline.name:
        return restore_model(artifact)
    with refuse_unsound(Pipeline.name):
        pipeline = restore_pipeline(artifact.arrays, artifact.settings, artifact.catalog.size)
    if pipeline.size != artifact.catalog.size:
        raise ValueError(
            f"The pipeline scores {pipeline.size - 1} items, but its catalog holds {len(artifact.catalog)}: the "
            "artifact was put together from two."
        )
    return pipeline


def saved_settings(pipeline: Pipeline, chosen: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of a pipeline's artifact: those of the file, and the complete ones of each distinct model.

    Args:
        pipeline: the fitted pipeline.
        chosen: settings of each distinct model, by its number in ``distinct_sources``.
    """
    scorers, number_S = distinct_sources(pipeline)
    return {
        "pipeline": asdict(pipeline.config),
        "models": [{"name": scorer.name, "settings": dict(chosen[m])} for m, scorer in enumerate(scorers)],
        "model_of_source": number_S,
        "exclude_seen": pipeline.exclude_seen,
        "temperature": pipeline.scoring.temperature,
        "coverage": pipeline.scoring.coverage,
        "mixture": None if pipeline.scoring.mixture is None else pipeline.scoring.mixture.to_dict(),
        "temperature_without_history": pipeline.scoring.temperature_without_history,
        "coverage_without_history": pipeline.scoring.coverage_without_history,
    } | _ranker_settings(pipeline)


def restore_pipeline(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], size: int) -> Pipeline:
    """Return the pipeline of saved arrays and settings.

    Args:
        arrays: arrays of ``pipeline_arrays``, by name.
        values: settings of ``saved_settings``.
        size: V, catalog size with PAD.

    Raises:
        ValueError: a model or a setting that this version does not know, or a tensor that is not valid.
    """
    config = decode_pipeline(values["pipeline"])
    _check_arrays(arrays, values, size)
    scorers = [_model(model, _part(arrays, f"model.{m}"), size) for m, model in enumerate(values["models"])]
    sources = [
        CandidateSource(scorers[m], source, _index(arrays.get(f"index.{s}"), scorers[m]))
        for s, (m, source) in enumerate(zip(values["model_of_source"], config.source, strict=True))
    ]
    trees, cold_start = _part(arrays, "trees"), _part(arrays, "cold_start")
    scoring = CandidateScorer(
        ScoreScales(arrays["scales.log"], arrays["scales.spread"]),
        _blend(_part(arrays, "blend"), config),
        BoostedTrees.restore(trees) if trees else None,
        float(values["temperature"]),
        float(values["coverage"]),
        ColdStartScorer.restore(cold_start) if cold_start else None,
        None if values.get("mixture") is None else decode_settings(TemperatureMixture, values["mixture"], "mixture."),
        values.get("temperature_without_history"),
        values.get("coverage_without_history"),
    )
    item_statistics = ItemStatistics.restore(_part(arrays, "item_statistics"))
    second_stage = _ranker(_part(arrays, "ranker"), values.get("ranker"), size)
    return Pipeline(
        sources, scoring, item_statistics, config, exclude_seen=bool(values["exclude_seen"]), second_stage=second_stage
    )


def _check_arrays(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], size: int) -> None:
    """Check the pipeline's own tensors and the numbers in its settings; raise a ValueError if any is not valid."""
    check_tensors(Pipeline.name, arrays, size)
    num_models, num_sources = len(values["models"]), len(values["model_of_source"])
    prefixes = [*(f"model.{m}." for m in range(num_models)), *(["ranker."] if "ranker" in values else [])]
    for name in arrays:
        is_member = name.startswith(("model.", "ranker."))
        if (is_member and not name.startswith(tuple(prefixes))) or (
            name.startswith("index.") and name not in {f"index.{s}" for s in range(num_sources)}
        ):
            raise ValueError(f"The tensor '{name}' belongs to no model of the pipeline.")
    if len(arrays["scales.log"]) != num_sources or any(m not in range(num_models) for m in values["model_of_source"]):
        raise ValueError("The sources of the pipeline do not fit its tensors.")
    num_features = 2 * num_sources + len(ITEM_FEATURES) + len(CONTEXT_FEATURES)
    if arrays.get("trees.feature", np.zeros(1)).max(initial=0) >= num_features:
        raise ValueError(f"The boosted trees test a feature beyond the {num_features} of the pipeline.")
    if "blend.weights" in arrays and arrays["blend.weights"].shape[1] > num_features:
        raise ValueError(f"The blend has more features than the {num_features} of the pipeline.")
    for name in ("temperature", "coverage", "temperature_without_history", "coverage_without_history"):
        value = values.get(name) if name.endswith("_without_history") else values[name]
        if value is not None and not (math.isfinite(value) and value >= 0 and (value > 0 or "coverage" in name)):
            raise ValueError(f"The {name} of the pipeline must be a finite number, a temperature above 0.")


def _index(saved: np.ndarray | None, scorer: Scorer) -> HNSWIndex | None:
    """Return the approximate index of a source; None for a source without one."""
    if saved is None:
        return None
    return HNSWIndex.restore(saved, as_vector_scorer(scorer).queries(Sequences.from_lists([[]]))[1])


def _model(saved: Mapping[str, Any], arrays: Mapping[str, np.ndarray], size: int) -> Scorer:
    name = saved["name"]
    if name not in ZOO and name not in BUILTIN_SOURCES:
        raise ValueError(f"The pipeline holds the model '{name}', which this version of Segue does not know.")
    entry = BUILTIN_SOURCES[name] if name in BUILTIN_SOURCES else find_model(name)
    check_tensors(name, arrays, size)
    return entry.restore(arrays, decode_settings(entry.config, saved["settings"]))


def _ranker_settings(pipeline: Pipeline) -> dict[str, Any]:
    """Return the settings that restore the ranker; none for a pipeline without one."""
    second_stage = pipeline.second_stage
    if second_stage is None:
        return {}
    saved = {
        "weight": second_stage.weight,
        "num_candidates": second_stage.num_candidates,
        "settings": dict(second_stage.settings),
    }
    return {"ranker": {"name": second_stage.ranker.name, **saved}}


def _ranker(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any] | None, size: int) -> SecondStageRanker | None:
    """Return the second stage; None for a pipeline without one."""
    if values is None:
        return None
    check_tensors(KIND, arrays, size)
    config: Any = decode_settings(find_ranker(values["name"]).config, values["settings"])
    ranker = restore_ranker(values["name"], arrays, config)
    return SecondStageRanker(ranker, float(values["weight"]), int(values["num_candidates"]), values["settings"])


def _blend(arrays: Mapping[str, np.ndarray], config: PipelineConfig) -> Blend:
    """Return the learned blend, or the unlearned one where nothing was learned."""
    return (
        LearnedBlend.restore(arrays)
        if arrays
        else unlearned_blend(config.blend, [source.display_name for source in config.source])
    )


def _part(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}
