"""A ranker on the straight road: a log, a name -> trained, judged on the log's last part, ready to be saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode, distribute
from segue.data.evaluation_cases import Split
from segue.data.splits.split import split_log
from segue.evaluation.calibration_metrics import Reliability, reliability
from segue.models.rankers.item_histories import Interactions
from segue.models.rankers.ranker import find_ranker, log_odds
from segue.models.rankers.ranker_artifact import SavedRanker
from segue.training.rankers.candidate_sampling import CasesConfig, ClickDraw
from segue.training.rankers.config import ClickTrainingConfig
from segue.workflows.fit_ranker import FittedRanker, covisit, judge, sample, train_on, whole_log

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

TEST_CASES = 20_000


@dataclass(frozen=True)
class Judged:
    """A ranker that was trained on a log's split, and what its test cases say of it."""

    fitted: FittedRanker
    split: Split
    whole: Interactions
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
        pairs = zip(self.curve.said_K.tolist(), self.curve.happened_K.tolist(), strict=True)
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
        ranker = self.fitted.ranker.moved(np.arange(catalog.size), self.whole)
        about = {key: value for key, value in self.to_dict().items() if key not in ("model", "settings")}
        shown = {} if items is None else items.for_catalog(catalog)
        return SavedRanker(ranker, self.fitted.settings, catalog, shown, {**about, "segue": version("segue")})


def judged_ranker(
    log: "EventLog",
    name: str,
    values: Mapping[str, Any] | None = None,
    *,
    protocol: str = "time",
    seed: int = 0,
    say: Callable[[str], None] = lambda what: None,
) -> Judged:
    """``train_on`` a log's split, and ``judge`` on its test cases, each at its moment, against items drawn as those of
    validation are. ValueError for a log without times."""
    plain = find_ranker(name)
    split = split_log(log, protocol)
    whole = whole_log(log, split)
    say(f"training {name}")

    def tell(epoch: int, loss: float, validation: float | None) -> None:
        say(f"training {name}: epoch {epoch}, loss {loss:.4f}, validation AUC {validation or 0:.4f}")

    fitted, data = train_on(split, name, values, seed=seed, progress=tell)
    say(f"evaluating {name}")
    shares = distribute(values or {}, {"m": plain.config, "t": ClickTrainingConfig, "asked": CasesConfig})
    how = decode(CasesConfig, shares["asked"])
    shown = covisit(split.train, split.catalog.size)
    draw = ClickDraw(sample(split.test, TEST_CASES, seed), whole, shown, how, exclude_seen=split.exclude_seen)
    cases = draw.draw(np.random.default_rng((seed, 9)))
    ranker = fitted.ranker
    said = ranker.calibration(log_odds(ranker.net, cases, whole))[cases.asked]
    curve = reliability(said, cases.labels_BC[cases.asked], bins=10)
    figures = [judge(ranker, data.validation, data.past), judge(ranker, cases, whole)]
    return Judged(fitted, split, whole, figures[0], figures[1], curve, len(cases), seed)
