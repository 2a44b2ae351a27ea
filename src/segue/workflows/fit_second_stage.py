"""Fit of the second stage on validation cases: the ranker behind a pipeline and the weight of its log odds.

Shape letters: W weights, N cases, C candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segue.config.names import normalize_name
from segue.data.catalog import PAD, Catalog
from segue.data.evaluation_cases import Split
from segue.data.sequences import NO_TIME, Sequences
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.point_in_time import PointInTimeRanker
from segue.models.rankers.ranker import RANKERS, NeuralRanker
from segue.models.rankers.ranker_artifact import SavedRanker, load_ranker
from segue.pipeline.blending.second_stage import SecondStageRanker, add_log_odds
from segue.pipeline.config import RankConfig
from segue.pipeline.pipeline import BATCH_SIZE, Pipeline
from segue.workflows.fit_blend import (
    MIN_CASES,
    case_ndcg,
    concat_cases,
    sample_cases,
    training_mask,
)
from segue.workflows.fit_ranker import fit_ranker_on_split
from segue.workflows.probabilities.fit_temperature import fit_temperatures

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Candidate weights, for scores divided by their temperature (log probabilities)."""
LARGER_WEIGHTS = (3.2, 6.4, 12.8, 25.6, 51.2)
"""Weights that are tried while the best one is the largest so far. With the last one the ranker decides alone."""

ReportProgress = Callable[[str], None]


def load_saved_ranker(config: RankConfig, split: Split) -> SavedRanker | None:
    """Load the ranker of the folder in ``rank.model``; None where this names a ranker to train, or no ranker.

    Args:
        config: settings of the second stage.
        split: the split of the pipeline; the ranker must have been trained on the same one.

    Raises:
        ValueError: neither a ranker nor a folder of one, or a ranker of other events, which cannot be evaluated here.
    """
    if config.model is None or normalize_name(config.model) in RANKERS:
        return None
    if not Path(config.model).is_dir():
        raise ValueError(
            f"There is no ranker '{config.model}': rank.model is {', '.join(RANKERS)}, or a folder that "
            "'segue train-ranker' wrote."
        )
    if config.settings:
        raise ValueError(f"The ranker in {config.model} is trained already: rank.settings would change nothing.")
    saved = load_ranker(Path(config.model))
    if saved.about.get("data") != split.fingerprint:
        raise ValueError(
            f"The ranker in {config.model} was trained on other data, or on another cut of it, so that a pipeline with "
            "it could not be evaluated: run 'segue train-ranker' with this log and protocol."
        )
    return saved


def fit_second_stage(
    pipeline: Pipeline, split: Split, seed: int, report: ReportProgress
) -> tuple[Pipeline, dict[str, Any]]:
    """Add the ranker of the settings to a pipeline, with the weight that is best on held-out validation cases.

    Args:
        pipeline: a pipeline whose sources were fitted on the split's training events only.
        split: training events of the ranker and validation cases of its weight.
        seed: random seed.
        report: called with the name of each stage.

    Returns:
        (pipeline, notes). The pipeline is unchanged where the best weight is 0.
    """
    config = pipeline.config.rank
    ranker, own, notes = _load_or_fit_ranker(config, split, seed, report)
    second = SecondStageRanker(
        PointInTimeRanker(ranker, ItemHistories.from_sequences(split.refit, split.catalog.size)),
        1.0,
        config.num_candidates,
        own,
    )
    report(f"fitting the weight of {ranker.name}")
    cases = score_validation_cases(pipeline, second, split, seed)
    scoring, weight = pipeline.scoring, config.weight
    notes |= {"cases": len(cases.target_N)}
    if len(cases.target_N) >= MIN_CASES:
        weights = list(WEIGHTS)
        gains = [cases.ndcg(w * scoring.temperature) for w in weights]
        for larger in LARGER_WEIGHTS:
            if max(gains, key=np.mean) is not gains[-1]:
                break
            weights.append(larger)
            gains.append(cases.ndcg(larger * scoring.temperature))
        gain_WN = np.stack(gains)
        weight = weights[select_weight(gain_WN)] if weight is None else weight
        scale = weight * scoring.temperature
        notes["held_out_ndcg@10"] = {
            f"{w:g}": round(float(gain_N.mean()), 5) for w, gain_N in zip(weights, gain_WN, strict=True)
        }
        parts = cases.is_candidate_NC, cases.target_N, cases.scores(scale)
        temperature, mixture = fit_temperatures(*parts)
        scoring = replace(scoring, temperature=temperature, mixture=mixture)
    else:
        weight, scale = weight or 0.0, (weight or 0.0) * scoring.temperature
    notes["weight"] = weight
    if scale == 0:
        return pipeline, notes
    stages = (pipeline.sources, scoring, pipeline.item_statistics, pipeline.config)
    with_ranker = Pipeline(*stages, exclude_seen=pipeline.exclude_seen, second_stage=replace(second, weight=scale))
    return with_ranker, notes


def refit_second_stage(
    second: SecondStageRanker, old: Catalog, sequences: Sequences, catalog: Catalog
) -> SecondStageRanker:
    """Move a second stage to the catalog and the item histories of every event; its net keeps its weights.

    Args:
        second: the fitted second stage.
        old: catalog that the ranker was trained with.
        sequences: every event.
        catalog: the new catalog.
    """
    ranker = second.ranker.ranker if isinstance(second.ranker, PointInTimeRanker) else second.ranker
    assert isinstance(ranker, NeuralRanker)
    row_V = np.concatenate([[PAD], old.to_indices(catalog.ids)])
    return replace(second, ranker=ranker.to_catalog(row_V, ItemHistories.from_sequences(sequences, catalog.size)))


@dataclass(frozen=True)
class SecondStageCases:
    """Held-out validation cases whose target is among the candidates."""

    scores_NC: np.ndarray
    """Scores of the pipeline; -inf for PAD."""
    log_odds_NC: np.ndarray
    """Log odds of the ranker; NaN for candidates that it did not score."""
    is_candidate_NC: np.ndarray
    """bool: False for PAD."""
    target_N: np.ndarray
    """Column of the target."""

    def scores(self, weight: float) -> np.ndarray:
        """Return the scores with ``weight`` times the log odds added, float64 [N, C]."""
        return self.scores_NC if weight == 0 else add_log_odds(self.scores_NC, self.log_odds_NC, weight)

    def ndcg(self, weight: float) -> np.ndarray:
        """Return NDCG@10 of each case, float64 [N]."""
        return case_ndcg(self.is_candidate_NC, self.target_N, self.scores(weight))


def select_weight(gain_WN: np.ndarray) -> int:
    """Return the index of the weight with the best mean gain.

    It is 0, no ranker, where the best mean exceeds that of index 0 by at most one standard error of the difference.

    >>> select_weight(np.array([[0.1, 0.5, 0.3], [0.2, 0.6, 0.4], [0.0, 0.9, 0.2]]))
    1
    >>> select_weight(np.array([[0.1, 0.5, 0.3], [0.6, 0.1, 0.3]]))
    0
    """
    best = int(gain_WN.mean(axis=1).argmax())
    gain_N = gain_WN[best] - gain_WN[0]
    return best if gain_N.mean() > gain_N.std(ddof=1) / np.sqrt(len(gain_N)) else 0


def score_validation_cases(pipeline: Pipeline, second: SecondStageRanker, split: Split, seed: int) -> SecondStageCases:
    """Score the held-out validation cases by the pipeline and by the ranker; the same users as in ``fit_blend``.

    Args:
        pipeline: the pipeline without a ranker.
        second: the ranker, with any weight.
        split: the validation cases.
        seed: random seed of the sample and of the held-out users.
    """
    cases = sample_cases(split.validation, split.exclude_seen, pipeline.config.rank.max_cases, seed)
    blocks = []
    for start in range(0, len(cases), BATCH_SIZE):
        part = cases.take(slice(start, start + BATCH_SIZE))
        seen = part.histories.drop_unknown() if split.exclude_seen else None
        candidates, scores_BC = pipeline.score_candidates(part.histories, exclude=seen)
        hit_BC = (candidates.items_BC == part.targets[:, None]) & (candidates.items_BC != PAD)
        rows = np.flatnonzero(hit_BC.any(axis=1))
        columns = (
            scores_BC[rows],
            candidates.items_BC[rows],
            hit_BC[rows].argmax(axis=1),
            part.groups[rows],
            start + rows,
        )
        blocks.append(columns)
    if not blocks:
        return SecondStageCases(
            np.zeros((0, 1)), np.zeros((0, 1)), np.zeros((0, 1), dtype=bool), np.zeros(0, dtype=np.int64)
        )
    scores_NC, items_NC, target_N, groups_N, row_N = (concat_cases(column) for column in zip(*blocks, strict=True))
    kept_N = ~training_mask(groups_N, seed)
    items_NC, target_N, row_N = items_NC[kept_N], target_N[kept_N], row_N[kept_N]
    scores_NC = np.where(items_NC != PAD, scores_NC[kept_N], -np.inf)
    kept_cases = cases.take(row_N)
    histories = kept_cases.histories.drop_unknown()
    if kept_cases.times is not None:
        # Without events there is no newest event; the end of the log would be later than the case.
        histories = histories.as_of(np.where(histories.lengths > 0, NO_TIME, kept_cases.times))
    log_odds_NC = second.log_odds(histories, items_NC, scores_NC)
    return SecondStageCases(scores_NC, log_odds_NC, items_NC != PAD, target_N)


def _load_or_fit_ranker(
    config: RankConfig, split: Split, seed: int, report: ReportProgress
) -> tuple[NeuralRanker, dict[str, Any], dict[str, Any]]:
    """Return (ranker, its settings, notes on its origin)."""
    saved = load_saved_ranker(config, split)
    if saved is not None:
        return saved.ranker, saved.settings, {"ranker": saved.ranker.name, "folder": config.model}
    assert config.model is not None
    name = normalize_name(config.model)
    report(f"training {name}")

    def report_epoch(epoch: int, loss: float, validation: float | None) -> None:
        report(f"training {name}: epoch {epoch}, loss {loss:.4f}, validation AUC {validation or 0:.4f}")

    fitted, _ = fit_ranker_on_split(split, name, config.settings, seed=seed, progress=report_epoch)
    return fitted.ranker, fitted.settings, {"ranker": name, **fitted.notes, "fit_s": round(fitted.fit_s, 1)}
