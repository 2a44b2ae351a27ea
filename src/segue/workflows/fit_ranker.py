"""Fit of a ranker on a split: training, early stopping, calibration, and evaluation of its probabilities.

The epoch and the calibration are chosen on the split's validation cases.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode_settings, split_by_config
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.data.splits.cutoffs import cutoff_times, events_before
from segue.data.splits.targets import all_positions
from segue.evaluation.calibration_metrics import auc, calibration_error, logloss
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.rankers.calibration import Calibration
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.live_item_histories import LiveItemHistories
from segue.models.rankers.ranker import ClickNet, NeuralRanker, find_ranker, log_odds
from segue.models.scorer import Scorer
from segue.system.threads import limit_spin_wait
from segue.training.rankers.candidate_sampling import (
    CandidateSamplingConfig,
    ExampleSource,
    FixedExamples,
    SampledExamples,
)
from segue.training.rankers.config import RankerTrainingConfig

if TYPE_CHECKING:
    from segue.training.nets.rankers.towers import RankerNet

VALIDATION_CASES = 5000


def covisitation_retriever(sequences: Sequences, size: int) -> Scorer:
    """Fit the co-visitation model with its default settings.

    Args:
        sequences: events.
        size: catalog size V with PAD.
    """
    return CoVisit.fit(sequences, size, CoVisitConfig())


@dataclass(frozen=True)
class FittedRanker:
    """Fitted ranker with its settings and notes of the training."""

    ranker: NeuralRanker
    settings: dict[str, Any]
    """Settings of the model, complete."""
    notes: dict[str, Any]
    """Epochs, the best one, AUC of each on validation, cases a second, and the training's settings."""
    fit_s: float


@dataclass(frozen=True)
class RankerData:
    """Training and validation data of a ranker; made once for several rankers on one split.

    The targets are each user's newest training events; item embeddings and the retriever are fitted on the older
    events alone. Fitted on the targets too, they would predict these better than any later event, and the net would
    rely on them too much.
    """

    size: int
    """V: catalog size with PAD."""
    base: Sequences
    """Older training events of each user."""
    train: ExampleSource
    validation: ClickExamples
    item_histories: ItemHistories
    """Item histories of training and validation events; a case reads them up to its own time."""

    @classmethod
    def from_split(
        cls,
        split: Split,
        *,
        sampling: CandidateSamplingConfig | None = None,
        retriever: Callable[[Sequences, int], Scorer] = covisitation_retriever,
        seed: int = 0,
    ) -> "RankerData":
        """Build the data of a split.

        Args:
            split: the events and validation cases.
            sampling: how positives and negatives are sampled; None: the defaults.
            retriever: function of (sequences, V) that fits the model of the hard negatives. It is fitted on the older
                events for training, and on all training events for validation.
            seed: random seed of the samples.
        """
        chosen_sampling, size, seen = sampling or CandidateSamplingConfig(), split.catalog.size, split.exclude_seen
        lengths = split.train.lengths
        base = split.train.prefixes(lengths - np.ceil(lengths * chosen_sampling.newest_share).astype(np.int64))
        events = all_positions(split.train)
        events = sample_examples(
            events.take(events.histories.stops >= base.stops[events.groups]), chosen_sampling.max_positives, seed
        )
        train_histories = ItemHistories.from_sequences(split.train, size)
        histories = ItemHistories.from_sequences(split.refit, size)
        train = SampledExamples(events, train_histories, retriever(base, size), chosen_sampling, exclude_seen=seen)
        validation_retriever = retriever(split.train, size)
        cases = sample_examples(split.validation, VALIDATION_CASES, seed)
        validation = SampledExamples(cases, histories, validation_retriever, chosen_sampling, exclude_seen=seen).draw(
            np.random.default_rng((seed, 5))
        )
        return cls(size, base, train, validation, histories)

    @classmethod
    def from_impressions(
        cls,
        cases: ClickExamples,
        clicks: Sequences,
        size: int,
        *,
        newest_share: float = 0.5,
        validation_share: float = 0.1,
    ) -> "RankerData":
        """Build the data of a log of impressions (``data/impressions.py``) and clicks.

        Args:
            cases: impressions, each with its label.
            clicks: events of the users, with timestamps.
            size: catalog size V with PAD.
            newest_share: share of the impressions before validation that trains the net; item embeddings are fitted
                on the clicks before these.
            validation_share: share of the impressions, the last ones, that validates.
        """
        assert clicks.times is not None
        begins, ends = cutoff_times(cases.times_B, validation_share, newest_share)
        histories = ItemHistories.from_sequences(clicks, size)
        train = cases.take((cases.times_B >= begins) & (cases.times_B < ends))
        return cls(
            size,
            events_before(clicks, begins),
            FixedExamples(train, histories),
            cases.take(cases.times_B >= ends),
            histories,
        )


def sample_examples(cases: EvaluationCases, count: int, seed: int) -> EvaluationCases:
    """Sample cases without replacement, in their order.

    Args:
        cases: the cases.
        count: largest number of cases.
        seed: random seed.
    """
    return cases.sample(count, (seed, 3))


def fit_ranker(
    name: str,
    data: RankerData,
    settings: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, float, float | None], None] | None = None,
) -> FittedRanker:
    """Train a ranker, stop and calibrate it by the validation cases; its item histories hold the events of both.

    Args:
        name: name of the ranker.
        data: training and validation data.
        settings: settings of the ranker and of its training, by name; None: the defaults.
        seed: random seed; equal arguments give equal rankers.
        progress: called with (epoch, loss, validation AUC) after each epoch; None: no reports.

    Raises:
        ValueError: an unknown ranker or setting, or PyTorch is not installed.
    """
    limit_spin_wait()
    started = time.perf_counter()
    entry = find_ranker(name)
    try:
        from segue.training.rankers.ranker_trainer import RankerTrainer, build_ranker_net
    except ImportError:
        raise ValueError(f"Training {name} needs PyTorch: pip install 'segue[train]'.") from None
    shares = split_by_config(settings or {}, {"model": entry.config, "training": RankerTrainingConfig})
    config: Any = decode_settings(entry.config, shares["model"])
    training = decode_settings(RankerTrainingConfig, shares["training"])
    cases = data.validation

    def to_numpy(net: "RankerNet") -> ClickNet:
        return entry.net(net.weights(), config)

    def validate(net: "RankerNet") -> float:
        asked_BC = cases.is_candidate
        return auc(log_odds(to_numpy(net), cases, data.item_histories)[asked_BC], cases.labels_BC[asked_BC])

    net = build_ranker_net(config, data.base, data.size, seed)
    width = to_numpy(net).item_history_length
    trainer = RankerTrainer(net, data.train.interactions, training, seed, (config.max_length, width))
    outcome = trainer.run(data.train.draw, validate=validate, progress=progress)
    numpy_net = to_numpy(net)
    log_odds_BC = log_odds(numpy_net, cases, data.item_histories)
    fit_curve = Calibration.platt if training.calibration == "platt" else Calibration.isotonic
    curve = fit_curve(log_odds_BC[cases.is_candidate], cases.labels_BC[cases.is_candidate])
    live_histories = LiveItemHistories.from_item_histories(data.item_histories, width) if width else None
    notes = {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "validation_auc": list(outcome.validations),
        "losses": list(outcome.losses),
        "cases_per_s": round(outcome.cases_per_s),
        "training": asdict(training),
    }
    ranker = NeuralRanker(name, numpy_net, live_histories, curve)
    return FittedRanker(ranker, asdict(config), notes, time.perf_counter() - started)


def fit_ranker_on_split(
    split: Split,
    name: str,
    settings: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, float, float | None], None] | None = None,
) -> tuple[FittedRanker, RankerData]:
    """Build the data of a split, fit a ranker on it, and return both.

    Args:
        split: events and validation cases.
        name: name of the ranker.
        settings: settings of the ranker, of its training and of the sampling (``CandidateSamplingConfig``), by name.
        seed: random seed of the samples and of the training.
        progress: as in ``fit_ranker``.
    """
    kinds = {"model": find_ranker(name).config, "training": RankerTrainingConfig, "sampling": CandidateSamplingConfig}
    shares = split_by_config(settings or {}, kinds)
    data = RankerData.from_split(
        split, sampling=decode_settings(CandidateSamplingConfig, shares.pop("sampling")), seed=seed
    )
    plain = {key: value for share in shares.values() for key, value in share.items()}
    return fit_ranker(name, data, plain, seed=seed, progress=progress), data


def evaluate_ranker(ranker: NeuralRanker, cases: ClickExamples, histories: ItemHistories) -> dict[str, float]:
    """Return AUC, logloss and ECE of the ranker's probabilities, and logloss and ECE without its calibration.

    Args:
        ranker: a fitted ranker.
        cases: labeled cases.
        histories: item histories; each case reads the events before its own time.
    """
    log_odds_BC, is_requested_BC = log_odds(ranker.net, cases, histories), cases.is_candidate
    labels = cases.labels_BC[is_requested_BC]
    calibrated, uncalibrated = (
        ranker.calibration(log_odds_BC)[is_requested_BC],
        Calibration.identity()(log_odds_BC)[is_requested_BC],
    )
    return {
        "auc": auc(log_odds_BC[is_requested_BC], labels),
        "logloss": logloss(calibrated, labels),
        "ece": calibration_error(calibrated, labels),
        "logloss_uncalibrated": logloss(uncalibrated, labels),
        "ece_uncalibrated": calibration_error(uncalibrated, labels),
    }


def with_full_histories(log: Any, split: Split) -> ItemHistories:
    """Return the item histories of every event of a log; a test case reads them up to its own time.

    Args:
        log: an ``EventLog``.
        split: the split whose catalog indexes the items.
    """
    sequences: Sequences = log.sequences(split.catalog)[0]
    return ItemHistories.from_sequences(sequences, split.catalog.size)
