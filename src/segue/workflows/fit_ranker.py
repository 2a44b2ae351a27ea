"""A ranker's name, a split, settings -> a trained and calibrated ranker, and how good its probabilities are.

Everything that is chosen (the best epoch, the calibration) is chosen on the split's validation cases.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode, distribute
from segue.data.evaluation_cases import Cases, Split
from segue.data.impressions import ClickCases
from segue.data.sequences import Sequences
from segue.data.splits.cutoffs import before, two_moments
from segue.data.splits.targets import every_position
from segue.evaluation.calibration_metrics import auc, calibration_error, logloss
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.rankers.calibration import Calibration
from segue.models.rankers.item_histories import Interactions
from segue.models.rankers.live_item_histories import ItemMemory
from segue.models.rankers.ranker import ClickNet, NeuralRanker, find_ranker, log_odds
from segue.models.scorer import Scorer
from segue.system.threads import calm
from segue.training.rankers.candidate_sampling import CasesConfig, CaseSource, ClickDraw, GivenCases
from segue.training.rankers.config import ClickTrainingConfig

if TYPE_CHECKING:
    from segue.training.nets.rankers.towers import ClickTower

VALIDATION_CASES = 5000


def covisit(sequences: Sequences, size: int) -> Scorer:
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
class ClickData:
    """What a ranker is trained and validated on; made once for several rankers on one split.

    Each person's newest training events are asked for; item vectors and the rule that retrieves learn from the older
    ones alone. Otherwise both have seen every target that the net is trained on, which they will not have in use, and
    the net learns to trust them too much.
    """

    size: int
    """V: catalogue size with PAD."""
    base: Sequences
    """The older training events."""
    train: CaseSource
    validation: ClickCases
    past: Interactions
    """Of training and validation events: what validation cases know of items at their moments."""

    @classmethod
    def of(
        cls,
        split: Split,
        *,
        asked: CasesConfig | None = None,
        retriever: Callable[[Sequences, int], Scorer] = covisit,
        seed: int = 0,
    ) -> "ClickData":
        """``retriever`` fits what retrieves hard negatives, for training on the older events and for validation on all
        training events: the co-visit rule where none is given."""
        how, size, seen = asked or CasesConfig(), split.catalog.size, split.exclude_seen
        lengths = split.train.lengths
        base = split.train.prefixes(lengths - np.ceil(lengths * how.newest).astype(np.int64))
        events = every_position(split.train)
        events = sample(events.take(events.histories.stops >= base.stops[events.groups]), how.positives, seed)
        train, past = Interactions.of(split.train, size), Interactions.of(split.refit, size)
        drawn = ClickDraw(events, train, retriever(base, size), how, exclude_seen=seen)
        shown = retriever(split.train, size)
        cases = sample(split.validation, VALIDATION_CASES, seed)
        chosen_by = ClickDraw(cases, past, shown, how, exclude_seen=seen).draw(np.random.default_rng((seed, 5)))
        return cls(size, base, drawn, chosen_by, past)

    @classmethod
    def of_impressions(
        cls, cases: ClickCases, takes: Sequences, size: int, *, newest: float = 0.5, validation: float = 0.1
    ) -> "ClickData":
        """From a log that says what was shown (``segue.data.impressions.impressions``) and everything that was taken.

        The last ``validation`` of the impressions validates, the ``newest`` of those before it train, and item vectors
        learn from what was taken before these.
        """
        assert takes.times is not None
        begins, ends = two_moments(cases.moments_B, validation, newest)
        past = Interactions.of(takes, size)
        train = cases.take((cases.moments_B >= begins) & (cases.moments_B < ends))
        return cls(size, before(takes, begins), GivenCases(train, past), cases.take(cases.moments_B >= ends), past)


def sample(cases: Cases, count: int, seed: int) -> Cases:
    """At most ``count`` of the cases, drawn without replacement, in order."""
    if len(cases) <= count:
        return cases
    return cases.take(np.sort(np.random.default_rng((seed, 3)).choice(len(cases), count, replace=False)))


def fit_ranker(
    name: str,
    data: ClickData,
    values: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, float, float | None], None] | None = None,
) -> FittedRanker:
    """Trains on the split's training part, stops and calibrates by its validation cases; the ranker then knows the
    items' events of both. Equal arguments give equal rankers."""
    calm()
    started = time.perf_counter()
    entry = find_ranker(name)
    try:
        from segue.training.rankers.ranker_trainer import ClickTrainer, build_click_net
    except ImportError:
        raise ValueError(f"Training {name} needs PyTorch: pip install 'segue[train]'.") from None
    shares = distribute(values or {}, {"model": entry.config, "training": ClickTrainingConfig})
    config: Any = decode(entry.config, shares["model"])
    training = decode(ClickTrainingConfig, shares["training"])
    cases = data.validation

    def served(net: "ClickTower") -> ClickNet:
        return entry.net(net.weights(), config)

    def validate(net: "ClickTower") -> float:
        asked_BC = cases.asked
        return auc(log_odds(served(net), cases, data.past)[asked_BC], cases.labels_BC[asked_BC])

    net = build_click_net(config, data.base, data.size, seed)
    width = served(net).width
    trainer = ClickTrainer(net, data.train.interactions, training, seed, (config.length, width))
    outcome = trainer.run(data.train.draw, validate=validate, progress=progress)
    twin = served(net)
    said_BC = log_odds(twin, cases, data.past)
    fit_curve = Calibration.platt if training.calibration == "platt" else Calibration.isotonic
    curve = fit_curve(said_BC[cases.asked], cases.labels_BC[cases.asked])
    memory = ItemMemory.of(data.past, width) if width else None
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


def train_on(
    split: Split,
    name: str,
    values: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, float, float | None], None] | None = None,
) -> tuple[FittedRanker, ClickData]:
    """``fit_ranker`` on cases drawn from a split, with what it was validated on. ``values``: the ranker's settings, its
    training's, and those that say which cases are drawn (``CasesConfig``), in one."""
    kinds = {"model": find_ranker(name).config, "training": ClickTrainingConfig, "asked": CasesConfig}
    shares = distribute(values or {}, kinds)
    data = ClickData.of(split, asked=decode(CasesConfig, shares.pop("asked")), seed=seed)
    plain = {key: value for share in shares.values() for key, value in share.items()}
    return fit_ranker(name, data, plain, seed=seed, progress=progress), data


def judge(ranker: NeuralRanker, cases: ClickCases, past: Interactions) -> dict[str, float]:
    """AUC, logloss and ECE of the ranker's probabilities, and logloss and ECE without its calibration. ``past`` may go
    on beyond the cases: of each only what lies before its moment is read."""
    said_BC, asked_BC = log_odds(ranker.net, cases, past), cases.asked
    labels = cases.labels_BC[asked_BC]
    told, plain = ranker.calibration(said_BC)[asked_BC], Calibration.none()(said_BC)[asked_BC]
    return {
        "auc": auc(said_BC[asked_BC], labels),
        "logloss": logloss(told, labels),
        "ece": calibration_error(told, labels),
        "logloss_uncalibrated": logloss(plain, labels),
        "ece_uncalibrated": calibration_error(plain, labels),
    }


def whole_log(log: Any, split: Split) -> Interactions:
    """Every event of an ``EventLog``, for test cases: what they know of items ends at their own moments."""
    sequences: Sequences = log.sequences(split.catalog)[0]
    return Interactions.of(sequences, split.catalog.size)
