"""The soak's own judgment: slopes, the ledger of events, and the errors that a phase explains."""

import importlib
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("soak")


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("soak_clients")


def test_a_slope_is_that_of_the_line_and_its_interval_holds_it(soak: ModuleType) -> None:
    hours_N = np.arange(20) / 60
    assert soak.slope(hours_N, 100 + 3 * hours_N)["per_h"] == 3.0
    noise_N = np.random.default_rng(0).normal(0, 0.1, 20)
    noise_N[7] = 50.0  # one odd minute moves a median little
    noisy = soak.slope(hours_N, 100 + 3 * hours_N + noise_N)
    assert noisy["low"] < 3 < noisy["high"] and abs(noisy["per_h"] - 3) < 1


def test_growth_is_measured_behind_the_warm_up_and_a_leak_is_seen(soak: ModuleType) -> None:
    def sample(s: float) -> dict[str, float]:
        mb = 100 + min(s, 600) / 10 + s / 360  # 60 MB of warm-up, then 10 MB an hour
        return {"s": s, "rss_mb": mb, "anonymous_mb": mb, "descriptors": 20 + s // 600, "threads": 9}

    life = soak.Life("primary", [sample(10.0 * n) for n in range(180)])
    short = soak.Life("worker", [sample(10.0 * n) for n in range(20)])
    (row,) = soak.growth({1: life, 2: short}, 600.0)
    assert row["rss_mb"]["per_h"] == pytest.approx(10, abs=0.1) and row["from_s"] == 600
    assert soak.grew_by(row["descriptors"]) == 1 and soak.grew_by(row["threads"]) == 0


def test_a_lost_a_doubled_and_a_returned_event_are_found(clients: ModuleType) -> None:
    ledger = clients.Ledger(0)
    kept, erased, unknown = (ledger.new({"user_id": user, "item_id": "i"}) for user in ("a", "b", "c"))
    ledger.acknowledge([kept, erased])
    ledger.begin_erasure("b")
    late = ledger.new({"user_id": "b", "item_id": "i"})
    ledger.acknowledge([late])
    ledger.end_erasure("b")
    ids = [event.body["event_id"] for event in (kept, erased, unknown, late)]
    verdict = ledger.verdict(Counter({ids[0]: 1, ids[3]: 1}))
    assert [verdict[name] for name in ("lost", "doubled", "back_after_erasure", "never_sent")] == [0, 0, 0, 0]
    assert (verdict["must_be_stored"], verdict["erased"], late.fate) == (1, 1, "either")
    verdict = ledger.verdict(Counter({ids[1]: 1, ids[2]: 2, "another": 1}))
    assert [verdict[name] for name in ("lost", "doubled", "back_after_erasure", "never_sent")] == [1, 1, 1, 1]


def test_a_refusal_is_explained_by_its_phase_only(clients: ModuleType) -> None:
    phases = clients.Phases()
    load = clients.MixedLoad(clients.Http(1, "key"), phases, {}, 0)
    now = time.monotonic()

    def judge(status: int, at_s: float, error: str = "", **headers: str) -> int:
        load.judge("event", clients.Reply(status, headers, b"", error, at_s, at_s + 0.1))
        return load.num_unexplained

    phases.spans += [["overload", now, now + 20], ["killed", now + 100, now + 103]]
    retry = {"retry-after": "1"}
    assert judge(200, now + 50) == 0
    assert judge(503, now + 10, **retry) == 0
    assert judge(503, now + 10) == 1, "without Retry-After"
    assert judge(503, now + 50, **retry) == 2, "outside a phase"
    assert judge(0, now + 101, "ConnectionResetError") == 2
    assert judge(0, now + 10, "ConnectionResetError") == 3, "overload resets no connection"
    assert judge(0, now + 101, "timeout") == 4
    assert judge(500, now + 10, **retry) == 5


def test_a_list_with_an_item_of_another_version_is_found(clients: ModuleType) -> None:
    load = clients.MixedLoad(clients.Http(1, "key"), clients.Phases(), {"v1": "a", "v2": "b"}, 0)
    body = b'{"model_version": "%s", "items": [{"id": "only b 3"%s}]}'
    load.check_list("list", clients.Reply(200, {}, body % (b"v2", b"")))
    load.check_list("list", clients.Reply(200, {}, body % (b"v1+v2", b', "source": "v2"')))
    assert load.num_mixed == 0
    load.check_list("list", clients.Reply(200, {}, body % (b"v1", b"")))
    load.check_list("list", clients.Reply(200, {}, body % (b"v1+v2", b', "source": "v1"')))
    assert load.num_mixed == 2
