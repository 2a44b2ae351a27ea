"""A ranker on the straight road: a log, a name -> trained, judged on the log's last part, ready to be saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode_settings, split_by_config
from segue.data.evaluation_cases import Split
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
    """A ranker that was trained on a log's split, and what its test cases say of it."""

    fitted: FittedRanker
    split: Split
    whole: ItemHistories
    """Every event of the log."""
    validation: dict[str, float]
    """As ``judge``; the epoch and the calibration were chosen by these cases."""
    test: dict[str, float]
    curve: Reliability
    """On the test cases."""
    cases: int
    """Test cases."""
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        pairs = zip(self.curve.predicted_K.tolist(), self.curve.observed_K.tolist(), strict=True)
        return {
            "model": self.fitted.ranker.name,
            "seed": self.seed,
            "protocol": self.split.protocol,
            "data": self.split.fingerprint,
            "validation": self.validation,
            "test": self.test,
            "test_cases": self.cases,
            "reliability": [list(pair) for pair in pairs],
            "settings": self.fitted.settings,
            "notes": self.fitted.notes,
            "fit_s": round(self.fitted.fit_s, 1),
        }

    def saved(self, items: "ItemTable | None" = None) -> SavedRanker:
        """To be written to disk, with what happened to the items up to the log's end."""
        catalog = self.split.catalog
        ranker = self.fitted.ranker.to_catalog(np.arange(catalog.size), self.whole)
        about = {key: value for key, value in self.to_dict().items() if key not in ("model", "settings")}
        shown = {} if items is None else items.for_catalog(catalog)
        return SavedRanker(ranker, self.fitted.settings, catalog, shown, {**about, "segue": version("segue")})


def train_ranker(
    log: "EventLog",
    name: str,
    values: Mapping[str, Any] | None = None,
    *,
    protocol: str = "time",
    seed: int = 0,
    say: Callable[[str], None] = lambda what: None,
) -> RankerReport:
    """``train_on`` a log's split, and ``judge`` on its test cases, each at its moment, against items drawn as those of
    validation are. ValueError for a log without times."""
    plain = find_ranker(name)
    split = split_log(log, protocol)
    whole = with_full_histories(log, split)
    say(f"training {name}")

    def tell(epoch: int, loss: float, validation: float | None) -> None:
        say(f"training {name}: epoch {epoch}, loss {loss:.4f}, validation AUC {validation or 0:.4f}")

    fitted, data = fit_ranker_on_split(split, name, values, seed=seed, progress=tell)
    say(f"evaluating {name}")
    shares = split_by_config(
        values or {}, {"m": plain.config, "t": RankerTrainingConfig, "asked": CandidateSamplingConfig}
    )
    how = decode_settings(CandidateSamplingConfig, shares["asked"])
    shown = covisitation_retriever(split.train, split.catalog.size)
    draw = SampledExamples(
        sample_examples(split.test, TEST_CASES, seed), whole, shown, how, exclude_seen=split.exclude_seen
    )
    cases = draw.draw(np.random.default_rng((seed, 9)))
    ranker = fitted.ranker
    said = ranker.calibration(log_odds(ranker.net, cases, whole))[cases.requested_items]
    curve = reliability(said, cases.labels_BC[cases.requested_items], bins=10)
    figures = [evaluate_ranker(ranker, data.validation, data.item_histories), evaluate_ranker(ranker, cases, whole)]
    return RankerReport(fitted, split, whole, figures[0], figures[1], curve, len(cases), seed)
