"""Fit of a model or an ensemble on a split; here training and evaluation meet.

The epoch, and the weight and decay of the co-visitation prior, are chosen on the split's validation cases.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

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
"""Number of validation cases during training, sampled once: enough to compare epochs, in seconds."""


@dataclass(frozen=True)
class FitResult:
    """Fitted scorer with its settings and notes of the training."""

    scorer: Scorer
    settings: dict[str, Any]
    """Settings of the model, complete."""
    notes: dict[str, Any]
    """Neural models: epochs, the best one, ndcg@10 of each on validation, the chosen prior, events a second."""
    fit_s: float
    """Duration of the fit in seconds."""

    def with_target_times(self, cases: EvaluationCases) -> EvaluationCases:
        """Return the cases with target times if this model uses them; see the function of this name."""
        return with_target_times(cases, self.settings)


def with_target_times(cases: EvaluationCases, settings: Mapping[str, Any]) -> EvaluationCases:
    """Attach each target's timestamp as query time if ``target_time`` is set.

    Args:
        cases: evaluation cases.
        settings: settings of the model.

    Raises:
        ValueError: ``target_time`` is set and the log has no timestamps.
    """
    return cases.with_target_times() if settings.get("target_time") and len(cases) else cases


def fit_model(
    name: str,
    split: Split,
    settings: Mapping[str, Any] | None = None,
    *,
    refit: bool = False,
    seed: int = 0,
    run: TrainingRun | None = None,
) -> FitResult:
    """Fit a model on the training events of a split; a neural model chooses its epoch on validation.

    Args:
        name: name of a model, or several names with "+" between them: see ``fit_ensemble``.
        split: training events and validation cases.
        settings: settings of the model and of its training, by name; None: the defaults.
        refit: train again on training and validation events, with the chosen settings.
        seed: random seed; equal arguments give equal scorers.
        run: device, checkpoints and progress of the training; None: the defaults.

    Raises:
        ValueError: an unknown model, a wrong setting, PyTorch is not installed, or too little memory.
    """
    if "+" in name:
        return fit_ensemble(name, split, settings or {}, refit=refit, seed=seed, run=run or TrainingRun())
    entry = find_model(name)
    started = time.perf_counter()
    if isinstance(entry, ClassicEntry):
        config: Any = decode_settings(entry.config, dict(settings or {}))
        scorer = entry.fit(split.refit if refit else split.train, split.catalog.size, config)
        return FitResult(scorer, asdict(config), {}, time.perf_counter() - started)
    run = run or TrainingRun()
    chosen = _fit_neural(name, entry, split, settings or {}, seed, run)
    scorer = chosen.scorer
    if refit:
        data = (split.refit, split.catalog.size)
        scorer = _refit_neural(name, data, chosen, seed, run, "refit", item_features=split.item_features)
    return replace(chosen, scorer=scorer, fit_s=time.perf_counter() - started)


def refit_on_all_events(
    name: str,
    sequences: Sequences,
    size: int,
    fitted: FitResult,
    *,
    seed: int = 0,
    run: TrainingRun | None = None,
    item_features: ItemFeatures | None = None,
) -> FitResult:
    """Fit a model again on every event, with the settings, epochs and weights that an earlier fit chose.

    Args:
        name: name of the model, as in ``fit_model``.
        sequences: every event.
        size: catalog size V with PAD.
        fitted: result of the earlier fit.
        seed: random seed.
        run: as in ``fit_model``.
        item_features: columns of the items table, for a model with features; None: none.
    """
    started = time.perf_counter()
    if "+" in name:
        scorers = _refit_ensemble(
            name, (sequences, size), fitted, seed, run or TrainingRun(), "everything", item_features
        )
        return replace(fitted, scorer=scorers, fit_s=time.perf_counter() - started)
    entry = find_model(name)
    if isinstance(entry, ClassicEntry):
        scorer = entry.fit(sequences, size, decode_settings(entry.config, fitted.settings))
    else:
        data = (sequences, size)
        scorer = _refit_neural(
            name, data, fitted, seed, run or TrainingRun(), "everything", item_features=item_features
        )
    return replace(fitted, scorer=scorer, fit_s=time.perf_counter() - started)


def fit_ensemble(
    name: str, split: Split, settings: Mapping[str, Any], *, refit: bool, seed: int, run: TrainingRun
) -> FitResult:
    """Fit an ensemble: each member by itself with a seed of its own, then the weights on validation.

    A setting goes to every member that has it; "sasrec.embedding_dim" goes to the members of that name, and
    "2.embedding_dim" to the second member.

    Args:
        name: names of the members with "+" between them.
        split: training events and validation cases.
        settings: settings of the members, by name.
        refit: train the members again on training and validation events.
        seed: random seed of the ensemble.
        run: device, checkpoints and progress of the trainings.

    Raises:
        ValueError: as in ``fit_model``, or no member has a setting.
    """
    started, parts = time.perf_counter(), name.split("+")
    members = [
        fit_model(part, split, own, seed=_member_seed(seed, position, parts), run=run.member(position))
        for position, (part, own) in enumerate(zip(parts, _member_settings(parts, settings), strict=True))
    ]
    cases = split.validation
    if split.exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    weights = choose_weights([m.scorer for m in members], cases, exclude_seen=split.exclude_seen)
    fitted = FitResult(
        Ensemble([(member.scorer, weight) for member, weight in zip(members, weights, strict=True)]),
        {str(position): member.settings for position, member in enumerate(members)},
        {"weights": weights, "members": [member.notes for member in members]},
        0.0,
    )
    if refit:
        again = _refit_ensemble(
            name, (split.refit, split.catalog.size), fitted, seed, run, "refit", split.item_features
        )
        fitted = replace(fitted, scorer=again)
    return replace(fitted, fit_s=time.perf_counter() - started)


def _refit_ensemble(
    name: str,
    data: tuple[Sequences, int],
    fitted: FitResult,
    seed: int,
    run: TrainingRun,
    stage: str,
    item_features: ItemFeatures | None,
) -> Ensemble:
    """Fit every member again on other events, with its chosen settings; the weights stay."""
    parts, members = name.split("+"), []
    for position, (part, weight) in enumerate(zip(parts, fitted.notes["weights"], strict=True)):
        entry, own = find_model(part), fitted.settings[str(position)]
        if isinstance(entry, ClassicEntry):
            scorer = entry.fit(*data, decode_settings(entry.config, own))
        else:
            alone = FitResult(fitted.scorer, own, fitted.notes["members"][position], 0.0)
            own_seed, own_work = _member_seed(seed, position, parts), run.member(position)
            scorer = _refit_neural(part, data, alone, own_seed, own_work, stage, item_features=item_features)
        members.append((scorer, weight))
    return Ensemble(members)


def _member_seed(seed: int, position: int, parts: list[str]) -> int:
    """Return the seed of a member: different for every member and ensemble seed."""
    return seed * len(parts) + position


def _member_settings(parts: list[str], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each member. ValueError for a setting that no member has."""
    shares: list[dict[str, Any]] = [{} for _ in parts]
    for path, value in settings.items():
        owner, _, field = path.rpartition(".")
        is_known = False
        for position, part in enumerate(parts):
            if owner in ("", part, str(position + 1)) and field in setting_names(part):
                shares[position][field] = value
                is_known = True
        if not is_known:
            raise ValueError(f"Unknown setting '{path}': none of {' + '.join(parts)} has it.")
    return shares


def setting_names(name: str) -> set[str]:
    """Return the names of a model's settings, with those of its training and features."""
    entry = find_model(name)
    kinds = [entry.config, TrainingConfig, FeatureConfig] if isinstance(entry, NeuralEntry) else [entry.config]
    return {field.name for kind in kinds for field in fields(kind)}


def _fit_neural(
    name: str, entry: NeuralEntry, split: Split, settings: Mapping[str, Any], seed: int, run: TrainingRun
) -> FitResult:
    limit_spin_wait()
    try:
        from segue.training.export import export_scorer
    except ImportError:
        raise ValueError(f"Training {name} needs PyTorch: pip install 'segue[train]'.") from None
    kinds = {"model": entry.config, "training": TrainingConfig, "features": FeatureConfig}
    shares = split_by_config(settings, kinds)
    config: Any = decode_settings(entry.config, shares["model"])
    training = decode_settings(TrainingConfig, {**entry.training, **shares["training"]})
    features = decode_settings(FeatureConfig, shares["features"])
    size = split.catalog.size
    cases = _sample_cases(with_target_times(split.validation, asdict(config)), split.exclude_seen, seed)
    prior = best_prior(split.train, size, cases, split.exclude_seen) if config.covisitation_weight != 0 else None

    def validate(scorer: Scorer) -> float:
        evaluated = scorer if prior is None else WithCovisitationPrior(scorer, prior, config.covisitation_weight or 1.0)
        return evaluate(evaluated, cases, exclude_seen=split.exclude_seen, ks=(10,)).metrics["ndcg@10"]

    known = _known(features, split.item_features, split.train)
    counts_V = item_counts(split.train, size)
    trainer = run.trainer(config, training, (split.train, size), seed, known)
    result = run.train(trainer, "choose", validate=validate if len(cases) else None)
    network = export_scorer(name, trainer.net, counts_V)
    scorer: Scorer = embeddings_for_new_items(network, known, counts_V)
    weight = 0.0
    if prior is not None:
        plain, prior = prior, with_rows_for_cold_items(prior, scorer)
        weight = config.covisitation_weight
        if weight is None:
            # Where features only place new items, this choice must not depend on them.
            base, base_prior = (scorer, prior) if scorer is network else (network, plain)
            weight = best_prior_weight(base, base_prior, cases, split.exclude_seen)
        scorer = WithCovisitationPrior(scorer, prior, weight) if weight > 0 else scorer
    notes = {
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "validation_ndcg@10": list(result.validations),
        "losses": list(result.losses),
        "events_per_s": round(result.events_per_s),
        "prior_weight": weight,
        "prior_decay": prior.decay if prior is not None else None,
        "training": asdict(training),
        "features": asdict(features),
    }
    return FitResult(scorer, asdict(config), notes, 0.0)


def _known(
    config: FeatureConfig, item_features: ItemFeatures | None, sequences: Sequences
) -> tuple[FeatureConfig, ItemFeatures | None] | None:
    """Return the settings of features and contexts with the item features; None for a model of events only."""
    if config.features and item_features is None:
        raise ValueError(f"Features {', '.join(config.features)} need an items table with these columns.")
    if config.contexts and sequences.contexts is None:
        raise ValueError(f"The context {', '.join(config.contexts)} needs a log with these columns: call with_context.")
    return (config, item_features) if config.features or config.contexts else None


def _refit_neural(
    name: str,
    data: tuple[Sequences, int],
    fitted: FitResult,
    seed: int,
    run: TrainingRun,
    stage: str,
    *,
    item_features: ItemFeatures | None,
) -> Scorer:
    """Train for the best number of epochs, on the same learning-rate schedule, without validation."""
    from segue.training.export import export_scorer

    sequences, size = data
    notes = fitted.notes
    config: Any = decode_settings(find_model(name).config, fitted.settings)
    known = _known(decode_settings(FeatureConfig, notes["features"]), item_features, sequences)
    trainer = run.trainer(config, decode_settings(TrainingConfig, notes["training"]), data, seed, known)
    run.train(trainer, stage, stop_after=notes["best_epoch"])
    counts_V = item_counts(sequences, size)
    scorer: Scorer = embeddings_for_new_items(export_scorer(name, trainer.net, counts_V), known, counts_V)
    if notes["prior_weight"] > 0:
        prior = CoVisit.fit(sequences, size, CoVisitConfig(decay=notes["prior_decay"]))
        scorer = WithCovisitationPrior(scorer, with_rows_for_cold_items(prior, scorer), notes["prior_weight"])
    return scorer


def _sample_cases(cases: EvaluationCases, exclude_seen: bool, seed: int) -> EvaluationCases:
    """Sample at most VALIDATION_CASES cases with a rankable target, without replacement."""
    if exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    return cases.sample(VALIDATION_CASES, (seed, 3))
