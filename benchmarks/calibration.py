"""Calibration of the probability of the next item, and of sampled lists: `python benchmarks/calibration.py [LOG ...]`.

Logs: a planted one, whose probabilities are known, and three real ones. Each model is fitted on the training events,
its temperature on validation cases, and its probabilities are compared with the test cases: of the best item, of the
ten best items, and of the ten best items for users without events. Sampled lists are compared with the probabilities
that are stated for them (chi-square). A quarter of an hour on an idle machine with two cores. Each log replaces its
part of benchmarks/results/calibration.json as soon as it is measured.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from accuracy import diginetica, ml_100k, retail
from machine import RESULTS, about, save
from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.evaluation.calibration_metrics import calibration_error
from segue.models.generation.generate import generate
from segue.models.generation.strategy import find_strategy
from segue.models.probabilities.calibrated_scorer import CalibratedScorer, SoftmaxCalibration
from segue.models.top_k import top_k
from segue.pipeline.config import decode_pipeline
from segue.pipeline.next_item_probabilities import PipelineProbabilities, probability_scorer
from segue.workflows.fit_model import calibrated, fit_model
from segue.workflows.train_pipeline import fit_pipeline

MAX_CASES = 15_000
BEST = 10
PLANTED_ITEMS = 200
PLANTED_SHARE = 0.6
"""Probability of the planted successor of the newest item; else any item, by popularity."""
PIPELINE = {
    "source": [{"model": "markov"}, {"model": "covisit"}, {"model": "popularity"}],
    "rank": {"method": "none"},
}


@dataclass(frozen=True)
class Task:
    """A split and the models that are fitted on it, with their settings."""

    split: Callable[[], Split]
    models: dict[str, dict[str, Any]]


def planted() -> Split:
    """Walks in which the successor of the newest item comes next with probability 0.6, else an item by popularity."""
    rng = np.random.default_rng(8)
    share_V = popularity()
    successor_V = np.concatenate([[0], rng.permutation(PLANTED_ITEMS) + 1])

    def walks(users: int, length: int) -> Sequences:
        rows = rng.choice(PLANTED_ITEMS, (users, length), p=share_V) + 1
        follows = rng.random((users, length)) < PLANTED_SHARE
        for step in range(1, length):
            rows[:, step] = np.where(follows[:, step], successor_V[rows[:, step - 1]], rows[:, step])
        return Sequences.from_lists(rows.tolist())

    def last(flat: Sequences) -> EvaluationCases:
        targets = flat.items[flat.stops - 1]
        return EvaluationCases(flat.prefixes(flat.lengths - 1), targets, np.arange(len(flat)), None, {})

    catalog = Catalog([f"i{item}" for item in range(1, PLANTED_ITEMS + 1)])
    train, validation, test = walks(3000, 11), walks(3000, 6), walks(MAX_CASES, 6)
    return Split("planted", catalog, train, last(validation), train, last(test), False, "", "planted")


def popularity() -> np.ndarray:
    """Return the popularity of the planted items, float64 [items]."""
    weights = 1.0 / np.arange(1, PLANTED_ITEMS + 1) ** 0.7
    return weights / weights.sum()


def diginetica_part() -> Split:
    """The last 40,000 training sessions of Diginetica and 4,000 of its test cases; targets outside are left out."""
    whole = diginetica()
    newest = np.arange(len(whole.train))[-40_000:]
    test, validation = (part.sample(4000, (0, 1)) for part in (whole.test, whole.validation))
    return replace(whole, train=whole.train.take(newest), validation=validation, test=test)


SMALL = {"embedding_dim": 64, "epochs": 3}
TASKS = {
    "planted": Task(
        planted,
        {
            "gru4rec": SMALL,
            "markov": {},
            "covisit": {},
            "gru4rec+covisit": {"gru4rec.embedding_dim": 64, "gru4rec.epochs": 3},
            "pipeline": PIPELINE,
        },
    ),
    "ml-100k": Task(ml_100k, {"gru4rec": SMALL, "covisit": {}, "pipeline": PIPELINE}),
    "online-retail": Task(retail, {"gru4rec": {**SMALL, "epochs": 1}, "covisit": {}, "pipeline": PIPELINE}),
    "diginetica": Task(diginetica_part, {"gru4rec": {**SMALL, "epochs": 1}, "covisit": {}}),
}


def fitted_scorer(name: str, split: Split, settings: dict[str, Any]) -> CalibratedScorer | PipelineProbabilities:
    """Return the calibrated scorer of a model that was fitted on the training events of a split.

    Args:
        name: name of the model, or 'pipeline'.
        split: the split.
        settings: settings of the model.
    """
    if name == "pipeline":
        return probability_scorer(fit_pipeline(split, decode_pipeline(settings)).scorer, {})
    fitted = fit_model(name, split, settings)
    if "+" not in name:
        fitted = calibrated(fitted, name, split)
    return probability_scorer(fitted.scorer, {"notes": fitted.notes})


def pairs(scorer: Any, cases: EvaluationCases, exclude_seen: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Return (probabilities of the best items [N, BEST], whether each is the target [N, BEST], log loss).

    Args:
        scorer: calibrated scorer.
        cases: test cases.
        exclude_seen: items of the history have no probability.
    """
    probabilities, hits, losses = [], [], []
    block = max(1, (8 << 20) // scorer.size)
    for start in range(0, len(cases), block):
        part = cases.take(slice(start, start + block))
        logs_BV = scorer.log_probabilities(part.histories)
        seen = part.histories if exclude_seen else None
        items_BK = top_k(logs_BV, BEST, exclude=seen)[0]
        probabilities.append(np.exp(np.take_along_axis(logs_BV, items_BK.astype(np.int64), axis=1)))
        hits.append(items_BK == part.targets[:, None])
        losses.append(-logs_BV[np.arange(len(part)), part.targets])
    return np.concatenate(probabilities), np.concatenate(hits), float(np.concatenate(losses).mean())


def errors(scorer: Any, cases: EvaluationCases, exclude_seen: bool) -> dict[str, float]:
    """Return the calibration errors of the best item and of the ten best ones, the log loss, and the mean confidence.

    ``ece_of_true_probabilities`` is the error that the noise of as many cases gives probabilities that are exactly
    true.

    Args:
        scorer: calibrated scorer.
        cases: test cases.
        exclude_seen: items of the history have no probability.
    """
    probabilities, hits, loss = pairs(scorer, cases, exclude_seen)
    drawn = np.random.default_rng(0).random((20, len(probabilities))) < probabilities[:, 0]
    return {
        "ece_of_true_probabilities": float(np.mean([_error(probabilities[:, 0], labels) for labels in drawn])),
        "ece_best": _error(probabilities[:, 0], hits[:, 0]),
        "ece_ten_best": calibration_error(probabilities, hits),
        "stated": float(probabilities[:, 0].mean()),
        "true": float(hits[:, 0].mean()),
        "log_loss": loss,
        "cases": len(cases),
    }


def _error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the calibration error; with one outcome only the mean distance from it."""
    mixed = labels.any() and not labels.all()
    return calibration_error(probabilities, labels) if mixed else float(np.abs(probabilities - labels).mean())


def measure(name: str, split: Split, settings: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the errors of a model with and without its calibration and for users without events, and its scorer.

    Args:
        name: name of the model.
        split: the split.
        settings: settings of the model.
    """
    scorer = fitted_scorer(name, split, settings)
    cases = split.test
    if split.exclude_seen:
        from segue.evaluation.ranks import has_rankable_target

        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    cases = cases.sample(MAX_CASES, (0, 2))
    few = cases.sample(4000, (0, 3))
    alone = replace(few, histories=Sequences.from_lists([[]] * len(few)))
    row: dict[str, Any] = {"calibrated": errors(scorer, cases, split.exclude_seen)}
    row["without_history"] = errors(scorer, alone, False)
    if isinstance(scorer, CalibratedScorer):
        row["calibration"] = scorer.calibration.to_dict()
        plain = SoftmaxCalibration(scorer.calibration.scale, exclude_seen=scorer.calibration.exclude_seen)
        row["temperature_1"] = errors(CalibratedScorer(scorer.inner, plain), cases, split.exclude_seen)
    else:
        scoring = scorer.inner.scoring
        row["calibration"] = {
            name: getattr(scoring, name)
            for name in ("coverage", "temperature_without_history", "coverage_without_history")
        }
        row["calibration"]["mixture"] = None if scoring.mixture is None else scoring.mixture.to_dict()
    return row, scorer


def sampled(scorer: Any, cases: EvaluationCases, *, temperature: float | None, lists: int = 800) -> dict[str, Any]:
    """Compare the first two items of sampled lists with the stated probabilities, after five histories (chi-square).

    Args:
        scorer: calibrated scorer.
        cases: cases whose histories are sampled after.
        temperature: divisor of the log-probabilities; None: 1.
        lists: sampled lists of each history.
    """
    strategy = find_strategy("sample", temperature=temperature)
    chi_square, freedom = 0.0, 0
    for row in range(5):
        history = cases.histories.take(slice(row, row + 1))
        counts: dict[tuple[int, ...], int] = {}
        stated: dict[tuple[int, ...], float] = {}
        for seed in range(lists):
            items, logs = generate(scorer, history, 2, strategy, rng=np.random.default_rng((row, seed)))
            for step in (1, 2):
                drawn = tuple(items[0, :step].tolist())
                counts[drawn] = counts.get(drawn, 0) + 1
                stated[drawn] = float(np.exp(logs[0, :step].astype(np.float64).sum()))
        for step in (1, 2):
            frequent = [drawn for drawn in stated if len(drawn) == step and stated[drawn] * lists >= 5]
            observed = np.array([counts[drawn] for drawn in frequent], dtype=np.float64)
            expected = np.array([stated[drawn] for drawn in frequent]) * lists
            rest = max(lists - expected.sum(), 1e-9)
            observed, expected = np.append(observed, lists - observed.sum()), np.append(expected, rest)
            if rest < 5:
                observed, expected = observed[:-1], expected[:-1]
            chi_square += float(((observed - expected) ** 2 / expected).sum())
            freedom += len(observed) - 1
    return {"chi_square": chi_square, "freedom": freedom, "p": float(stats.chi2.sf(chi_square, freedom))}


def run(name: str) -> dict[str, Any]:
    """Return the results of a log, by model."""
    split = TASKS[name].split()
    result: dict[str, Any] = {}
    for model, settings in TASKS[name].models.items():
        row, scorer = measure(model, split, settings)
        if name == "planted":
            row["sampled"] = {f"temperature {t or 1}": sampled(scorer, split.test, temperature=t) for t in (None, 0.7)}
        result[model] = row
        before = row.get("temperature_1", {}).get("ece_best", float("nan"))
        numbers = row["calibrated"]
        print(
            f"{name} {model}: ECE best {numbers['ece_best']:.4f} (temperature 1: {before:.4f}), "
            f"ten best {numbers['ece_ten_best']:.4f}, "
            f"without history {row['without_history']['ece_ten_best']:.4f}, "
            f"states {numbers['stated']:.3f}, true {numbers['true']:.3f} {row.get('sampled', '')}",
            flush=True,
        )
    return result


def main() -> None:
    """Measure every log, or those named on the command line, and write each result."""
    for name in sys.argv[1:] or list(TASKS):
        start = about()
        measured = {"about": start, "models": run(name)}
        path = RESULTS / "calibration.json"
        saved = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        save("calibration", {**saved, "about": start, name: measured})


if __name__ == "__main__":
    main()
