"""Foreign models: mutated candidates against ``segue promote`` and a server that follows the folder, under requests.

  python benchmarks/foreign_models.py [--candidates 500] [--seed 0]

Writes benchmarks/results/foreign-models.json: candidates, how many each of the two accepted, tracebacks, requests that
failed meanwhile. Takes about 20 minutes on an idle core. The faults are those of ``tests/support/foreign_models.py``: a
candidate is consistent (its manifest fits) but for one fault that no sound model has.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from machine import ROOT, about, save

sys.path.insert(0, str(ROOT))
from tests.support import foreign_models
from tests.support.foreign_models import Mutation
from tests.support.ring import CONFIG, split_of

from segue.models import artifact
from segue.models.zoo import is_neural
from segue.pipeline.config import decode_pipeline
from segue.serving.sockets import SocketGroups
from segue.system.staged_folder import exchange
from segue.workflows.fit_model import fit_model
from segue.workflows.train_pipeline import fit_pipeline

MODELS = ("markov", "vsknn", "ials", "trend", "gru4rec", "sasrec", "seq2seq", "markov+covisit", "pipeline")
QUICK: dict[str, Any] = {"epochs": 1, "embedding_dim": 8}
SERVER = (
    "import sys, pathlib; from segue.serving.config import ServingConfig; from segue.serving.server import serve; "
    "serve(pathlib.Path(sys.argv[1]), data_dir=pathlib.Path(sys.argv[2]), port=int(sys.argv[3]), "
    "config=ServingConfig(reload_interval_s=0.1))"
)
WAIT_S = 90.0
"""Longest wait for the server to refuse a candidate."""


def save_models(folder: Path) -> None:
    """Train the small sound models that the candidates are made of."""
    split = split_of(200)
    for name in (*MODELS, "popularity"):
        if name == "pipeline":
            rank = {**CONFIG["rank"], "model": "pooled", "weight": 0.5, "settings": {**QUICK, "max_length": 8}}  # type: ignore[dict-item]
            more = [{"model": "new", "num_candidates": 5}]
            more.append({"model": "list", "num_candidates": 3, "settings": {"items": ["item 3"]}})
            fitted = fit_pipeline(split, decode_pipeline({"source": [*CONFIG["source"], *more], "rank": rank}))
        else:
            settings = {**QUICK, "covisitation_weight": 0.0} if is_neural(name) else {}
            fitted = fit_model(name, split, settings)
        items = {split.catalog.ids[0]: {"title": "The first", "price": 2.5}}
        saved = artifact.Artifact(name, fitted.settings, split.catalog, fitted.scorer.arrays(), items, {})
        artifact.save(saved, folder / name)


def candidates(folder: Path, count: int, seed: int) -> list[tuple[str, Mutation]]:
    """Return (model, fault) of the candidates: all faults of files once, and a sample of those of tensors."""
    rng, first, rest = random.Random(seed), [], []
    for name in MODELS:
        base = folder / name
        rest += [(name, one) for one in foreign_models.tensor_faults(base, name)]
        rest += [(name, one) for one in (*foreign_models.damages(base, seed), *foreign_models.json_faults(base))]
        if name == "sasrec":
            first += [(name, one) for one in foreign_models.onnx_faults(base)]
        if name in ("markov", "pipeline"):
            first += [(name, one) for one in (*foreign_models.links(base), *foreign_models.header_faults())]
    rng.shuffle(rest)
    return [*first, *rest][:count]


class Client:
    """Thread that sends requests to a server, and counts the failed ones and the versions that answered."""

    def __init__(self, port: int) -> None:
        self.requests, self.failed, self.versions = 0, Counter[str](), set[str]()
        self._url = f"http://127.0.0.1:{port}/v1/recommend"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            body = json.dumps({"history": ["item 3"], "k": 5}).encode()
            request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
            self.requests += 1
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    self.versions.add(json.load(response)["model_version"])
            except OSError as error:
                self.failed[type(error).__name__ + " " + str(getattr(error, "code", ""))] += 1

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()


def measure(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Promote each candidate by the command, and put it in the place of a served model.

    Args:
        folder: empty folder for the work.
        count: number of candidates.
        seed: seed of their choice.
    """
    (folder / "models").mkdir()
    save_models(folder / "models")
    run, candidate, registry, log = (folder / name for name in ("run", "candidate", "registry", "log"))
    shutil.copytree(folder / "models" / "popularity", run)
    segue = [sys.executable, "-m", "segue"]
    subprocess.run([*segue, "promote", str(registry), str(run)], check=True, capture_output=True)
    sockets = SocketGroups.bind("127.0.0.1", 0, 1)
    port = sockets.port
    sockets.close()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        command = [sys.executable, "-c", SERVER, str(run), str(folder / "data"), str(port)]
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    while "Serving on" not in log.read_text():
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    client, rows = Client(port), []
    try:
        for name, fault in candidates(folder / "models", count, seed):
            foreign_models.make(folder / "models" / name, candidate, fault)
            done = subprocess.run(
                [*segue, "promote", str(registry), str(candidate)],
                check=False,
                capture_output=True,
                text=True,
                env=environment,
            )
            row = {"model": name, "fault": fault.name, "exit": done.returncode, "lines": len(done.stderr.splitlines())}
            row["traceback"] = "Traceback" in done.stderr
            row["last_line"] = done.stderr.strip().splitlines()[-1][-300:] if done.stderr.strip() else ""
            before = log.read_text().count("stay")
            exchange(candidate, run)
            waited = time.monotonic()
            while log.read_text().count("stay") == before and time.monotonic() < waited + WAIT_S:
                time.sleep(0.02)
            row["refused_by_server"] = log.read_text().count("stay") > before
            row["seconds_in_server"] = round(time.monotonic() - waited, 2)
            exchange(candidate, run)
            time.sleep(0.35)  # the next check sees the old model again
            rows.append(row)
            candidate.unlink() if candidate.is_symlink() else shutil.rmtree(candidate)
    finally:
        client.close()
        server.terminate()
        server.wait(60)
    text = log.read_text()
    return {
        "candidates": len(rows),
        "accepted_by_promote": [row for row in rows if row["exit"] == 0],
        "other_ends_of_promote": [row for row in rows if row["exit"] not in (0, 2) or row["lines"] != 1],
        "tracebacks_of_promote": sum(row["traceback"] for row in rows),
        "not_refused_by_server": [row for row in rows if not row["refused_by_server"]],
        "tracebacks_of_server": text.count("Traceback"),
        "versions_in_responses": len(client.versions),
        "versions_in_registry": len([path for path in (registry / "versions").iterdir() if path.is_dir()]),
        "requests": client.requests,
        "failed_requests": dict(client.failed),
        "slowest_refusal_s": max(row["seconds_in_server"] for row in rows),
        "exit_of_server": server.returncode,
        "faults": dict(Counter(row["model"] for row in rows)),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.candidates, options.seed)
    print(json.dumps(result, indent=1))
    if options.candidates >= 500:
        save("foreign-models", {"about": about(options.seed), **result})


if __name__ == "__main__":
    main()
