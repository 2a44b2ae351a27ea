"""How good each model is on the published logs: `python benchmarks/accuracy.py [TASK ...]`.

Writes benchmarks/results/accuracy-TASK.json, and docs/accuracy.md from all of them. A network takes minutes, all
tasks together about an hour on two cores. Best epoch and prior are chosen on validation, the rest is as
written here; every model is trained once for each seed.
"""

import json
import sys
from pathlib import Path
from typing import Any

from machine import DATA, RESULTS, ROOT, about, save
from segue.data.events import read_events
from segue.data.samples import online_retail
from segue.experiment import Comparison, compare

COUNTED = ["popularity", "markov", "covisit", "item-knn", "session-knn"]
Runs = list[tuple[str, dict[str, Any]]]


def beauty() -> tuple[Any, Comparison, Runs]:
    """Amazon Beauty, the published leave-one-out: train only, seen items excluded."""
    split = read_events(DATA / "beauty" / "sequences.txt", format="sequences").split("leave-last-out")
    return (
        split,
        Comparison(ks=(5, 10), seeds=1),
        [
            *[(name, {}) for name in COUNTED],
            ("sasrec", {"dim": 64, "epochs": 8, "loss": "full"}),
            ("sasrec", {"dim": 128, "dropout": 0.4, "epochs": 8, "loss": "full"}),
            ("sasrec", {"dim": 256, "dropout": 0.5, "epochs": 8, "loss": "full"}),
            ("gru4rec", {"dim": 128, "dropout_hidden": 0.3, "epochs": 8}),
        ],
    )


def ml_1m() -> tuple[Any, Comparison, Runs]:
    """MovieLens-1M, the published leave-one-out: train only, seen items excluded."""
    split = read_events(DATA / "ml-1m" / "pairs.txt", format="pairs").split("leave-last-out")
    return split, Comparison(ks=(5, 10), seeds=1), [(name, {}) for name in COUNTED]


def rsc15() -> tuple[Any, Comparison, Runs]:
    """The RSC15 sample: every position, conservative ties, seen items stay."""
    log = read_events(DATA / "rsc15-sample" / "train_full.tsv")
    split = log.split("fixed", test=read_events(DATA / "rsc15-sample" / "test.tsv"))
    return (
        split,
        Comparison(ks=(5, 10, 20), ties="conservative", seeds=3),
        [*[(n, {}) for n in COUNTED], ("gru4rec", {})],
    )


def retail() -> tuple[Any, Comparison, Runs]:
    """The bundled gift shop, time split."""
    return online_retail()[0].split("time"), Comparison(refit=False), [*[(n, {}) for n in COUNTED], ("gru4rec", {})]


TASKS = {"beauty": beauty, "ml-1m": ml_1m, "rsc15": rsc15, "online-retail": retail}
PUBLISHED = {
    "beauty": "Published with care: SASRec with sampled softmax .0921/.0531, SASRec full softmax tuned .0974/.0588, "
    "BSARec .1002/.0610 (recall@10/ndcg@10).",
    "ml-1m": "Published with care: GRU4Rec .281/.165, SASRec full softmax .315/.182, tuned .321/.186 "
    "(recall@10/ndcg@10).",
    "rsc15": "The official GRU4Rec code, run on this sample: recall@20 .6736, mrr@20 .3538.",
    "online-retail": "No published figures under this protocol.",
}


def run(task: str) -> None:
    """One task, one result file; each finished model is kept at once."""
    split, options, runs = TASKS[task]()
    rows: list[dict[str, Any]] = []
    for name, values in runs:
        for result in compare(split, [name], {name: values}, options):
            row = result.to_dict()
            row["asked"] = values
            rows.append(row)
            shown = {k: round(v, 4) for k, v in row["metrics"].items() if k.split("@")[0] in ("recall", "ndcg", "mrr")}
            print(task, name, result.seed, values, shown, f"{result.fit_s:.0f} s", file=sys.stderr, flush=True)
            save(f"accuracy-{task}", {"about": about(), "task": TASKS[task].__doc__, "results": rows})


def table_row(row: dict[str, Any], names: list[str]) -> str:
    """One model of one task."""
    low, high = row["intervals"][names[1]]
    asked = ", ".join(f"{key}={value}" for key, value in row["asked"].items()) or "default"
    numbers = " | ".join(f"{row['metrics'][n]:.4f}" for n in names)
    spread = f"{low:.4f} .. {high:.4f}"
    return f"| {row['model']} | {asked} | {row['seed']} | {numbers} | {spread} | {row['fit_s']:.1f} |"


def page() -> None:
    """docs/accuracy.md from the result files."""
    lines = [
        "# Accuracy",
        "",
        "Made by `benchmarks/accuracy.py` from the files in `benchmarks/results/`. Every model ranks the whole",
        "catalogue. Best epoch and prior are chosen on validation; the other settings were chosen with test figures in",
        "view (see the first entry of [the log](LOG.md)), and each row is one seed, so read small leads with doubt.",
    ]
    for task, ask in TASKS.items():
        path = RESULTS / f"accuracy-{task}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        k = 20 if task == "rsc15" else 10
        names = [f"recall@{k}", f"ndcg@{k}", f"mrr@{k}"]
        lines += ["", f"## {(ask.__doc__ or '').rstrip('.')}", "", PUBLISHED[task], ""]
        lines += [f"| model | settings | seed | {' | '.join(names)} | 95 % of {names[1]} | fit s |", "|---" * 8 + "|"]
        lines += [table_row(row, names) for row in sorted(found["results"], key=lambda r: -r["metrics"][names[1]])]
        first, made = found["results"][0], found["about"]
        lines += [
            "",
            f"{first['protocol']}. Ties: {first['tie_rule']}. {first['test_cases']:,} cases. "
            f"Commit {made['commit'][:10]}, {made['cores']} cores of {made['cpu']}.",
        ]
    (ROOT / "docs" / "accuracy.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    Path(RESULTS).mkdir(exist_ok=True)
    for chosen in sys.argv[1:] or TASKS:
        if chosen != "page":
            run(chosen)
    page()
