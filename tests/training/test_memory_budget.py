"""The choice of the softmax at its two borders, and a count of memory that the process itself confirms."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from segue.training import memory_budget
from segue.training.config import TrainingConfig
from segue.training.memory_budget import FULL_ITEMS, GB, budget_bytes, is_full, table_bytes, touched_rows

ROOMY = TrainingConfig(memory_gb=1000.0)


def test_auto_is_full_up_to_so_many_items() -> None:
    assert is_full(ROOMY, FULL_ITEMS, 64)
    assert not is_full(ROOMY, FULL_ITEMS + 1, 64)


def test_auto_is_full_up_to_the_budget_and_not_a_byte_beyond() -> None:
    needed = table_bytes(ROOMY, 20_000, 512, full=True)
    assert needed == 12 * 20_000 * 512 * 4
    assert is_full(replace(ROOMY, memory_gb=needed / GB), 20_000, 512)
    assert not is_full(replace(ROOMY, memory_gb=(needed - 1) / GB), 20_000, 512)


@pytest.mark.parametrize("loss", ["full", "sampled", "bce", "gbce", "bpr-max", "top1-max"])
def test_a_named_loss_is_never_overruled(loss: str) -> None:
    tiny = TrainingConfig(loss=loss, memory_gb=1e-9)  # type: ignore[arg-type]
    assert is_full(tiny, 10_000_000, 512) == (loss == "full")


def test_a_sampled_step_costs_what_it_touches() -> None:
    full, sampled = (table_bytes(ROOMY, 1_000_000, 64, full=full) for full in (True, False))
    assert full == 12 * 256_000_000
    assert sampled == 8 * 256_000_000  # weights, best, two moments, and all of them again while saved
    small = table_bytes(ROOMY, 1_000, 64, full=False)
    assert small == table_bytes(ROOMY, 1_000, 64, full=True)  # a step may touch every row of a small table


def test_a_session_parallel_step_uses_the_rows_of_its_sessions() -> None:
    packed, parallel = ROOMY, replace(ROOMY, parallel_sessions=32, bptt_steps=3)
    assert (packed.step_tokens, parallel.step_tokens) == (4096, 96)
    assert [touched_rows(c, 10**6, full=False) for c in (packed, parallel)] == [2 * 4096 + 2048, 2 * 96 + 2048]


def test_adagrad_without_momentum_keeps_one_table_less() -> None:
    bytes_ = [
        table_bytes(replace(ROOMY, optimizer="adagrad", momentum=m), 1_000_000, 64, full=False) for m in (0.0, 0.2)
    ]
    assert bytes_ == [6 * 256_000_000, 8 * 256_000_000]


def test_without_a_setting_the_machines_or_its_groups_memory_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    group, none = tmp_path / "memory.max", tmp_path / "no limit"
    group.write_text("123456\n")
    none.write_text("max\n")
    monkeypatch.setattr(memory_budget, "CGROUP_LIMITS", (str(none), str(tmp_path / "absent")))
    whole = budget_bytes(TrainingConfig())
    assert whole > 10**8
    monkeypatch.setattr(memory_budget, "CGROUP_LIMITS", (str(none), str(group)))
    assert budget_bytes(TrainingConfig()) == 123456
    assert budget_bytes(TrainingConfig(memory_gb=2.5)) == 2_500_000_000


MEASURE = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from segue.system import memory_usage as memory
from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.training.memory_budget import table_bytes
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.trainer import Trainer
items, loss = int(sys.argv[1]), sys.argv[2]
log = Sequences.from_lists(np.random.default_rng(0).integers(1, items, (16, 9)).tolist())
config = TrainingConfig(epochs=2, batch_tokens=64, num_negatives=64, loss=loss)
def run(size):
    net = build_net(GRU4RecConfig(embedding_dim=256, spectral_init=False), log, size, 0)
    trainer = Trainer(net, log, config, 0)
    trainer.run(lambda scorer: 1.0)
    trainer.state()
run(items)
memory.reset_peak()
before = memory.peak_mb()
run(40_000)
print((memory.peak_mb() - before) * 1e6 / table_bytes(config, 40_000, 256, full=loss == "full"))
"""


@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a peak that can be reset")
def test_the_count_is_what_the_process_takes(loss: str) -> None:
    """Never less than the peak, and at most half as much again."""
    done = subprocess.run([sys.executable, "-c", MEASURE, "300", loss], capture_output=True, text=True, check=True)
    assert 0.6 < float(done.stdout) < 1.05
