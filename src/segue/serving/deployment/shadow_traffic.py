"""Shadow traffic: live requests that a shadow version scores too, to measure its speed and its lists."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from segue.serving.inference.engine import Engine
from segue.serving.observability.prometheus import Metrics
from segue.serving.schemas.requests import RecommendRequest, RecommendResponse

_MAX_WAITING = 16


class ShadowTraffic:
    """Thread that scores requests with the shadow version.

    Requests over its capacity are skipped and counted, so that live responses never wait.
    """

    def __init__(self, metrics: Metrics) -> None:
        """Start the thread; its requests are counted in ``metrics``."""
        self._metrics = metrics
        self._capacity = threading.Semaphore(_MAX_WAITING)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="segue-shadow")

    def submit(self, engine: Engine, request: RecommendRequest, response: RecommendResponse) -> None:
        """Score a request with the shadow version and compare the lists.

        Args:
            engine: engine of the shadow version.
            request: the request.
            response: the live response.
        """
        if not self._capacity.acquire(blocking=False):
            self._metrics.count_shadow_request("skipped")
            return
        self._pool.submit(self._compare, engine, request, {item.id for item in response.items})

    def _compare(self, engine: Engine, request: RecommendRequest, live: set[str]) -> None:
        started = time.perf_counter()
        try:
            shadow = {item.id for item in engine.recommend(request).items}
            overlap = len(shadow & live) / max(len(shadow), len(live), 1)
            self._metrics.count_shadow_request("scored", time.perf_counter() - started, overlap)
        except Exception:
            self._metrics.count_shadow_request("failed")
        finally:
            self._capacity.release()

    def close(self) -> None:
        """Drop the waiting requests and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
