"""Asks a version beside the live one, so that its speed and its answers are known before anybody sees them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from segue.serving.inference.engine import Engine
from segue.serving.observability.prometheus import Metrics
from segue.serving.schemas.requests import RecommendRequest, RecommendResponse

_MOST_WAITING = 16


class ShadowTraffic:
    """One thread; what it cannot keep up with is left out and counted, so that the live answers never wait."""

    def __init__(self, metrics: Metrics) -> None:
        self._telemetry = metrics
        self._room = threading.Semaphore(_MOST_WAITING)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="segue-shadow")

    def submit(self, engine: Engine, request: RecommendRequest, answer: RecommendResponse) -> None:
        """Asks the same; its answer is only compared."""
        if not self._room.acquire(blocking=False):
            self._telemetry.count_shadow_request("skipped")
            return
        self._pool.submit(self._compare, engine, request, {item.id for item in answer.items})

    def _compare(self, engine: Engine, request: RecommendRequest, live: set[str]) -> None:
        started = time.perf_counter()
        try:
            found = {item.id for item in engine.recommend(request).items}
            overlap = len(found & live) / max(len(found), len(live), 1)
            self._telemetry.count_shadow_request("asked", time.perf_counter() - started, overlap)
        except Exception:
            self._telemetry.count_shadow_request("failed")
        finally:
            self._room.release()

    def close(self) -> None:
        """Drops what waits and ends the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
