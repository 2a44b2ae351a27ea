"""Checkpoints: a resumed training ends with the bits of an uninterrupted one; damaged states are never loaded."""

import hashlib
import json
import os
import subprocess
import sys
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

ROOT = Path(__file__).resolve().parents[3]
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


SETTINGS: list[dict[str, object]] = [
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
SESSION_PARALLEL: list[tuple[object, dict[str, object]]] = [
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
"""Trainings of GRU4Rec on parallel sessions: they stop in the middle of sessions, whose states must be saved."""


@pytest.mark.parametrize(
    ("config", "values"), [*((net, values) for net in NETS for values in SETTINGS), *SESSION_PARALLEL], ids=str
)
def test_a_training_stopped_and_resumed_again_and_again_ends_with_the_same_bits(
    config: object, values: dict[str, object], tmp_path: Path
) -> None:
    whole = trainer(config, **values)
    outcome = whole.run(quality)
    stops = 0
    while True:
        part = trainer(config, **values)
        checkpoint = Checkpoint(tmp_path / "run.checkpoint", every_s=1e9)

        def stop_every_five_steps(progress: Progress, own: Checkpoint = checkpoint, run: Trainer = part) -> None:
            own.stop = run.step % 5 == 4

        try:
            resumed = part.run(quality, stop_every_five_steps, checkpoint=checkpoint)
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


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    trainer().run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))
    with pytest.raises(ValueError, match=r"belongs to another training: its data, settings or seed differ\.$"):
        trainer(learning_rate=0.5).run(checkpoint=Checkpoint(tmp_path / "run.checkpoint"))


def state(n: int) -> TrainingState:
    return TrainingState({"x": torch.full((50,), float(n))}, {"n": n})


def test_a_flipped_byte_is_detected_and_the_previous_state_is_used(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.checkpoint")
    assert checkpoint.load() is None
    checkpoint.save(state(1))
    checkpoint.save(state(2))
    raw = checkpoint.path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(raw), 200):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << int(rng.integers(8))
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


def test_a_crash_during_a_save_leaves_a_valid_state(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.checkpoint")
    checkpoint.save(state(1))
    (tmp_path / "run.checkpoint.writing").write_bytes(b"half a st")  # left by a crash before the renames
    loaded = checkpoint.load()
    assert loaded is not None and loaded.numbers == {"n": 1}
    os.replace(checkpoint.path, tmp_path / "run.before")  # left by a crash between the two renames
    loaded = checkpoint.load()
    assert loaded is not None and loaded.numbers == {"n": 1}


def test_kill_9_at_random_times(tmp_path: Path) -> None:
    """Four kills here; the benchmark kills twenty times."""
    command = [sys.executable, "-m", "tests.support.kill_points", str(tmp_path / "random"), "4", "random"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["killed"] >= 1
    assert counts["equal"]
