"""Writer of docs/results/accuracy.md from the result files: `python benchmarks/accuracy_page.py`."""

import json
from statistics import mean
from typing import Any

from accuracy import TASKS
from machine import RESULTS, ROOT, load_result

FACTORIZATIONS = ("spectral", "ials", "bpr", "ease", "fpmc")
"""Factorization models. The table marks those below the co-visitation model."""
SESSIONS = ("rsc15", "yoochoose", "diginetica")
PUBLISHED = {
    "beauty": "Published with care: SASRec with sampled softmax .0921/.0531, SASRec full softmax tuned .0974/.0588, "
    "BSARec .1002/.0610 (recall@10/ndcg@10). The pipeline also reads the items' titles, which those do not, and blends "
    "by trees that were fitted on validation cases.",
    "ml-1m": "Published with care: GRU4Rec .281/.165, SASRec full softmax .315/.182, tuned .321/.186 "
    "(recall@10/ndcg@10).",
    "rsc15": "The official GRU4Rec code, run on this sample: recall@20 .6736, mrr@20 .3538.",
    "yoochoose": "Published on this split (recall@20/mrr@20): NARM .6832/.2863, STAMP .6874/.2967, SR-GNN .7057/.3094; "
    "GRU4Rec and VS-kNN, properly run, .653-.696/.275-.288.",
    "diginetica": "Published on this split (recall@20/mrr@20): SR-GNN .5073/.1759. The target of .640/.305 is a "
    "GRU4Rec on STAMP-style files, another preparation of the log, which is not available: no bound for this one.",
    "ml-1m-timed": "Published for HSTU with the time of the target: .323/.188, large .364/.216 (recall@10/ndcg@10). "
    "Do not compare these rows with the others.",
    "ml-100k": "No published figures under this protocol.",
    "online-retail": "No published figures under this protocol.",
}
TARGETS = [
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
"""Task, title, rows that count (empty: any), required metrics, targeted metrics."""


def results(task: str) -> list[dict[str, Any]]:
    """Return the rows of a task's file."""
    path = RESULTS / f"accuracy-{task}.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []


def pair(task: str) -> tuple[str, str]:
    """Return the two metrics that the task's sources publish."""
    return ("recall@20", "mrr@20") if task in SESSIONS else ("recall@10", "ndcg@10")


def means(task: str) -> dict[str, tuple[float, float, int]]:
    """Return row -> means of its two metrics over seeds, and the number of seeds."""
    first, second = pair(task)
    by_row: dict[str, list[dict[str, float]]] = {}
    for result in results(task):
        by_row.setdefault(result.get("row", result["model"]), []).append(result["metrics"])
    of_row = {
        row: (mean(m[first] for m in rows), mean(m[second] for m in rows), len(rows)) for row, rows in by_row.items()
    }
    return of_row | timed(task)


def timed(task: str) -> dict[str, tuple[float, float, int]]:
    """Return the results of SASRec on the same cases by `benchmarks/speed.py quality`."""
    path = RESULTS / "speed-quality.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        f"sasrec, {name} of speed-quality.json": (row["recall@10"], row["ndcg@10"], len(row["runs"]))
        for name, row in runs.items()
        if name.startswith(f"{task}-") and "runs" in row
    }


def targets() -> list[str]:
    """Return the section of required and targeted metrics beside the best measured ones."""
    lines = [
        "## Targets",
        "",
        "Required and targeted metrics (those of the published sources below) beside the best row of each model.",
        "",
        "| log | model | required | target | Segue | seeds | |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, title, rows, must, aim in TARGETS:
        measured = {name: value for name, value in means(task).items() if not rows or name.split(",")[0] in rows}
        cells = [task, title, f"{must[0]:.3f}/{must[1]:.3f}", f"{aim[0]:.4g}/{aim[1]:.4g}"]
        if not measured:
            lines.append(f"| {' | '.join(cells)} | not run | | |")
            continue
        name, (first, second, seeds) = max(measured.items(), key=lambda pair: pair[1][1])
        verdict = (
            "target" if first >= aim[0] and second >= aim[1] else "required" if (first, second) >= must else "below"
        )
        if verdict == "required" and second < must[1]:
            verdict = "below"
        gap = "" if verdict == "target" else f", {first - aim[0]:+.4f}/{second - aim[1]:+.4f} from the target"
        lines.append(f"| {' | '.join(cells)} | {first:.4f}/{second:.4f} ({name}) | {seeds} | {verdict}{gap} |")
    return [*lines, ""]


def table(task: str) -> list[str]:
    """Return the section of one task, the best row first."""
    rows, names = results(task), [*pair(task), "ndcg@20" if task in SESSIONS else "mrr@10"]
    lines = [f"## {(TASKS[task].split.__doc__ or task).split(chr(10))[0].rstrip('.')}", "", PUBLISHED[task], ""]
    lines += [
        f"| model | settings | seed | {' | '.join(names)} | 95 % interval of {names[1]} | fit s |",
        "|---" * 8 + "|",
    ]
    covisitation = max((row["metrics"][names[1]] for row in rows if row["model"] == "covisit"), default=0.0)
    for row in sorted(rows, key=lambda r: -r["metrics"][names[1]]):
        low, high = row["intervals"][names[1]]
        settings = ", ".join(f"{key}={value}" for key, value in row["given"].items()) or "default"
        if row["model"] == "pipeline":
            settings = row["label"].removeprefix("pipeline ")
        numbers = " | ".join(f"{row['metrics'][n]:.4f}" for n in names)
        below = ""
        if row["metrics"][names[1]] < covisitation and ("losses" in row["notes"] or row["model"] in FACTORIZATIONS):
            below = " (below the co-visitation model)"
        spread = f"{low:.4f} .. {high:.4f}"
        lines.append(
            f"| {row['model']}{below} | {settings} | {row['seed']} | {numbers} | {spread} | {row['fit_s']:.1f} |"
        )
    first = rows[0]
    commits = sorted({row.get("about", {}).get("commit", "")[:10] for row in rows} - {""})
    return [
        *lines,
        "",
        f"{first['protocol']}. Ties: {', '.join(sorted({row['tie_rule'] for row in rows}))}. "
        f"{first['test_cases']:,} cases. Commits {', '.join(commits)}.",
        "",
    ]


def order() -> list[str]:
    """Return the section of order sensitivity."""
    result = load_result("order")
    if result is None:
        return []
    lines = ["## Order sensitivity", "", f"{result['task']}. Neural models were trained for three epochs.", ""]
    lines += ["| model | ndcg@10 in order | shuffled | lost | 95 % interval of the difference | |", "|---" * 6 + "|"]
    for row in sorted(result["results"], key=lambda r: -r["share_lost"]):
        numbers = f"{row['ndcg@10']:.4f} | {row['shuffled']:.4f} | {row['share_lost']:.0%}"
        low, high = row["interval"]
        lines.append(f"| {row['model']} | {numbers} | {low:.4f} .. {high:.4f} | {row['verdict']} |")
    return [*lines, ""]


def horizon() -> list[str]:
    """Return the section of lists of several steps."""
    result = load_result("horizon")
    if result is None:
        return []
    lines = ["## Several steps ahead", "", f"MovieLens-1M, {result['protocol']}. Chosen on {result['chosen_on']}.", ""]
    lines += ["![Hits by steps ahead](plots/horizon.svg)", ""]
    lines += [
        "| model | strategy | chosen | recall@10 | ndcg@10 | 1 ahead | 2-5 | 6-10 | difference to its top-k, 6-10 |"
    ]
    lines += ["|---" * 9 + "|"]
    for row in result["test"]:
        curve = row["curve"]
        parts = " | ".join(f"{mean(curve[a:b]):.4f}" for a, b in ((0, 1), (1, 5), (5, 10)))
        late, (low, high) = row["against_top_k"]["6-10"]["difference"], row["against_top_k"]["6-10"]["interval"]
        numbers = f"{row['metrics']['recall@10']:.4f} | {row['metrics']['ndcg@10']:.4f} | {parts}"
        cells = f"{row['model']} | {row['strategy']} | {row['chosen']} | {numbers}"
        lines.append(f"| {cells} | {late:+.4f} ({low:+.4f} .. {high:+.4f}) |")
    return [*lines, ""]


def cold() -> list[str]:
    """Return the section of cold items."""
    lines = ["## Cold items", ""]
    lines += [
        "A twentieth of the items is hidden from training, in three samples (`benchmarks/cold.py`). A random order",
        "has a ratio of 1.",
        "",
    ]
    lines += [
        "| log | model | features | ratio of cold recall@50 to a random order | warm ndcg@10 among warm | among all |"
    ]
    lines += ["|---" * 6 + "|"]
    for task in ("ml-100k", "beauty"):
        for model, uses in ((load_result(f"cold-{task}") or {}).get("means") or {}).items():
            for use, row in uses.items():
                numbers = f"{row['warm_ndcg@10']:.4f} | {row['warm_ndcg@10_among_all']:.4f}"
                lines.append(f"| {task} | {model} | {use} | {row['times_chance']:.1f} | {numbers} |")
    return [*lines, ""] if len(lines) > 6 else []


def page() -> str:
    """Return the page."""
    lines = [
        "# Accuracy",
        "",
        "Made by `benchmarks/accuracy_page.py` from the files in `benchmarks/results/`. Every model ranks the whole",
        "catalog. Best epoch, prior and weights of ensembles are chosen on validation. The [log](../LOG.md)",
        "states how the other settings were chosen, and which of them with test metrics in view. Small differences",
        "between rows of one seed mean nothing. Protocols: [evaluation](../guide/evaluation.md).",
        "",
        *targets(),
    ]
    for task in TASKS:
        if results(task):
            lines += table(task)
    lines += [*order(), *horizon(), *cold()]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs" / "results" / "accuracy.md").write_text(page(), encoding="utf-8")
