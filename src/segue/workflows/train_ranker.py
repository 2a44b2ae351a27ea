"""Training of a ranker on a log: split, fit, evaluate on the last part of the log, report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode_settings, split_by_config
from segue.data.evaluation_cases import Split
from segue.data.log_description import LogDescription
from segue.data.splits.split import split_log
from segue.evaluation.calibration_metrics import Reliability, reliability
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.ranker import find_ranker, log_odds
from segue.models.rankers.ranker_artifact import SavedRanker
from segue.training.rankers.candidate_sampling import CandidateSamplingConfig, SampledExamples
from segue.training.rankers.config import RankerTrainingConfig
from segue.workflows.fit_ranker import (
    FittedRanker,
    covisitation_retriever,
    evaluate_ranker,
    fit_ranker_on_split,
    sample_examples,
    with_full_histories,
)

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

TEST_CASES = 20_000


@dataclass(frozen=True)
class RankerReport:
    """Trained ranker with its metrics on validation and test."""

    fitted: FittedRanker
    split: Split
    item_histories: ItemHistories
    """Item histories of every event of the log."""
    validation: dict[str, float]
    """Metrics as in ``evaluate_ranker``; epoch and calibration were chosen on these cases."""
    test: dict[str, float]
    reliability: Reliability
    """Predicted and observed click rates of the test cases, in bins of equal count."""
    test_cases: int
    """Number of test cases."""
    seed: int
    log: LogDescription
    """Description of the log."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        pairs = zip(self.reliability.predicted_K.tolist(), self.reliability.observed_K.tolist(), strict=True)
        return {
            "model": self.fitted.ranker.name,
            "seed": self.seed,
            "protocol": self.split.protocol,
            "data": self.split.fingerprint,
            "validation": self.validation,
            "test": self.test,
            "test_cases": self.test_cases,
            "reliability": [list(pair) for pair in pairs],
            "settings": self.fitted.settings,
            "notes": self.fitted.notes,
            "fit_s": round(self.fitted.fit_s, 1),
        }

    def to_artifact(self, items: "ItemTable | None" = None) -> SavedRanker:
        """Return the ranker to be saved, with the item histories up to the log's end; ``items``: table with titles."""
        catalog = self.split.catalog
        ranker = self.fitted.ranker.to_catalog(np.arange(catalog.size), self.item_histories)
        about = {key: value for key, value in self.to_dict().items() if key not in ("model", "settings")}
        known = {} if items is None else items.for_catalog(catalog)
        return SavedRanker(
            ranker,
            self.fitted.settings,
            catalog,
            known,
            {**about, "log": self.log.to_dict(), "segue": version("segue")},
        )


def train_ranker(
    log: "EventLog",
    name: str,
    settings: Mapping[str, Any] | None = None,
    *,
    protocol: str = "time",
    seed: int = 0,
    report: Callable[[str], None] = lambda stage: None,
) -> RankerReport:
    """Train a ranker on a log's split and evaluate it on the test cases, with candidates sampled as in validation.

    Args:
        log: the events, with timestamps.
        name: name of the ranker.
        settings: settings of the ranker, of its training and of the sampling, by name; None: the defaults.
        protocol: protocol of the split.
        seed: random seed.
        report: called with the name of each stage.

    Raises:
        ValueError: a log without timestamps, an unknown ranker or a wrong setting.
    """
    entry = find_ranker(name)
    split = split_log(log, protocol)
    histories = with_full_histories(log, split)
    report(f"training {name}")

    def report_epoch(epoch: int, loss: float, validation: float | None) -> None:
        report(f"training {name}: epoch {epoch}, loss {loss:.4f}, validation AUC {validation or 0:.4f}")

    fitted, data = fit_ranker_on_split(split, name, settings, seed=seed, progress=report_epoch)
    report(f"evaluating {name}")
    shares = split_by_config(
        settings or {}, {"m": entry.config, "t": RankerTrainingConfig, "sampling": CandidateSamplingConfig}
    )
    sampling = decode_settings(CandidateSamplingConfig, shares["sampling"])
    retriever = covisitation_retriever(split.train, split.catalog.size)
    draw = SampledExamples(
        sample_examples(split.test, TEST_CASES, seed), histories, retriever, sampling, exclude_seen=split.exclude_seen
    )
    cases = draw.draw(np.random.default_rng((seed, 9)))
    ranker = fitted.ranker
    probabilities = ranker.calibration(log_odds(ranker.net, cases, histories))[cases.is_candidate]
    curve = reliability(probabilities, cases.labels_BC[cases.is_candidate], bins=10)
    metrics = [evaluate_ranker(ranker, data.validation, data.item_histories), evaluate_ranker(ranker, cases, histories)]
    return RankerReport(fitted, split, histories, metrics[0], metrics[1], curve, len(cases), seed, log.description)
