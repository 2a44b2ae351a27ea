"""Resumed = uninterrupted, to the last bit, wherever the power went; damaged states are never trusted."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from segue.data.sequences import Sequences
from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.lrurec import LRURecConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.scorer import Scorer
from segue.training.build_net import build_net
from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.checkpoints.state_file import TrainingState
from segue.training.config import TrainingConfig
from segue.training.progress import Progress
from segue.training.trainer import Trainer

V = 31


def log() -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences.from_lists([rng.integers(1, V, rng.integers(2, 14)).tolist() for _ in range(120)])


def trainer(config: object = None, **values: object) -> Trainer:
    chosen = {"epochs": 3, "batch_tokens": 64, "patience": 2, **values}
    net = build_net(config or SASRecConfig(embedding_dim=8, max_length=10), log(), V, seed=1)
    return Trainer(net, log(), TrainingConfig(**chosen), seed=1)  # type: ignore[arg-type]


def digest(run: Trainer) -> str:
    hasher = hashlib.sha256()
    for name, value in sorted(run.net.weights().items()):
        hasher.update(name.encode() + value.numpy().tobytes())
    return hasher.hexdigest()


def quality(scorer: Scorer) -> float:
    return float(scorer.scores(Sequences.from_lists([[1, 2, 3]]))[0, 4])


HOW: list[dict[str, object]] = [
    {"loss": "full"},
    {"loss": "sampled"},
    {"loss": "bpr-max", "negative_source": "mixed", "optimizer": "adagrad", "momentum": 0.2, "weight_decay": 0.1},
    {"loss": "full", "optimizer": "adagrad"},
]


NETS = [
    SASRecConfig(embedding_dim=8, max_length=10),
    GRU4RecConfig(embedding_dim=8),
    BERT4RecConfig(embedding_dim=8, max_length=10),
    NextItNetConfig(embedding_dim=8),
    LRURecConfig(embedding_dim=8),
]
LANES: list[tuple[object, dict[str, object]]] = [
    (GRU4RecConfig(embedding_dim=8, cell="lstm", num_layers=2), {"parallel_sessions": 20, "bptt_steps": 2}),
    (
        GRU4RecConfig(embedding_dim=8, input_embedding="one-hot"),
        {"parallel_sessions": 30, "session_order": "time", "schedule": "constant"},
    ),
    (
        GRU4RecConfig(embedding_dim=8, input_embedding="separate"),
        {"parallel_sessions": 30, "optimizer": "adagrad", "momentum": 0.2, "max_grad_norm": None},
    ),
]
"""Their stops lie in the middle of sessions."""


@pytest.mark.parametrize(("config", "how"), [*((net, how) for net in NETS for how in HOW), *LANES], ids=str)
def test_stopped_at_every_step_and_gone_on_equals_never_stopped(
    config: object, how: dict[str, object], tmp_path: Path
) -> None:
    whole = trainer(config, **how)
    outcome = whole.run(quality)
    stops = 0
    while True:
        part = trainer(config, **how)
        checkpoint = Checkpoint(tmp_path / "run.checkpoint", every_s=1e9)

        def after_five(progress: Progress, own: Checkpoint = checkpoint, run: Trainer = part) -> None:
            own.stop = run.step % 5 == 4

        try:
            resumed = part.run(quality, after_five, checkpoint=checkpoint)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 3
    assert digest(part) == digest(whole)
    assert resumed.validations == outcome.validations
    assert resumed.losses == outcome.losses
    assert resumed.best_epoch == outcome.best_epoch


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = trainer()
    first.run(quality, checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    again = trainer()
    steps: list[Progress] = []
    again.run(quality, steps.append, checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    assert steps == []
    assert digest(again) == digest(first)


def test_another_trainings_state_is_refused(tmp_path: Path) -> None:
    trainer().run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    with pytest.raises(ValueError, match=r"belongs to another training: its data, settings or seed differ\.$"):
        trainer(learning_rate=0.5).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))


def state(n: int) -> TrainingState:
    return TrainingState({"x": torch.full((50,), float(n))}, {"n": n})


def test_every_flipped_byte_is_noticed_and_the_one_before_is_used(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.checkpoint")
    assert checkpoint.load() is None
    checkpoint.save(state(1))
    checkpoint.save(state(2))
    raw = checkpoint.path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(raw), 200):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(rng.integers(8))
        checkpoint.path.write_bytes(bytes(damaged))
        loaded = checkpoint.load()
        assert loaded is not None and loaded.numbers == {"n": 1}
        assert loaded.tensors["x"].tolist() == [1.0] * 50
    for length in range(0, len(raw), 17):
        checkpoint.path.write_bytes(raw[:length])
        loaded = checkpoint.load()
        assert loaded is not None and loaded.numbers == {"n": 1}
    checkpoint.path.with_suffix(".before").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"is damaged, and so is the one before it: start the training anew\.$"):
        checkpoint.load()


def test_a_crash_while_writing_leaves_a_whole_state(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.checkpoint")
    checkpoint.save(state(1))
    (tmp_path / "run.checkpoint.writing").write_bytes(b"half a st")  # what a crash before the renames leaves
    loaded = checkpoint.load()
    assert loaded is not None and loaded.numbers == {"n": 1}
    os.replace(checkpoint.path, tmp_path / "run.before")  # what a crash between the two renames leaves
    loaded = checkpoint.load()
    assert loaded is not None and loaded.numbers == {"n": 1}


CHILD = """
import sys, torch
sys.path.insert(0, {folder!r})
torch.set_num_threads(1)
from pathlib import Path
from tests.training.checkpoints.test_checkpoint import Checkpoint, digest, quality, trainer
run = trainer(epochs=8, batch_tokens=32)
run.run(quality, lambda p: None, checkpoint=Checkpoint(Path(sys.argv[1]), every_s=0.0))
print(digest(run))
"""


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """Four kills here; the benchmark kills twenty times."""
    code = CHILD.format(folder=str(Path(__file__).parents[3]))
    command = [sys.executable, "-c", code]
    whole = subprocess.run([*command, str(tmp_path / "whole")], capture_output=True, text=True, check=True)
    rng = np.random.default_rng(0)
    place = tmp_path / "killed.checkpoint"
    kills = 0
    for _ in range(12):
        process = subprocess.Popen([*command, str(place)], stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while not place.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.5)))
        if kills < 4 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        said, _ = process.communicate(timeout=60)
        break
    assert kills >= 1
    assert said == whole.stdout
