"""Fit of a model or an ensemble on a split, and again on every event. Here training and evaluation meet."""

import time
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from segue.config.decode import decode_settings, split_by_config
from segue.data.evaluation_cases import Split
from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.data.training_data import TrainingData
from segue.evaluation.ranks import has_rankable_target
from segue.models.ensemble import Ensemble
from segue.models.forecasting.trend import TrendConfig
from segue.models.probabilities.calibrated_scorer import NOTE
from segue.models.zoo import ClassicEntry, NeuralEntry, canonical_name, find_model
from segue.system.extras import require_modules
from segue.training.config import TrainingConfig
from segue.workflows.ensemble_weights import choose_weights
from segue.workflows.fit_neural import fit_neural, refit_neural
from segue.workflows.fit_result import FitResult
from segue.workflows.probabilities.fit_temperature import fit_calibration
from segue.workflows.training_run import TrainingRun


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
    chosen = fit_neural(name, entry, split, settings or {}, seed, run)
    scorer = chosen.scorer
    if refit:
        data = TrainingData(split.refit, split.catalog.size)
        scorer = refit_neural(name, data, chosen, seed, run, "refit", item_features=split.item_features)
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
            name, TrainingData(sequences, size), fitted, seed, run or TrainingRun(), "everything", item_features
        )
        return replace(fitted, scorer=scorers, fit_s=time.perf_counter() - started)
    entry = find_model(name)
    if isinstance(entry, ClassicEntry):
        scorer = entry.fit(sequences, size, decode_settings(entry.config, fitted.settings))
    else:
        data = TrainingData(sequences, size)
        scorer = refit_neural(name, data, fitted, seed, run or TrainingRun(), "everything", item_features=item_features)
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
    ensemble = Ensemble([(member.scorer, weight) for member, weight in zip(members, weights, strict=True)])
    calibration = fit_calibration(ensemble, cases, exclude_seen=split.exclude_seen)
    fitted = FitResult(
        ensemble,
        {str(position): member.settings for position, member in enumerate(members)},
        {"weights": weights, "members": [member.notes for member in members], NOTE: calibration.to_dict()},
        0.0,
    )
    if refit:
        again = _refit_ensemble(
            name, TrainingData(split.refit, split.catalog.size), fitted, seed, run, "refit", split.item_features
        )
        fitted = replace(fitted, scorer=again)
    return replace(fitted, fit_s=time.perf_counter() - started)


def _refit_ensemble(
    name: str,
    data: TrainingData,
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
            member_seed, member_run = _member_seed(seed, position, parts), run.member(position)
            scorer = refit_neural(part, data, alone, member_seed, member_run, stage, item_features=item_features)
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


def calibrated(fitted: FitResult, name: str, split: Split) -> FitResult:
    """Return a fit with the calibration of its probabilities among its notes.

    A classic model has no validation of its own: it is fitted once more, on the training events alone, and calibrated
    on the validation cases. Networks and ensembles are calibrated by their fit.

    Args:
        fitted: result of ``fit_model``.
        name: name of a model of the zoo.
        split: the split of the fit.
    """
    entry = find_model(name)
    if not isinstance(entry, ClassicEntry):
        return fitted
    scorer = entry.fit(split.train, split.catalog.size, decode_settings(entry.config, fitted.settings))
    calibration = fit_calibration(scorer, split.validation, exclude_seen=split.exclude_seen)
    return replace(fitted, notes={**fitted.notes, NOTE: calibration.to_dict()})


def setting_names(name: str) -> set[str]:
    """Return the names of a model's settings, with those of its training and features."""
    entry = find_model(name)
    kinds = [entry.config, TrainingConfig, FeatureConfig] if isinstance(entry, NeuralEntry) else [entry.config]
    return {field.name for kind in kinds for field in fields(kind)}


def check_model(name: str, settings: Mapping[str, Any], device: str = "auto") -> None:
    """Check a model, its settings, its device and the packages that it needs, before any work.

    Args:
        name: name of a model, or several names with "+" between them.
        settings: settings of the model and of its training, by name.
        device: device of a neural model: cpu, cuda, or auto.

    Raises:
        ValueError: an unknown model, a wrong setting, a device that there is not, or a package that is not installed.
    """
    parts = canonical_name(name).split("+")
    shares = [dict(settings)] if len(parts) == 1 else _member_settings(parts, settings)
    for part, own in zip(parts, shares, strict=True):
        entry = find_model(part)
        if isinstance(entry, ClassicEntry):
            config: Any = decode_settings(entry.config, own)
            require_modules(f"Fitting {part}", *_MODULES.get(part, ()))
            if isinstance(config, TrendConfig) and config.method != "exponential":
                require_modules(f"Method {config.method}", "statsmodels")
            continue
        by_config = split_by_config(own, {"model": entry.config, "training": TrainingConfig, "features": FeatureConfig})
        decode_settings(entry.config, by_config["model"])
        decode_settings(TrainingConfig, {**entry.training, **by_config["training"]})
        decode_settings(FeatureConfig, by_config["features"])
        exported = () if part in ("gru4rec", "seq2seq") else ("onnx", "onnxscript")
        require_modules(f"Training {part}", "torch", *exported)
        if device != "auto":
            from segue.training.devices import resolve_device

            resolve_device(device)


_MODULES = {"ials": ("implicit", "threadpoolctl"), "bpr": ("implicit", "threadpoolctl")}
"""Optional modules that a classic model is fitted with."""
