"""Fit of a neural model: training with validation, then again on more events for the chosen number of epochs.

The epoch, the weight and decay of the co-visitation prior, and the temperature of the probabilities are chosen on the
split's validation cases.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from segue.config.decode import decode_settings, split_by_config
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.data.training_data import SideData, TrainingData
from segue.evaluation.evaluate import evaluate
from segue.evaluation.ranks import has_rankable_target
from segue.models.add_items import embeddings_for_new_items, with_rows_for_cold_items
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.probabilities.calibrated_scorer import NOTE
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.models.zoo import NeuralEntry, find_model
from segue.system.threads import limit_spin_wait
from segue.training.config import TrainingConfig
from segue.workflows.ensemble_weights import best_prior, best_prior_weight
from segue.workflows.fit_result import FitResult, with_target_times
from segue.workflows.probabilities.fit_temperature import fit_calibration
from segue.workflows.training_run import TrainingRun

if TYPE_CHECKING:
    from segue.training.progress import TrainingResult

VALIDATION_CASES = 3000
"""Number of validation cases during training, sampled once: enough to compare epochs, in seconds."""


def fit_neural(
    name: str, entry: NeuralEntry, split: Split, settings: Mapping[str, Any], seed: int, run: TrainingRun
) -> FitResult:
    """Train a neural model on the training events, and choose epoch, prior and temperature on validation.

    Args:
        name: canonical name of the model.
        entry: its entry in the zoo.
        split: training events and validation cases.
        settings: settings of the model, of its training and of its features, by name.
        seed: random seed.
        run: device, checkpoints and progress.

    Raises:
        ValueError: a wrong setting, a missing column, PyTorch is not installed, or too little memory.
    """
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

    side_data = make_side_data(features, split.item_features, split.train)
    counts_V = item_counts(split.train, size)
    trainer = run.trainer(config, training, TrainingData(split.train, size), seed, side_data)
    result = run.train(trainer, "choose", validate=validate if len(cases) else None)
    network = export_scorer(name, trainer.net, counts_V)
    scorer: Scorer = embeddings_for_new_items(network, side_data, counts_V)
    weight = 0.0
    if prior is not None:
        plain, prior = prior, with_rows_for_cold_items(prior, scorer)
        weight = config.covisitation_weight
        if weight is None:
            # Where features only place new items, this choice must not depend on them.
            base, base_prior = (scorer, prior) if scorer is network else (network, plain)
            weight = best_prior_weight(base, base_prior, cases, split.exclude_seen)
        scorer = WithCovisitationPrior(scorer, prior, weight) if weight > 0 else scorer
    notes = _training_notes(result) | {"prior_weight": weight, "prior_decay": None if prior is None else prior.decay}
    notes |= {"training": asdict(training), "features": asdict(features)}
    notes[NOTE] = fit_calibration(scorer, cases, exclude_seen=split.exclude_seen).to_dict()
    return FitResult(scorer, asdict(config), notes, 0.0)


def _training_notes(result: "TrainingResult") -> dict[str, Any]:
    return {
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "validation_ndcg@10": list(result.validations),
        "losses": list(result.losses),
        "events_per_s": round(result.events_per_s),
    }


def make_side_data(config: FeatureConfig, item_features: ItemFeatures | None, sequences: Sequences) -> SideData | None:
    """Return the settings of features and contexts with the item features; None for a model of events only.

    Args:
        config: settings of features and contexts.
        item_features: columns of the items table; None: no table.
        sequences: training events, with contexts if the model uses them.

    Raises:
        ValueError: features without an items table, or contexts that the events do not have.
    """
    if config.features and item_features is None:
        raise ValueError(f"Features {', '.join(config.features)} need an items table with these columns.")
    if config.contexts and sequences.contexts is None:
        raise ValueError(f"The context {', '.join(config.contexts)} needs a log with these columns: call with_context.")
    return SideData(config, item_features) if config.features or config.contexts else None


def refit_neural(
    name: str,
    data: TrainingData,
    fitted: FitResult,
    seed: int,
    run: TrainingRun,
    stage: str,
    *,
    item_features: ItemFeatures | None,
) -> Scorer:
    """Train a neural model for the chosen number of epochs, on the same learning-rate schedule, without validation.

    Args:
        name: canonical name of the model.
        data: training events and the size of their catalog.
        fitted: result of ``fit_neural``.
        seed: random seed.
        run: device, checkpoints and progress.
        stage: name of the checkpoint.
        item_features: columns of the items table; None: none.
    """
    from segue.training.export import export_scorer

    sequences, size = data
    notes = fitted.notes
    config: Any = decode_settings(find_model(name).config, fitted.settings)
    side_data = make_side_data(decode_settings(FeatureConfig, notes["features"]), item_features, sequences)
    trainer = run.trainer(config, decode_settings(TrainingConfig, notes["training"]), data, seed, side_data)
    run.train(trainer, stage, stop_after=notes["best_epoch"])
    counts_V = item_counts(sequences, size)
    scorer: Scorer = embeddings_for_new_items(export_scorer(name, trainer.net, counts_V), side_data, counts_V)
    if notes["prior_weight"] > 0:
        prior = CoVisit.fit(sequences, size, CoVisitConfig(decay=notes["prior_decay"]))
        scorer = WithCovisitationPrior(scorer, with_rows_for_cold_items(prior, scorer), notes["prior_weight"])
    return scorer


def _sample_cases(cases: EvaluationCases, exclude_seen: bool, seed: int) -> EvaluationCases:
    """Sample at most VALIDATION_CASES cases with a rankable target, without replacement."""
    if exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    return cases.sample(VALIDATION_CASES, (seed, 3))
