"""The forecast: right in order of magnitude, and a refusal instead of a kill."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.training import cost_estimate as module
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.cost_estimate import CostEstimate, estimate_cost, needed_bytes
from segue.training.trainer import Trainer


def trainer(items: int = 300, **values: object) -> Trainer:
    rng = np.random.default_rng(0)
    log = Sequences.from_lists([rng.integers(1, items, 12).tolist() for _ in range(1500)])
    net = build_net(GRU4RecConfig(embedding_dim=32, spectral_init=False), log, items, 0)
    return Trainer(net, log, TrainingConfig(**{"epochs": 3, "batch_tokens": 512, **values}), 0)  # type: ignore[arg-type]


def test_seconds_are_about_right() -> None:
    found = estimate_cost(trainer(), time_s=0.5)
    started = time.perf_counter()
    trainer().run()
    assert 0.1 < found.seconds / (time.perf_counter() - started) < 10  # other work on the machine may come and go
    assert found.steps == trainer().batches.num_batches * 3


def test_memory_grows_with_the_table() -> None:
    small, large = needed_bytes(trainer(300)), needed_bytes(trainer(30_000))
    assert large - small == pytest.approx(9 * 29_700 * 32 * 4 + 3 * 29_700 * 32 * 4, rel=0.2)


def test_too_little_memory_is_refused_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_bytes", lambda: 1_000_000)
    sentence = r"^This training needs about 0\.\d GB and 0\.0 GB are free: lower dim or batch_tokens, or leave out rare"
    with pytest.raises(ValueError, match=sentence):
        estimate_cost(trainer())


def test_more_than_memory_gb_is_refused_before_the_first_step() -> None:
    with pytest.raises(ValueError) as refused:
        estimate_cost(trainer(memory_gb=0.001))
    assert re.fullmatch(
        r"This training needs about 0\.\d GB and memory_gb allows 0\.001: raise it, lower dim or "
        r"batch_tokens, or leave out rare items\.",
        str(refused.value),
    )


def test_the_processs_own_limit_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (40 * 10**9, 40 * 10**9))\n"
        "from segue.training.cost_estimate import available_bytes\n"
        "free = available_bytes(); assert free is None or free < 40 * 10**9, free\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_memory_refuses_nothing() -> None:
    CostEstimate(1, 1, 1.0, 1.0, 1, 10**15, None).check_memory()
