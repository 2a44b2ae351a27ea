"""Peak memory: of one measured section, not of all before it."""

import sys

import numpy as np
import pytest

from segue.system import memory_usage

MB = 10**6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start the measurement anew")
def test_a_peak_is_measured_and_then_reset() -> None:
    memory_usage.reset_peak()
    before = memory_usage.peak_mb()
    block = np.ones(600 * MB, dtype=np.uint8)  # other threads may free tens of MB meanwhile
    with_block = memory_usage.peak_mb()
    assert with_block - before > 300
    del block
    assert memory_usage.peak_mb() == pytest.approx(with_block, abs=50)
    memory_usage.reset_peak()
    assert memory_usage.peak_mb() < with_block - 300


def test_a_system_without_proc_reports_the_peak_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_usage, "Path", lambda name: _Missing())
    memory_usage.reset_peak()
    assert memory_usage.peak_mb() > 10


class _Missing:
    def read_text(self) -> str:
        raise FileNotFoundError

    def write_text(self, text: str) -> int:
        raise FileNotFoundError
