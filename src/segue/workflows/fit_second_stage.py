"""What validation says of a ranker behind a pipeline: how much its opinion is to count beside the score, if at all.

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
from segue.pipeline.pipeline import BLOCK, Pipeline
from segue.workflows.fit_blend import MIN_CASES, case_ndcg, concat_cases, fit_temperature, sample_cases, training_mask
from segue.workflows.fit_ranker import fit_ranker_on_split

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""What is tried, beside a score that is a log-probability (that is, divided by its temperature)."""

ReportProgress = Callable[[str], None]


def load_saved_ranker(config: RankConfig, split: Split) -> SavedRanker | None:
    """The ranker that the settings name by its folder, None where they name one to train or none at all.

    ValueError where it is neither, and for one that learned from other events than the split trains on: a pipeline with
    it could not be judged.
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
            "it could not be judged: run 'segue train-ranker' with this log and protocol."
        )
    return saved


def fit_second_stage(
    pipeline: Pipeline, split: Split, seed: int, report: ReportProgress
) -> tuple[Pipeline, dict[str, Any]]:
    """(the pipeline with the ranker that its settings ask for, what was measured); without it where it is worth no
    weight. The pipeline must have seen nothing but the split's training events; so does the ranker."""
    config = pipeline.config.rank
    ranker, own, notes = _load_or_fit_ranker(config, split, seed, report)
    second = SecondStageRanker(
        PointInTimeRanker(ranker, ItemHistories.from_sequences(split.refit, split.catalog.size)), 1.0, config.num_candidates, own
    )
    report(f"learning how much {ranker.name} is to count")
    cases = score_validation_cases(pipeline, second, split, seed)
    scoring, weight = pipeline.scoring, config.weight
    notes |= {"cases": len(cases.target_N)}
    if len(cases.target_N) >= MIN_CASES:
        gain_WN = np.stack([cases.ndcg(w * scoring.temperature) for w in WEIGHTS])
        weight = WEIGHTS[select_weight(gain_WN)] if weight is None else weight
        scale = weight * scoring.temperature
        notes["held_out_ndcg@10"] = {
            f"{w:g}": round(float(gain_N.mean()), 5) for w, gain_N in zip(WEIGHTS, gain_WN, strict=True)
        }
        scoring = replace(scoring, temperature=fit_temperature(cases.is_candidate_NC, cases.target_N, cases.scores(scale)))
    else:
        weight, scale = weight or 0.0, (weight or 0.0) * scoring.temperature
    notes["weight"] = weight
    if scale == 0:
        return pipeline, notes
    parts = (pipeline.sources, scoring, pipeline.item_statistics, pipeline.config)
    with_ranker = Pipeline(*parts, exclude_seen=pipeline.exclude_seen, second=replace(second, weight=scale))
    return with_ranker, notes


def refit_second_stage(
    second: SecondStageRanker, old: Catalog, sequences: Sequences, catalog: Catalog
) -> SecondStageRanker:
    """The same opinion in the catalog of every event there is: the net stays as it was trained, its knowledge of the
    items is brought up to the last event, and it goes on from there as events arrive."""
    ranker = second.ranker.ranker if isinstance(second.ranker, PointInTimeRanker) else second.ranker
    assert isinstance(ranker, NeuralRanker)
    row_V = np.concatenate([[PAD], old.to_indices(catalog.ids)])
    return replace(second, ranker=ranker.to_catalog(row_V, ItemHistories.from_sequences(sequences, catalog.size)))


@dataclass(frozen=True)
class SecondStageCases:
    """Held-out validation cases whose target is among the candidates."""

    scores_NC: np.ndarray
    """The pipeline's own; -inf where there is no candidate."""
    log_odds_NC: np.ndarray
    """The ranker's log-odds; NaN where it was not asked."""
    is_candidate_NC: np.ndarray
    """bool: a candidate, not PAD."""
    target_N: np.ndarray
    """The target's place among the candidates."""

    def scores(self, weight: float) -> np.ndarray:
        """float64 [N, C]."""
        return self.scores_NC if weight == 0 else add_log_odds(self.scores_NC, self.log_odds_NC, weight)

    def ndcg(self, weight: float) -> np.ndarray:
        """float64 [N]: NDCG@10 of each case."""
        return case_ndcg(self.is_candidate_NC, self.target_N, self.scores(weight))


def select_weight(gain_WN: np.ndarray) -> int:
    """Which of the weights is best on the mean; the first, which is none, where the best one is not ahead of it by more
    than the standard error of their difference: what may be chance is not worth the time it takes.

    >>> worth(np.array([[0.1, 0.5, 0.3], [0.2, 0.6, 0.4], [0.0, 0.9, 0.2]]))
    1
    >>> worth(np.array([[0.1, 0.5, 0.3], [0.6, 0.1, 0.3]]))
    0
    """
    best = int(gain_WN.mean(axis=1).argmax())
    ahead_N = gain_WN[best] - gain_WN[0]
    return best if ahead_N.mean() > ahead_N.std(ddof=1) / np.sqrt(len(ahead_N)) else 0


def score_validation_cases(pipeline: Pipeline, second: SecondStageRanker, split: Split, seed: int) -> SecondStageCases:
    """What both say of the validation cases of the people that the blend did not learn from (the same people as in
    ``weigh``)."""
    cases = sample_cases(split.validation, split.exclude_seen, pipeline.config.rank.max_cases, seed)
    blocks = []
    for start in range(0, len(cases), BLOCK):
        part = cases.take(slice(start, start + BLOCK))
        seen = part.histories.drop_unknown() if split.exclude_seen else None
        candidates, scores_BC = pipeline.score_candidates(part.histories, exclude=seen)
        hit_BC = (candidates.items_BC == part.targets[:, None]) & (candidates.items_BC != PAD)
        rows = np.flatnonzero(hit_BC.any(axis=1))
        columns = (scores_BC[rows], candidates.items_BC[rows], hit_BC[rows].argmax(axis=1), part.groups[rows], start + rows)
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
        # Nobody's newest event says when somebody without events is asked; behind the whole log would be too late.
        histories = histories.as_of(np.where(histories.lengths > 0, NO_TIME, kept_cases.times))
    log_odds_NC = second.log_odds(histories, items_NC, scores_NC)
    return SecondStageCases(scores_NC, log_odds_NC, items_NC != PAD, target_N)


def _load_or_fit_ranker(
    config: RankConfig, split: Split, seed: int, report: ReportProgress
) -> tuple[NeuralRanker, dict[str, Any], dict[str, Any]]:
    """(the ranker, its settings, where it came from)."""
    saved = load_saved_ranker(config, split)
    if saved is not None:
        return saved.ranker, saved.settings, {"ranker": saved.ranker.name, "folder": config.model}
    assert config.model is not None
    name = normalize_name(config.model)
    report(f"training {name}")

    def tell(epoch: int, loss: float, validation: float | None) -> None:
        report(f"training {name}: epoch {epoch}, loss {loss:.4f}, validation AUC {validation or 0:.4f}")

    fitted, _ = fit_ranker_on_split(split, name, config.settings, seed=seed, progress=tell)
    return fitted.ranker, fitted.settings, {"ranker": name, **fitted.notes, "fit_s": round(fitted.fit_s, 1)}
