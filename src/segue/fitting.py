"""A model's name, a split, settings -> a fitted scorer: where the training wing and the evaluation wing meet.

Everything that is chosen (the best epoch, the prior's weight and decay) is chosen on the split's validation cases.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue import settings
from segue.data.cases import Cases, Split
from segue.data.sequences import Sequences
from segue.evaluation.metrics import ndcg
from segue.evaluation.protocol import evaluate
from segue.evaluation.ranks import answerable, target_ranks
from segue.models.covisit import CoVisit, CoVisitConfig
from segue.models.prior import WithPrior, log_prior
from segue.models.rows import item_counts
from segue.models.scorer import Scorer
from segue.models.zoo import Counting, Learned, find
from segue.training.config import TrainingConfig
from segue.training.threads import calm
from segue.training.tracking import tracked

if TYPE_CHECKING:
    from segue.training.team import Team
    from segue.training.trainer import Outcome, Progress, Trainer

VALIDATION_CASES = 3000
"""Validation during training looks at this many cases, drawn once: enough to tell epochs apart, seconds to judge."""
PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
PRIOR_DECAYS = (0.3, 0.5, 0.7, 0.85)


@dataclass(frozen=True)
class Fitted:
    """A fitted scorer and how it came about."""

    scorer: Scorer
    settings: dict[str, Any]
    """The model's own settings, complete."""
    notes: dict[str, Any]
    """For a network: epochs, the best one, validations, the prior that was chosen, events a second."""
    fit_s: float

    def asked(self, cases: Cases) -> Cases:
        """The cases as this model must be asked them."""
        return as_asked(cases, self.settings)


@dataclass(frozen=True)
class Work:
    """How a training goes about it; but for rounding, none of it changes what comes out."""

    progress: "Callable[[Progress], None] | None" = None
    """Hears of every step."""
    folder: Path | None = None
    """Where the training keeps its states, so that it can go on after a crash to the same bits; None: nowhere."""
    device: str = "auto"
    """Where the net is trained: cpu, cuda, or auto: on a GPU where there is one."""
    team: "Team | None" = None
    """The processes that train together; None: this one alone."""
    log_dir: Path | None = None
    """Where curves for TensorBoard are written, each training in a folder of its own; None: nowhere."""

    def trainer(self, config: Any, training: TrainingConfig, data: tuple[Sequences, int], seed: int) -> "Trainer":
        """An untrained net of these settings on the log ``data`` (sequences, catalogue size V), ready to be trained.
        ValueError where it will not fit the memory: better now than a kill in the middle."""
        from segue.training.build import build_net
        from segue.training.forecast import refuse_what_will_not_fit
        from segue.training.trainer import Trainer, resolve_device

        net = build_net(config, *data, seed).to(resolve_device(self.device))
        trainer = Trainer(net, data[0], training, seed, self.team)
        refuse_what_will_not_fit(trainer)
        return trainer

    def train(self, trainer: "Trainer", stage: str, **how: Any) -> "Outcome":
        """Runs a trainer, from its saved state if there is one; Ctrl-C saves and ends."""
        with tracked(self.log_dir, stage, trainer) as track:
            hears = [hear for hear in (self.progress, None if track is None else track.step) if hear is not None]

            def told(progress: "Progress") -> None:
                for hear in hears:
                    hear(progress)

            outcome = self._run(trainer, stage, told if hears else None, how)
            if track is not None:
                track.ended(outcome.validations)
            return outcome

    def _run(
        self, trainer: "Trainer", stage: str, told: "Callable[[Progress], None] | None", how: dict[str, Any]
    ) -> "Outcome":
        if self.folder is None:
            return trainer.run(progress=told, **how)
        from segue.training.checkpoint import Checkpoint

        checkpoint = Checkpoint(self.folder / f"{stage}.checkpoint")
        with checkpoint.listening():
            return trainer.run(progress=told, checkpoint=checkpoint, **how)


def as_asked(cases: Cases, values: Mapping[str, Any]) -> Cases:
    """The cases as a model of these settings must be asked them: with their moments, where it is told the time."""
    return cases.told_when() if values.get("target_time") and len(cases) else cases


def fit(
    name: str,
    split: Split,
    values: Mapping[str, Any] | None = None,
    *,
    refit: bool = False,
    seed: int = 0,
    work: Work | None = None,
) -> Fitted:
    """Fits on ``split.train`` and chooses on ``split.validation``; with ``refit``, what was chosen is then trained
    again on training and validation events together. Equal arguments give equal scorers."""
    entry = find(name)
    started = time.perf_counter()
    if isinstance(entry, Counting):
        config: Any = settings.decode(entry.config, dict(values or {}))
        scorer = entry.fit(split.refit if refit else split.train, split.catalog.size, config)
        return Fitted(scorer, asdict(config), {}, time.perf_counter() - started)
    work = work or Work()
    chosen = _learn(name, entry, split, values or {}, seed, work)
    scorer = chosen.scorer
    if refit:
        scorer = _train_again(name, (split.refit, split.catalog.size), chosen, seed, work, "refit")
    return replace(chosen, scorer=scorer, fit_s=time.perf_counter() - started)


def fit_all(
    name: str, sequences: Sequences, size: int, chosen: Fitted, *, seed: int = 0, work: Work | None = None
) -> Fitted:
    """The same model on every event there is, with what an earlier fit chose: what is put to work."""
    entry = find(name)
    started = time.perf_counter()
    if isinstance(entry, Counting):
        scorer = entry.fit(sequences, size, settings.decode(entry.config, chosen.settings))
    else:
        scorer = _train_again(name, (sequences, size), chosen, seed, work or Work(), "everything")
    return replace(chosen, scorer=scorer, fit_s=time.perf_counter() - started)


def _learn(name: str, entry: Learned, split: Split, values: Mapping[str, Any], seed: int, work: Work) -> Fitted:
    calm()
    try:
        from segue.training.export import export
    except ImportError:
        raise ValueError(f"Training {name} needs PyTorch: pip install 'segue[train]'.") from None
    shares = settings.distribute(values, {"model": entry.config, "training": TrainingConfig})
    config: Any = settings.decode(entry.config, shares["model"])
    training = settings.decode(TrainingConfig, {**entry.training, **shares["training"]})
    size = split.catalog.size
    cases = _sample(as_asked(split.validation, asdict(config)), split.exclude_seen, seed)
    prior = _best_prior(split.train, size, cases, split.exclude_seen) if config.prior != 0 else None

    def validate(scorer: Scorer) -> float:
        judged = scorer if prior is None else WithPrior(scorer, prior, config.prior or 1.0)
        return evaluate(judged, cases, exclude_seen=split.exclude_seen, ks=(10,)).metrics["ndcg@10"]

    trainer = work.trainer(config, training, (split.train, size), seed)
    outcome = work.train(trainer, "choose", validate=validate if len(cases) else None)
    scorer: Scorer = export(name, trainer.net, item_counts(split.train, size))
    weight = 0.0
    if prior is not None:
        weight = config.prior if config.prior is not None else _best_weight(scorer, prior, cases, split.exclude_seen)
        scorer = WithPrior(scorer, prior, weight) if weight > 0 else scorer
    notes = {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "validation_ndcg@10": list(outcome.validations),
        "losses": list(outcome.losses),
        "events_per_s": round(outcome.events_per_s),
        "prior_weight": weight,
        "prior_decay": prior.decay if prior is not None else None,
        "training": asdict(training),
    }
    return Fitted(scorer, asdict(config), notes, 0.0)


def _train_again(name: str, data: tuple[Sequences, int], chosen: Fitted, seed: int, work: Work, stage: str) -> Scorer:
    """As many epochs as were best, on the same learning-rate curve, without looking at anything to choose by."""
    from segue.training.export import export

    sequences, size = data
    notes = chosen.notes
    config: Any = settings.decode(find(name).config, chosen.settings)
    trainer = work.trainer(config, settings.decode(TrainingConfig, notes["training"]), data, seed)
    work.train(trainer, stage, stop_after=notes["best_epoch"])
    scorer: Scorer = export(name, trainer.net, item_counts(sequences, size))
    if notes["prior_weight"] > 0:
        prior = CoVisit.fit(sequences, size, CoVisitConfig(decay=notes["prior_decay"]))
        scorer = WithPrior(scorer, prior, notes["prior_weight"])
    return scorer


def _sample(cases: Cases, exclude_seen: bool, seed: int) -> Cases:
    """At most VALIDATION_CASES cases that can be ranked, drawn without replacement."""
    if exclude_seen and len(cases):
        cases = cases.take(answerable(cases.histories, cases.targets))
    if len(cases) <= VALIDATION_CASES:
        return cases
    rows = np.random.default_rng((seed, 3)).choice(len(cases), VALIDATION_CASES, replace=False)
    return cases.take(np.sort(rows))


def _best_prior(train: Sequences, size: int, cases: Cases, exclude_seen: bool) -> CoVisit | None:
    """The co-visit rule with the decay that ranks the validation cases best; None without any cases."""
    if not len(cases):
        return None
    fitted = CoVisit.fit(train, size, CoVisitConfig())
    rules = [CoVisit(fitted.near, fitted.popularity_V, decay) for decay in PRIOR_DECAYS]
    quality = [evaluate(r, cases, exclude_seen=exclude_seen, ks=(10,)).metrics["ndcg@10"] for r in rules]
    return rules[int(np.argmax(quality))]


def _best_weight(scorer: Scorer, prior: CoVisit, cases: Cases, exclude_seen: bool) -> float:
    """The prior's weight that ranks the validation cases best; scores are computed once for all weights."""
    totals = np.zeros(len(PRIOR_WEIGHTS))
    block = max(1, (64 << 20) // (4 * scorer.size))
    for start in range(0, len(cases), block):
        part = cases.take(slice(start, start + block))
        scores_BV, logs_BV = scorer.scores(part.histories), log_prior(prior, part.histories)
        seen = part.histories if exclude_seen else None
        for i, weight in enumerate(PRIOR_WEIGHTS):
            ranks_B = target_ranks(scores_BV + np.float32(weight) * logs_BV, part.targets, exclude=seen)
            totals[i] += ndcg(ranks_B, 10).sum()
    return PRIOR_WEIGHTS[int(np.argmax(totals))]
