"""docs/results/accuracy.md from the result files: `python benchmarks/accuracy_page.py`."""

import json
from statistics import mean
from typing import Any

from accuracy import TASKS
from machine import RESULTS, ROOT

FACTORISED = ("spectral", "ials", "bpr", "ease", "fpmc")
"""Learned without a network; they need not be above the rule, but where they are below it the table says so."""
SESSIONS = ("rsc15", "yoochoose", "diginetica")
PUBLISHED = {
    "beauty": "Published with care: SASRec with sampled softmax .0921/.0531, SASRec full softmax tuned .0974/.0588, "
    "BSARec .1002/.0610 (recall@10/ndcg@10). The pipeline also reads the items' titles, which those do not, and blends "
    "by trees that learned from validation cases.",
    "ml-1m": "Published with care: GRU4Rec .281/.165, SASRec full softmax .315/.182, tuned .321/.186 "
    "(recall@10/ndcg@10).",
    "rsc15": "The official GRU4Rec code, run on this sample: recall@20 .6736, mrr@20 .3538.",
    "yoochoose": "Published on this split (recall@20/mrr@20): NARM .6832/.2863, STAMP .6874/.2967, SR-GNN .7057/.3094; "
    "GRU4Rec and VS-kNN, properly run, .653-.696/.275-.288.",
    "diginetica": "Published on this split (recall@20/mrr@20): SR-GNN .5073/.1759. The ladder's .640/.305 is a "
    "GRU4Rec on STAMP-style files, another preparation of the log, which we do not have: no bound for this one.",
    "ml-1m-timed": "Published for HSTU, told the target's time: .323/.188, large .364/.216 (recall@10/ndcg@10). "
    "Those rows are not to be compared with the others.",
    "ml-100k": "No published figures under this protocol.",
    "online-retail": "No published figures under this protocol.",
}
LADDER = [
    ("ml-1m", "GRU4Rec", ("gru4rec",), (0.281, 0.165), (0.289, 0.168)),
    ("ml-1m", "SASRec", ("sasrec",), (0.313, 0.182), (0.321, 0.186)),
    ("ml-1m", "BERT4Rec", ("bert4rec",), (0.282, 0.152), (0.292, 0.162)),
    ("ml-1m-timed", "HSTU, time-aware", ("hstu",), (0.323, 0.188), (0.364, 0.216)),
    ("beauty", "GRU4Rec", ("gru4rec",), (0.064, 0.036), (0.080, 0.045)),
    ("beauty", "SASRec", ("sasrec", "sasrec-d64"), (0.092, 0.053), (0.0974, 0.0588)),
    ("beauty", "best, trained on train only", (), (0.100, 0.061), (0.105, 0.065)),
    ("rsc15", "GRU4Rec", ("gru4rec",), (0.66, 0.345), (0.6736, 0.3538)),
    ("yoochoose", "best", (), (0.706, 0.309), (0.72, 0.32)),
    ("diginetica", "best", (), (0.640, 0.305), (0.640, 0.305)),
]
"""Task, what it is, the rows that count (none: any), what must be reached, what is aimed at."""


def results(task: str) -> list[dict[str, Any]]:
    """Every row of a task's file."""
    path = RESULTS / f"accuracy-{task}.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []


def pair(task: str) -> tuple[str, str]:
    """The two metrics that the task's sources publish."""
    return ("recall@20", "mrr@20") if task in SESSIONS else ("recall@10", "ndcg@10")


def means(task: str) -> dict[str, tuple[float, float, int]]:
    """By row: its two metrics as means over seeds, and how many seeds."""
    first, second = pair(task)
    by_row: dict[str, list[dict[str, float]]] = {}
    for result in results(task):
        by_row.setdefault(result.get("row", result["model"]), []).append(result["metrics"])
    found = {
        row: (mean(m[first] for m in rows), mean(m[second] for m in rows), len(rows)) for row, rows in by_row.items()
    }
    return found | timed(task)


def timed(task: str) -> dict[str, tuple[float, float, int]]:
    """What `benchmarks/speed.py quality` found for SASRec on the same cases, with the seconds that it took."""
    path = RESULTS / "speed-quality.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        f"sasrec, {name} of speed-quality.json": (row["recall@10"], row["ndcg@10"], len(row["runs"]))
        for name, row in runs.items()
        if name.startswith(f"{task}-") and "runs" in row
    }


def ladder() -> list[str]:
    """What must be reached, what is aimed at, and where we are."""
    lines = [
        "## The ladder",
        "",
        "| log | model | must reach | aim | ours | seeds | |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, title, rows, must, aim in LADDER:
        found = {name: value for name, value in means(task).items() if not rows or name.split(",")[0] in rows}
        cells = [task, title, f"{must[0]:.3f}/{must[1]:.3f}", f"{aim[0]:.4g}/{aim[1]:.4g}"]
        if not found:
            lines.append(f"| {' | '.join(cells)} | not run | | |")
            continue
        name, (first, second, seeds) = max(found.items(), key=lambda pair: pair[1][1])
        verdict = "aim" if first >= aim[0] and second >= aim[1] else "must" if (first, second) >= must else "below"
        if verdict == "must" and second < must[1]:
            verdict = "below"
        gap = "" if verdict == "aim" else f", {first - aim[0]:+.4f}/{second - aim[1]:+.4f} from the aim"
        lines.append(f"| {' | '.join(cells)} | {first:.4f}/{second:.4f} ({name}) | {seeds} | {verdict}{gap} |")
    return [*lines, ""]


def table(task: str) -> list[str]:
    """Every row of one task, the best first."""
    rows, names = results(task), [*pair(task), "ndcg@20" if task in SESSIONS else "mrr@10"]
    lines = [f"## {(TASKS[task].split.__doc__ or task).rstrip('.')}", "", PUBLISHED[task], ""]
    lines += [f"| model | settings | seed | {' | '.join(names)} | 95 % of {names[1]} | fit s |", "|---" * 8 + "|"]
    rule = max((row["metrics"][names[1]] for row in rows if row["model"] == "covisit"), default=0.0)
    for row in sorted(rows, key=lambda r: -r["metrics"][names[1]]):
        low, high = row["intervals"][names[1]]
        asked = ", ".join(f"{key}={value}" for key, value in row["asked"].items()) or "default"
        if row["model"] == "pipeline":
            asked = row["label"].removeprefix("pipeline ")
        numbers = " | ".join(f"{row['metrics'][n]:.4f}" for n in names)
        below = ""
        if row["metrics"][names[1]] < rule and ("losses" in row["notes"] or row["model"] in FACTORISED):
            kind = "a factorization, " if row["model"] in FACTORISED else ""
            below = f" ({kind}below the co-visit rule)"
        spread = f"{low:.4f} .. {high:.4f}"
        lines.append(f"| {row['model']}{below} | {asked} | {row['seed']} | {numbers} | {spread} | {row['fit_s']:.1f} |")
    first = rows[0]
    commits = sorted({row.get("about", {}).get("commit", "")[:10] for row in rows} - {""})
    return [
        *lines,
        "",
        f"{first['protocol']}. Ties: {first['tie_rule']}. {first['test_cases']:,} cases. Commits {', '.join(commits)}.",
        "",
    ]


def loaded(name: str) -> dict[str, Any] | None:
    """A result file that is not one of ``accuracy.py``; None where it was not made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def order() -> list[str]:
    """What each model loses when histories are shuffled."""
    found = loaded("order")
    if found is None:
        return []
    lines = ["## Is the order used?", "", f"{found['task']}. Networks were trained for three epochs.", ""]
    lines += ["| model | in order | shuffled | lost | 95 % of the difference | |", "|---" * 6 + "|"]
    for row in sorted(found["results"], key=lambda r: -r["share_lost"]):
        numbers = f"{row['ndcg@10']:.4f} | {row['shuffled']:.4f} | {row['share_lost']:.0%}"
        low, high = row["interval"]
        lines.append(f"| {row['model']} | {numbers} | {low:.4f} .. {high:.4f} | {row['verdict']} |")
    return [*lines, ""]


def horizon() -> list[str]:
    """Lists of several steps."""
    found = loaded("horizon")
    if found is None:
        return []
    lines = ["## Several steps ahead", "", f"MovieLens-1M, {found['protocol']}. Chosen on {found['chosen_on']}.", ""]
    lines += ["![Hits by steps ahead](plots/horizon.svg)", ""]
    lines += ["| model | strategy | chosen | recall@10 | ndcg@10 | 1 ahead | 2-5 | 6-10 | against its top-k, 6-10 |"]
    lines += ["|---" * 9 + "|"]
    for row in found["test"]:
        curve = row["curve"]
        parts = " | ".join(f"{mean(curve[a:b]):.4f}" for a, b in ((0, 1), (1, 5), (5, 10)))
        late, (low, high) = row["against_top_k"]["6-10"]["difference"], row["against_top_k"]["6-10"]["interval"]
        numbers = f"{row['metrics']['recall@10']:.4f} | {row['metrics']['ndcg@10']:.4f} | {parts}"
        cells = f"{row['model']} | {row['strategy']} | {row['chosen']} | {numbers}"
        lines.append(f"| {cells} | {late:+.4f} ({low:+.4f} .. {high:+.4f}) |")
    return [*lines, ""]


def cold() -> list[str]:
    """Items without an event."""
    lines = ["## Items without an event", ""]
    lines += [
        "A twentieth of the items hidden from training, three draws; `benchmarks/cold.py` says how. Chance is 1.",
        "",
    ]
    lines += ["| log | model | features | cold recall@50, times chance | warm ndcg@10 among warm | among all |"]
    lines += ["|---" * 6 + "|"]
    for task in ("ml-100k", "beauty"):
        for model, uses in ((loaded(f"cold-{task}") or {}).get("means") or {}).items():
            for use, row in uses.items():
                numbers = f"{row['warm_ndcg@10']:.4f} | {row['warm_ndcg@10_among_all']:.4f}"
                lines.append(f"| {task} | {model} | {use} | {row['times_chance']:.1f} | {numbers} |")
    return [*lines, ""] if len(lines) > 6 else []


def page() -> str:
    """The whole page."""
    lines = [
        "# Accuracy",
        "",
        "Made by `benchmarks/accuracy_page.py` from the files in `benchmarks/results/`. Every model ranks the whole",
        "catalog. Best epoch, prior and the weights of models that answer together are chosen on validation; how the",
        "other settings were chosen, and which of them were chosen with test figures in view, is in [the log](../LOG.md).",
        "Rows of one seed say nothing about small leads.",
        "",
        *ladder(),
    ]
    for task in TASKS:
        if results(task):
            lines += table(task)
    lines += [*order(), *horizon(), *cold()]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs" / "results" / "accuracy.md").write_text(page(), encoding="utf-8")
