"""A model's name, a split, settings -> a fitted scorer: where the training wing and the evaluation wing meet.

Everything that is chosen (the best epoch, the prior's weight and decay) is chosen on the split's validation cases.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from segue.config.decode import decode_settings, split_by_config
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.evaluation.evaluate import evaluate
from segue.evaluation.ranks import has_rankable_target
from segue.models.add_items import embeddings_for_new_items, with_rows_for_cold_items
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.ensemble import Ensemble
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.models.zoo import ClassicEntry, NeuralEntry, find_model
from segue.system.threads import limit_spin_wait
from segue.training.config import TrainingConfig
from segue.workflows.ensemble_weights import best_prior, best_prior_weight, choose_weights
from segue.workflows.training_run import TrainingRun

VALIDATION_CASES = 3000
"""Validation during training looks at this many cases, drawn once: enough to tell epochs apart, seconds to judge."""


@dataclass(frozen=True)
class FitResult:
    """A fitted scorer and how it came about."""

    scorer: Scorer
    settings: dict[str, Any]
    """The model's own settings, complete."""
    notes: dict[str, Any]
    """For a network: epochs, the best one, validations, the prior that was chosen, events a second."""
    fit_s: float

    def with_target_times(self, cases: EvaluationCases) -> EvaluationCases:
        """The cases as this model must be asked them."""
        return with_target_times(cases, self.settings)


def with_target_times(cases: EvaluationCases, values: Mapping[str, Any]) -> EvaluationCases:
    """The cases as a model of these settings must be asked them: with their moments, where it is told the time."""
    return cases.with_target_times() if values.get("target_time") and len(cases) else cases


def fit_model(
    name: str,
    split: Split,
    values: Mapping[str, Any] | None = None,
    *,
    refit: bool = False,
    seed: int = 0,
    work: TrainingRun | None = None,
) -> FitResult:
    """Fits on ``split.train`` and chooses on ``split.validation``; with ``refit``, what was chosen is then trained
    again on training and validation events together. Equal arguments give equal scorers.

    ``name`` may be several models with '+' between them: see ``fit_together``."""
    if "+" in name:
        return fit_ensemble(name, split, values or {}, refit=refit, seed=seed, work=work or TrainingRun())
    entry = find_model(name)
    started = time.perf_counter()
    if isinstance(entry, ClassicEntry):
        config: Any = decode_settings(entry.config, dict(values or {}))
        scorer = entry.fit(split.refit if refit else split.train, split.catalog.size, config)
        return FitResult(scorer, asdict(config), {}, time.perf_counter() - started)
    work = work or TrainingRun()
    chosen = _learn(name, entry, split, values or {}, seed, work)
    scorer = chosen.scorer
    if refit:
        data = (split.refit, split.catalog.size)
        scorer = _train_again(name, data, chosen, seed, work, "refit", facts=split.item_features)
    return replace(chosen, scorer=scorer, fit_s=time.perf_counter() - started)


def refit_on_all_events(
    name: str,
    sequences: Sequences,
    size: int,
    chosen: FitResult,
    *,
    seed: int = 0,
    work: TrainingRun | None = None,
    facts: ItemFeatures | None = None,
) -> FitResult:
    """The same model on every event there is, with what an earlier fit chose: what is put to work. ``facts``: what is
    known of the items, where the model learns from that."""
    started = time.perf_counter()
    if "+" in name:
        scorers = _again_together(name, (sequences, size), chosen, seed, work or TrainingRun(), "everything", facts)
        return replace(chosen, scorer=scorers, fit_s=time.perf_counter() - started)
    entry = find_model(name)
    if isinstance(entry, ClassicEntry):
        scorer = entry.fit(sequences, size, decode_settings(entry.config, chosen.settings))
    else:
        data = (sequences, size)
        scorer = _train_again(name, data, chosen, seed, work or TrainingRun(), "everything", facts=facts)
    return replace(chosen, scorer=scorer, fit_s=time.perf_counter() - started)


def fit_ensemble(
    name: str, split: Split, values: Mapping[str, Any], *, refit: bool, seed: int, work: TrainingRun
) -> FitResult:
    """Models that answer together: each fitted by itself, with a seed of its own; then how much each one counts is
    chosen on validation.

    A setting's name goes to every member that has it, "sasrec.dim" to the members of that name, "2.dim" to the second.
    """
    started, parts = time.perf_counter(), name.split("+")
    members = [
        fit_model(part, split, own, seed=_seed(seed, place, parts), work=work.member(place))
        for place, (part, own) in enumerate(zip(parts, _shares(parts, values), strict=True))
    ]
    cases = split.validation
    if split.exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    weights = choose_weights([m.scorer for m in members], cases, exclude_seen=split.exclude_seen)
    found = FitResult(
        Ensemble([(member.scorer, weight) for member, weight in zip(members, weights, strict=True)]),
        {str(place): member.settings for place, member in enumerate(members)},
        {"weights": weights, "members": [member.notes for member in members]},
        0.0,
    )
    if refit:
        again = _again_together(
            name, (split.refit, split.catalog.size), found, seed, work, "refit", split.item_features
        )
        found = replace(found, scorer=again)
    return replace(found, fit_s=time.perf_counter() - started)


def _again_together(
    name: str,
    data: tuple[Sequences, int],
    chosen: FitResult,
    seed: int,
    work: TrainingRun,
    stage: str,
    facts: ItemFeatures | None,
) -> Ensemble:
    """Every member on other events, with what was chosen for it and the weights as they are."""
    parts, members = name.split("+"), []
    for place, (part, weight) in enumerate(zip(parts, chosen.notes["weights"], strict=True)):
        entry, own = find_model(part), chosen.settings[str(place)]
        if isinstance(entry, ClassicEntry):
            scorer = entry.fit(*data, decode_settings(entry.config, own))
        else:
            alone = FitResult(chosen.scorer, own, chosen.notes["members"][place], 0.0)
            own_seed, own_work = _seed(seed, place, parts), work.member(place)
            scorer = _train_again(part, data, alone, own_seed, own_work, stage, facts=facts)
        members.append((scorer, weight))
    return Ensemble(members)


def _seed(seed: int, place: int, parts: list[str]) -> int:
    """No two members share one, whatever the seed of them all."""
    return seed * len(parts) + place


def _shares(parts: list[str], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each member's own settings. ValueError for a setting that no member has."""
    shares: list[dict[str, Any]] = [{} for _ in parts]
    for path, value in values.items():
        owner, _, field = path.rpartition(".")
        taken = False
        for place, part in enumerate(parts):
            if owner in ("", part, str(place + 1)) and field in setting_names(part):
                shares[place][field] = value
                taken = True
        if not taken:
            raise ValueError(f"Unknown setting '{path}': none of {' + '.join(parts)} has it.")
    return shares


def setting_names(name: str) -> set[str]:
    """Every setting that one model can be given, those of its training included."""
    entry = find_model(name)
    kinds = [entry.config, TrainingConfig, FeatureConfig] if isinstance(entry, NeuralEntry) else [entry.config]
    return {field.name for kind in kinds for field in fields(kind)}


def _learn(
    name: str, entry: NeuralEntry, split: Split, values: Mapping[str, Any], seed: int, work: TrainingRun
) -> FitResult:
    limit_spin_wait()
    try:
        from segue.training.export import export_scorer
    except ImportError:
        raise ValueError(f"Training {name} needs PyTorch: pip install 'segue[train]'.") from None
    kinds = {"model": entry.config, "training": TrainingConfig, "features": FeatureConfig}
    shares = split_by_config(values, kinds)
    config: Any = decode_settings(entry.config, shares["model"])
    training = decode_settings(TrainingConfig, {**entry.training, **shares["training"]})
    features = decode_settings(FeatureConfig, shares["features"])
    size = split.catalog.size
    cases = _sample(with_target_times(split.validation, asdict(config)), split.exclude_seen, seed)
    prior = best_prior(split.train, size, cases, split.exclude_seen) if config.covisitation_weight != 0 else None

    def validate(scorer: Scorer) -> float:
        judged = scorer if prior is None else WithCovisitationPrior(scorer, prior, config.covisitation_weight or 1.0)
        return evaluate(judged, cases, exclude_seen=split.exclude_seen, ks=(10,)).metrics["ndcg@10"]

    known = _known(features, split.item_features, split.train)
    counts_V = item_counts(split.train, size)
    trainer = work.trainer(config, training, (split.train, size), seed, known)
    outcome = work.train(trainer, "choose", validate=validate if len(cases) else None)
    network = export_scorer(name, trainer.net, counts_V)
    scorer: Scorer = embeddings_for_new_items(network, known, counts_V)
    weight = 0.0
    if prior is not None:
        plain, prior = prior, with_rows_for_cold_items(prior, scorer)
        weight = config.covisitation_weight
        if weight is None:
            # Where features only place new items, nothing else may depend on them, this choice included.
            asked = (scorer, prior) if scorer is network else (network, plain)
            weight = best_prior_weight(*asked, cases, split.exclude_seen)
        scorer = WithCovisitationPrior(scorer, prior, weight) if weight > 0 else scorer
    notes = {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "validation_ndcg@10": list(outcome.validations),
        "losses": list(outcome.losses),
        "events_per_s": round(outcome.events_per_s),
        "prior_weight": weight,
        "prior_decay": prior.decay if prior is not None else None,
        "training": asdict(training),
        "features": asdict(features),
    }
    return FitResult(scorer, asdict(config), notes, 0.0)


def _known(
    config: FeatureConfig, facts: ItemFeatures | None, sequences: Sequences
) -> tuple[FeatureConfig, ItemFeatures | None] | None:
    """What a net learns from besides events; None for nothing."""
    if config.features and facts is None:
        raise ValueError(f"Learning from {', '.join(config.features)} needs a table of items that has these columns.")
    if config.contexts and sequences.contexts is None:
        raise ValueError(
            f"Learning from the context {', '.join(config.contexts)} needs a log that carries it: with_context."
        )
    return (config, facts) if config.features or config.contexts else None


def _train_again(
    name: str,
    data: tuple[Sequences, int],
    chosen: FitResult,
    seed: int,
    work: TrainingRun,
    stage: str,
    *,
    facts: ItemFeatures | None,
) -> Scorer:
    """As many epochs as were best, on the same learning-rate curve, without looking at anything to choose by."""
    from segue.training.export import export_scorer

    sequences, size = data
    notes = chosen.notes
    config: Any = decode_settings(find_model(name).config, chosen.settings)
    known = _known(decode_settings(FeatureConfig, notes["features"]), facts, sequences)
    trainer = work.trainer(config, decode_settings(TrainingConfig, notes["training"]), data, seed, known)
    work.train(trainer, stage, stop_after=notes["best_epoch"])
    counts_V = item_counts(sequences, size)
    scorer: Scorer = embeddings_for_new_items(export_scorer(name, trainer.net, counts_V), known, counts_V)
    if notes["prior_weight"] > 0:
        prior = CoVisit.fit(sequences, size, CoVisitConfig(decay=notes["prior_decay"]))
        scorer = WithCovisitationPrior(scorer, with_rows_for_cold_items(prior, scorer), notes["prior_weight"])
    return scorer


def _sample(cases: EvaluationCases, exclude_seen: bool, seed: int) -> EvaluationCases:
    """At most VALIDATION_CASES cases that can be ranked, drawn without replacement."""
    if exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    if len(cases) <= VALIDATION_CASES:
        return cases
    rows = np.random.default_rng((seed, 3)).choice(len(cases), VALIDATION_CASES, replace=False)
    return cases.take(np.sort(rows))
