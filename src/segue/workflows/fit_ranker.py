"""A ranker's name, a split, settings -> a trained and calibrated ranker, and how good its probabilities are.

Everything that is chosen (the best epoch, the calibration) is chosen on the split's validation cases.
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
    """The co-visit rule as it is by default."""
    return CoVisit.fit(sequences, size, CoVisitConfig())


@dataclass(frozen=True)
class FittedRanker:
    """A ranker and how it came about."""

    ranker: NeuralRanker
    settings: dict[str, Any]
    """The model's own settings, complete."""
    notes: dict[str, Any]
    """Epochs, the best one, AUC of each on validation, cases a second, and the training's settings."""
    fit_s: float


@dataclass(frozen=True)
class RankerData:
    """What a ranker is trained and validated on; made once for several rankers on one split.

    Each person's newest training events are asked for; item vectors and the rule that retrieves learn from the older
    ones alone. Otherwise both have seen every target that the net is trained on, which they will not have in use, and
    the net learns to trust them too much.
    """

    size: int
    """V: catalog size with PAD."""
    base: Sequences
    """The older training events."""
    train: ExampleSource
    validation: ClickExamples
    item_histories: ItemHistories
    """Of training and validation events: what validation cases know of items at their moments."""

    @classmethod
    def of(
        cls,
        split: Split,
        *,
        asked: CandidateSamplingConfig | None = None,
        retriever: Callable[[Sequences, int], Scorer] = covisitation_retriever,
        seed: int = 0,
    ) -> "RankerData":
        """``retriever`` fits what retrieves hard negatives, for training on the older events and for validation on all
        training events: the co-visit rule where none is given."""
        how, size, seen = asked or CandidateSamplingConfig(), split.catalog.size, split.exclude_seen
        lengths = split.train.lengths
        base = split.train.prefixes(lengths - np.ceil(lengths * how.newest_share).astype(np.int64))
        events = all_positions(split.train)
        events = sample_examples(
            events.take(events.histories.stops >= base.stops[events.groups]), how.max_positives, seed
        )
        train, past = ItemHistories.of(split.train, size), ItemHistories.of(split.refit, size)
        drawn = SampledExamples(events, train, retriever(base, size), how, exclude_seen=seen)
        shown = retriever(split.train, size)
        cases = sample_examples(split.validation, VALIDATION_CASES, seed)
        chosen_by = SampledExamples(cases, past, shown, how, exclude_seen=seen).draw(np.random.default_rng((seed, 5)))
        return cls(size, base, drawn, chosen_by, past)

    @classmethod
    def of_impressions(
        cls, cases: ClickExamples, takes: Sequences, size: int, *, newest: float = 0.5, validation: float = 0.1
    ) -> "RankerData":
        """From a log that says what was shown (``data/impressions.py``) and everything that was taken.

        The last ``validation`` of the impressions validates, the ``newest`` of those before it train, and item vectors
        learn from what was taken before these.
        """
        assert takes.times is not None
        begins, ends = cutoff_times(cases.times_B, validation, newest)
        past = ItemHistories.of(takes, size)
        train = cases.take((cases.times_B >= begins) & (cases.times_B < ends))
        return cls(
            size, events_before(takes, begins), FixedExamples(train, past), cases.take(cases.times_B >= ends), past
        )


def sample_examples(cases: EvaluationCases, count: int, seed: int) -> EvaluationCases:
    """At most ``count`` of the cases, drawn without replacement, in order."""
    if len(cases) <= count:
        return cases
    return cases.take(np.sort(np.random.default_rng((seed, 3)).choice(len(cases), count, replace=False)))


def fit_ranker(
    name: str,
    data: RankerData,
    values: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, float, float | None], None] | None = None,
) -> FittedRanker:
    """Trains on the split's training part, stops and calibrates by its validation cases; the ranker then knows the
    items' events of both. Equal arguments give equal rankers."""
    limit_spin_wait()
    started = time.perf_counter()
    entry = find_ranker(name)
    try:
        from segue.training.rankers.ranker_trainer import RankerTrainer, build_ranker_net
    except ImportError:
        raise ValueError(f"Training {name} needs PyTorch: pip install 'segue[train]'.") from None
    shares = split_by_config(values or {}, {"model": entry.config, "training": RankerTrainingConfig})
    config: Any = decode_settings(entry.config, shares["model"])
    training = decode_settings(RankerTrainingConfig, shares["training"])
    cases = data.validation

    def served(net: "RankerNet") -> ClickNet:
        return entry.net(net.weights(), config)

    def validate(net: "RankerNet") -> float:
        asked_BC = cases.requested_items
        return auc(log_odds(served(net), cases, data.item_histories)[asked_BC], cases.labels_BC[asked_BC])

    net = build_ranker_net(config, data.base, data.size, seed)
    width = served(net).width
    trainer = RankerTrainer(net, data.train.interactions, training, seed, (config.max_length, width))
    outcome = trainer.run(data.train.draw, validate=validate, progress=progress)
    twin = served(net)
    said_BC = log_odds(twin, cases, data.item_histories)
    fit_curve = Calibration.platt if training.calibration == "platt" else Calibration.isotonic
    curve = fit_curve(said_BC[cases.requested_items], cases.labels_BC[cases.requested_items])
    memory = LiveItemHistories.of(data.item_histories, width) if width else None
    notes = {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "validation_auc": list(outcome.validations),
        "losses": list(outcome.losses),
        "cases_per_s": round(outcome.cases_per_s),
        "training": asdict(training),
    }
    ranker = NeuralRanker(name, twin, memory, curve)
    return FittedRanker(ranker, asdict(config), notes, time.perf_counter() - started)


def fit_ranker_on_split(
    split: Split,
    name: str,
    values: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, float, float | None], None] | None = None,
) -> tuple[FittedRanker, RankerData]:
    """``fit_ranker`` on cases drawn from a split, with what it was validated on. ``values``: the ranker's settings, its
    training's, and those that say which cases are drawn (``CandidateSamplingConfig``), in one."""
    kinds = {"model": find_ranker(name).config, "training": RankerTrainingConfig, "asked": CandidateSamplingConfig}
    shares = split_by_config(values or {}, kinds)
    data = RankerData.of(split, asked=decode_settings(CandidateSamplingConfig, shares.pop("asked")), seed=seed)
    plain = {key: value for share in shares.values() for key, value in share.items()}
    return fit_ranker(name, data, plain, seed=seed, progress=progress), data


def evaluate_ranker(ranker: NeuralRanker, cases: ClickExamples, past: ItemHistories) -> dict[str, float]:
    """AUC, logloss and ECE of the ranker's probabilities, and logloss and ECE without its calibration. ``past`` may go
    on beyond the cases: of each only what lies before its moment is read."""
    said_BC, asked_BC = log_odds(ranker.net, cases, past), cases.requested_items
    labels = cases.labels_BC[asked_BC]
    told, plain = ranker.calibration(said_BC)[asked_BC], Calibration.identity()(said_BC)[asked_BC]
    return {
        "auc": auc(said_BC[asked_BC], labels),
        "logloss": logloss(told, labels),
        "ece": calibration_error(told, labels),
        "logloss_uncalibrated": logloss(plain, labels),
        "ece_uncalibrated": calibration_error(plain, labels),
    }


def with_full_histories(log: Any, split: Split) -> ItemHistories:
    """Every event of an ``EventLog``, for test cases: what they know of items ends at their own moments."""
    sequences: Sequences = log.sequences(split.catalog)[0]
    return ItemHistories.of(sequences, split.catalog.size)
