"""Speed of training and evaluation, with other libraries in the same run: `python benchmarks/speed.py [PART ...]`.

Parts: epoch (SASRec on Amazon Beauty against RecTools 0.19 and RecBole 1.2.1, each installed into a virtual environment
of its own under --peers), quality (seconds from the raw file to test metrics), gru (events per second), evaluation,
growth (seconds and memory as events and items grow), resume (kill -9 at random times and at every file operation of
every save), limits (rates of the machine and parts of an epoch). Run nothing else meanwhile. Each part writes
benchmarks/results/speed-PART.json.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as segue.system.threads does; torch reads it at import

import numpy as np
import torch

from machine import DATA, RESULTS, ROOT, about, save
from segue.data.readers.events import read_events
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.evaluation.evaluate import evaluate
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.sparse_rows import item_counts
from segue.models.top_k import top_k
from segue.system import memory_usage
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.export import export_scorer
from segue.training.losses import softmax_loss
from segue.training.trainer import Trainer
from segue.workflows.compare_models import compare
from segue.workflows.comparison.model_result import CompareOptions, fit_and_evaluate
from segue.workflows.job import TrainJob

PEERS = {
    "rectools": ["torch==2.13.0", "rectools[torch]==0.19.0"],
    "recbole": ["torch==2.13.0", "numpy<2", "pandas<2.2", "scipy<1.13", "recbole==1.2.1"],
}


def beauty() -> Any:
    """Return the split of Amazon Beauty."""
    return split_log(read_events(DATA / "beauty" / "sequences.txt", format="sequences"), "leave-last-out")


def epoch(peers: Path) -> dict[str, Any]:
    """Measure one epoch and the test metrics after it, medians of three runs (other libraries take half an hour)."""
    split = beauty()
    size = split.catalog.size
    runs = []
    for seed in range(3):
        net = build_net(SASRecConfig(embedding_dim=64, num_layers=2, max_length=50), split.train, size, seed)
        memory_usage.reset_peak()
        started = time.perf_counter()
        Trainer(net, split.train, TrainingConfig(epochs=1, loss="full"), seed).run()
        seconds = time.perf_counter() - started
        scorer = export_scorer("sasrec", net, item_counts(split.train, size))
        metrics = evaluate(scorer, split.test, exclude_seen=True, ks=(10,)).metrics
        runs.append(
            {"seconds": seconds, "peak_mb": memory_usage.peak_mb(), **{k: metrics[k] for k in ("recall@10", "ndcg@10")}}
        )
        print("segue", runs[-1], file=sys.stderr, flush=True)
    result: dict[str, Any] = {"segue": {k: statistics.median(r[k] for r in runs) for k in runs[0]}, "segue_runs": runs}
    for name in PEERS:
        peer_runs = [epoch_of_peer(name, peers) for _ in range(3)]
        if any("error" in run for run in peer_runs):
            result[name] = {"runs": peer_runs}
        else:
            result[name] = {k: statistics.median(run[k] for run in peer_runs) for k in peer_runs[0]} | {
                "runs": peer_runs
            }
            result[name]["times_slower"] = round(result[name]["seconds"] / result["segue"]["seconds"], 1)
        print(name, result[name], file=sys.stderr, flush=True)
    return result


def epoch_of_peer(name: str, peers: Path) -> dict[str, Any]:
    """Run another library's epoch in a process and an environment of its own."""
    script = ROOT / "benchmarks" / "peers" / f"{name}_sasrec.py"
    completed = subprocess.run(
        [str(peer_python(name, peers)), str(script), str(DATA / "beauty" / "sequences.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    result: dict[str, Any] = {"error": completed.stderr[-500:]}
    if not completed.returncode:
        result = json.loads(completed.stdout.strip().splitlines()[-1])
    print(name, result, file=sys.stderr, flush=True)
    return result


def peer_python(name: str, peers: Path) -> Path:
    """Return the Python of a library's own environment, which is made at the first call."""
    python = peers / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(peers / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS[name]], check=True)
    return python


QUALITY = {
    "beauty-d64": ("beauty", {"embedding_dim": 64, "dropout": 0.2, "epochs": 8, "loss": "full"}, 3),
    "beauty-d128": ("beauty", {"embedding_dim": 128, "dropout": 0.4, "epochs": 8, "loss": "full"}, 3),
    "ml-1m-d64-short": (
        "ml-1m",
        {"embedding_dim": 64, "max_length": 200, "dropout": 0.1, "epochs": 6, "loss": "full"},
        1,
    ),
    "ml-1m-d64": ("ml-1m", {"embedding_dim": 64, "max_length": 200, "dropout": 0.1, "epochs": 12, "loss": "full"}, 1),
}
"""Log, settings (chosen on validation alone: results/search-*.json holds every try; ml-1m-d64-short is ml-1m-d64
with as many epochs as five minutes allow) and number of seeds."""


def quality(peers: Path) -> dict[str, Any]:
    """Measure wall seconds from the raw file to the test metrics: reading, split, training, choice, evaluation.

    ``ONLY=beauty-d128`` in the environment measures that one and keeps the other results.
    """
    only = os.environ.get("ONLY", "").split(",")
    known = json.loads((RESULTS / "speed-quality.json").read_text(encoding="utf-8")) if only != [""] else {}
    new = {name: {"commit": about()["commit"], **quality_of(name)} for name in QUALITY if only == [""] or name in only}
    return {key: value for key, value in {**known, **new}.items() if key not in ("about", "part")}


def quality_of(name: str) -> dict[str, Any]:
    """Measure one log and its settings; return the means over seeds, and every run."""
    log, values, seeds = QUALITY[name]
    runs = []
    for seed in range(seeds):
        started = time.perf_counter()
        split = beauty() if log == "beauty" else movies()
        job = TrainJob(seed=seed)
        result, _ = fit_and_evaluate(split, "sasrec", values, job, CompareOptions(ks=(10,)), None)
        run = {"seconds": time.perf_counter() - started}
        run |= {k: result.metrics[k] for k in ("recall@10", "ndcg@10")} | {"peak_mb": result.peak_rss_mb}
        notes = {name: result.notes[name] for name in ("validation_ndcg@10", "prior_weight", "best_epoch")}
        runs.append({**run, **notes})
        print(name, seed, runs[-1], file=sys.stderr, flush=True)
    means = {k: round(statistics.mean(run[k] for run in runs), 5) for k in ("seconds", "recall@10", "ndcg@10")}
    return {**means, "peak_mb": max(run["peak_mb"] for run in runs), "settings": values, "runs": runs}


def movies() -> Any:
    """Return the split of MovieLens-1M."""
    return split_log(read_events(DATA / "ml-1m" / "pairs.txt", format="pairs"), "leave-last-out")


def gru(peers: Path) -> dict[str, Any]:
    """Measure GRU4Rec: training events per second, median of three, and its accuracy."""
    logs = {
        "rsc15-sample": (read_events(DATA / "rsc15-sample" / "train_full.tsv"), {"embedding_dim": 100}),
        "yoochoose-1-64": (
            read_events(DATA / "yoochoose-1-64" / "train_sessions.txt", format="sessions"),
            {"embedding_dim": 100},
        ),
    }
    losses = {"rsc15-sample": ["full"], "yoochoose-1-64": ["full", "sampled"]}
    result: dict[str, Any] = {}
    for name, (log, values) in logs.items():
        catalog = log.catalog()
        rows, _ = log.sequences(catalog, by="session")
        for loss in losses[name]:
            rates = []
            for seed in range(3):
                net = build_net(GRU4RecConfig(**values), rows, catalog.size, seed)
                config = TrainingConfig(epochs=1, batch_tokens=8192, learning_rate=5e-3, loss=loss, num_negatives=2048)
                rates.append(Trainer(net, rows, config, seed).run().events_per_s)
            key = name if loss == "full" else f"{name}, 2,048 sampled negatives"
            result[key] = {"events_per_s": round(statistics.median(rates)), "items": len(catalog), "settings": values}
            print(key, result[key], file=sys.stderr, flush=True)
    result["plain session-parallel peer on rsc15-sample"] = plain_gru(DATA / "rsc15-sample" / "train_full.tsv")
    log, test = logs["rsc15-sample"][0], read_events(DATA / "rsc15-sample" / "test.tsv")
    split = split_log(log, "fixed", test=test)
    gru4rec = compare(
        split, ["gru4rec"], {"gru4rec": {"embedding_dim": 100}}, CompareOptions(ks=(20,), ties="conservative")
    )[0]
    result["rsc15-sample"] |= {"recall@20": gru4rec.metrics["recall@20"], "mrr@20": gru4rec.metrics["mrr@20"]}
    print(result["rsc15-sample"], file=sys.stderr, flush=True)
    return result


def plain_gru(log: Path) -> dict[str, Any]:
    """Run the published recipe in plain PyTorch, half a minute, three times; return the median run."""
    command = [sys.executable, str(ROOT / "benchmarks" / "peers" / "session_parallel_gru.py"), str(log), "30"]
    runs = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    return sorted(runs, key=lambda run: run["events_per_s"])[1]


class Dot:
    """Dot-product scorer of a given size, to time ranking apart from any network."""

    name = "dot"

    def __init__(self, size: int, dim: int, users: int) -> None:
        rng = np.random.default_rng(0)
        self.size = size
        self.items_VD = rng.standard_normal((size, dim), dtype=np.float32)
        self.users_ND = rng.standard_normal((users, dim), dtype=np.float32)

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]; the histories are ignored."""
        return self.users_ND[: len(histories)] @ self.items_VD.T

    def arrays(self) -> dict[str, np.ndarray]:
        """Return no tensors."""
        return {}


def evaluation(peers: Path) -> dict[str, Any]:
    """Measure the evaluation of ML-1M's 6,040 users with SASRec and co-visitation, and of a ranking of 100,000
    items."""
    from segue.data.evaluation_cases import EvaluationCases
    from segue.models.counting.covisitation import CoVisit, CoVisitConfig

    split = movies()
    size = split.catalog.size
    sasrec = export_scorer(
        "sasrec", build_net(SASRecConfig(max_length=50), split.train, size, 0), item_counts(split.train, size)
    )
    result: dict[str, Any] = {}
    for name, scorer in (("covisit", CoVisit.fit(split.train, size, CoVisitConfig())), ("sasrec", sasrec)):
        seconds = [timed(lambda s=scorer: evaluate(s, split.test, exclude_seen=True, ks=(10,))) for _ in range(3)]
        result[f"ml-1m {name} seconds"] = round(statistics.median(seconds), 2)
    users = 1024
    dot = Dot(100_001, 64, users)
    rng = np.random.default_rng(1)
    targets = rng.integers(1, 100_001, users).astype(np.int32)
    cases = EvaluationCases(Sequences.from_lists([[1]] * users), targets, np.arange(users), None, {})

    def score_and_sort() -> None:
        for n in range(users):  # the usual evaluation: score all items, sort them, look up the target
            scores = dot.users_ND[n] @ dot.items_VD.T
            np.flatnonzero(np.argsort(-scores) == targets[n])

    segue_s = statistics.median(timed(lambda: evaluate(dot, cases, exclude_seen=False, ks=(10,))) for _ in range(3))
    sort_s = statistics.median(timed(score_and_sort) for _ in range(3))
    result["100,000 items"] = {
        "users_per_s": round(users / segue_s),
        "score_then_sort_users_per_s": round(users / sort_s),
        "times_faster": round(sort_s / segue_s, 1),
        "hours_for_1M_users": round(1e6 / (users / segue_s) / 3600, 2),
    }
    top_k(dot.scores(cases.histories.take(slice(0, 10))), 10)
    return result


def timed(function: Any) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


GROWTH_PROGRAM = """
import json, sys, time
import os
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
import numpy as np
import torch
from segue.system import memory_usage
from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.trainer import Trainer
folder, items, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
memory_usage.reset_peak()
started = time.perf_counter()
from pathlib import Path
rows = Sequences.open(Path(folder))
config = GRU4RecConfig(embedding_dim=64, max_length=20, spectral_init=False)
net = build_net(config, rows, items + 1, 0)
trainer = Trainer(net, rows, TrainingConfig(epochs=1, batch_tokens=8192, loss="sampled", num_negatives=1024), 0)
ready = time.perf_counter() - started
deadline = time.perf_counter() + seconds
class DeadlineReached(Exception): pass
def check(progress):
    if time.perf_counter() > deadline: raise DeadlineReached
try: trainer.run(None, check)
except DeadlineReached: pass
state = trainer.progress_state
events = state.events or trainer.batches.num_events
rate = round(events / state.trained_s)
print(json.dumps({"ready_s": round(ready, 2), "events_per_s": rate, "peak_mb": memory_usage.peak_mb()}))
"""


def growth(peers: Path) -> dict[str, Any]:
    """Measure 1 to 100 million events at 100,000 items, and 10 thousand to 1 million items at 2 million events.

    Each size is trained for a few seconds in a process of its own, from memory-mapped arrays.
    """
    result: dict[str, Any] = {"events": {}, "items": {}}
    with tempfile.TemporaryDirectory() as folder:
        for variable, grid in (
            ("events", [(n * 1_000_000, 100_000) for n in (1, 2, 4, 8, 16, 32, 64, 100)]),
            ("items", [(2_000_000, v) for v in (10_000, 30_000, 100_000, 300_000, 1_000_000)]),
        ):
            for events, items in grid:
                log = Path(folder) / "log"
                zipf_log(log, events, items)
                command = [sys.executable, "-c", GROWTH_PROGRAM, str(log), str(items), "15"]
                completed = subprocess.run(command, capture_output=True, text=True, check=False)
                row = json.loads(completed.stdout) if completed.returncode == 0 else {"error": completed.stderr[-300:]}
                result[variable][f"{events if variable == 'events' else items:,}"] = row
                print(variable, events, items, row, file=sys.stderr, flush=True)
    return result


def zipf_log(log: Path, events: int, items: int) -> None:
    """Write a log on disk whose items follow Zipf's law, ten events per user, without holding it in memory.

    Args:
        log: folder of the arrays.
        events: number of events.
        items: number of items.
    """
    log.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(log / "items.npy", mode="w+", dtype=np.int32, shape=(events,))
    for start in range(0, events, 4_000_000):
        count = min(4_000_000, events - start)
        out[start : start + count] = np.exp(rng.random(count) * np.log(items)).astype(np.int32)
    out.flush()
    np.save(log / "offsets.npy", np.arange(0, events + 1, 10, dtype=np.int64))


def resume(peers: Path) -> dict[str, Any]:
    """Kill trainings with kill -9 and compare the SHA-256 of the resumed ones with an uninterrupted one.

    Twenty trainings are killed at random times, and one at every file operation of every save (one after each step).
    """
    command = [sys.executable, "-c", RESUME_PROGRAM]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        uninterrupted = _output([*command, str(root / "uninterrupted"), "0"])
        equal = kills = 0
        for n in range(20):
            path = root / f"run{n}.checkpoint"
            for _ in range(1 + n % 3):  # some are killed more than once; every_s 0 saves after every step
                process = subprocess.Popen(
                    [*command, str(path), str(n % 2 * 0.05)], stdout=subprocess.DEVNULL, cwd=ROOT
                )
                while not path.exists() and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(float(rng.uniform(0, 1.0)))
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                process.wait()
            equal += _output([*command, str(path), "0"]) == uninterrupted
        points = json.loads(_output([sys.executable, "-m", "tests.support.kill_points", str(root / "points"), "1000"]))
    return {"trainings": 20, "kills": kills, "equal_sha256": equal, "at_every_operation": points}


RESUME_PROGRAM = """
import sys
from pathlib import Path
from tests.training.checkpoints.test_checkpoint import Checkpoint, digest, quality, trainer
run = trainer(epochs=30, batch_tokens=32)
run.run(quality, lambda p: None, checkpoint=Checkpoint(Path(sys.argv[1]), every_s=float(sys.argv[2])))
print(digest(run))
"""


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def limits(peers: Path) -> dict[str, Any]:
    """Measure the rates of the machine, and the parts of one epoch of SASRec on Amazon Beauty."""
    a, b = torch.randn(512, 64), torch.randn(64, 12_101)
    low_a, low_b = a.bfloat16(), b.bfloat16()
    flops = 2 * a.shape[0] * a.shape[1] * b.shape[1]
    scores = (low_a @ low_b) * 0.1
    block = torch.empty(64 << 20, dtype=torch.uint8)
    other = torch.empty_like(block)
    machine = {
        "gemm_bf16_gflops": round(flops / quickest(lambda: low_a @ low_b) / 1e9),
        "gemm_fp32_gflops": round(flops / quickest(lambda: a @ b) / 1e9),
        "exp_bf16_g_per_s": round(scores.numel() / quickest(scores.exp) / 1e9, 2),
        "copy_gb_per_s": round(2 * block.numel() / quickest(lambda: other.copy_(block)) / 1e9, 1),
    }
    split = beauty()
    size = split.catalog.size
    net = build_net(SASRecConfig(embedding_dim=64, num_layers=2, max_length=50), split.train, size, 0)
    trainer = Trainer(net, split.train, TrainingConfig(epochs=1, loss="full"), 0)
    batches = list(trainer.batches.epoch(0))
    targets = sum(batch.num_targets for batch in batches)
    cells = sum(batch.targets_BT.size for batch in batches)
    loss_s = sum(timed(lambda b=batch: loss_alone(net, b, trainer)) for batch in batches)
    epoch_s = sum(timed(lambda b=batch: trainer.train_step(b, 0.5)) for batch in batches)
    read_s = timed(lambda: list(trainer.batches.epoch(1)))
    loss_flops = 6.0 * targets * (size - 1) * 64
    return {
        "machine": machine,
        "epoch": {
            "targets": targets,
            "padding": round(cells / targets - 1, 3),
            "seconds": round(epoch_s, 2),
            "seconds_softmax": round(loss_s, 2),
            "seconds_encoder_optimizer_rest": round(epoch_s - loss_s, 2),
            "seconds_preparing_batches": round(read_s, 2),
            "softmax_gflops": round(loss_flops / loss_s / 1e9),
            "softmax_seconds_at_the_gemm_rate": round(loss_flops / machine["gemm_bf16_gflops"] / 1e9, 2),
            "softmax_seconds_of_exp_alone": round(targets * (size - 1) / machine["exp_bf16_g_per_s"] / 1e9, 2),
        },
    }


def loss_alone(net: Any, batch: Any, trainer: Trainer) -> None:
    """Compute the full softmax of one batch with its gradients, on random states.

    Args:
        net: the net.
        batch: the batch.
        trainer: its trainer.
    """
    targets = torch.from_numpy(batch.targets_BT[batch.targets_BT != 0].astype(np.int64))
    query = torch.nn.functional.normalize(torch.randn(len(targets), 64), dim=1).div_(0.07).requires_grad_()
    table = net.key(net.table_VD).detach().requires_grad_()
    sample = trainer.objective.all_items
    assert sample is not None
    items, offset = torch.from_numpy(sample.items), torch.from_numpy(sample.offset)
    softmax_loss(query, table, targets, items, offset, precision=trainer.dtype).backward()


def quickest(function: Any, times: int = 30) -> float:
    """Return the least seconds of several calls."""
    function()
    return min(timed(function) for _ in range(times))


PARTS = {f.__name__: f for f in (limits, epoch, quality, gru, evaluation, growth, resume)}


def main() -> None:
    """Measure the named parts and write their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=[*PARTS, []])
    parser.add_argument(
        "--peers", type=Path, default=ROOT / ".venv-peers", help="folder of the other libraries' environments"
    )
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    for part in options.parts:
        result = PARTS[part](options.peers.resolve())
        save(f"speed-{part}", {"about": about(), "part": (PARTS[part].__doc__ or "").split("\n")[0], **result})


if __name__ == "__main__":
    main()
