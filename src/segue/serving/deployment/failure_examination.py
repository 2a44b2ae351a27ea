"""Examination of a version that failed: it is rolled back for a failure that it reproduces, never for its callers.

The failing request itself is no evidence: its caller chose the history, the options and the number of repeats. A
failure only starts an examination, at most one per version within ``INTERVAL_S``. A thread then sends the version plain
requests (the history of each, ``k`` 10, no options):

- golden histories, at each of the version's placements: one failure is enough;
- up to ``MAX_USERS`` random users in memory whose history began before the version was loaded: it takes
  ``MIN_FAILED_USERS`` failures, and more than ``MAX_FAILED_SHARE`` of them.

A refused request (4xx, 503), a late one and an event log that cannot be read are no failures. So a caller can roll back
a version only with stored histories of that age, of that many users, that the version cannot score.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from segue.serving.deployment.deployment import LoadedModel
from segue.serving.deployment.golden_requests import GOLDEN_K, golden_histories
from segue.serving.observability.logs import log_event
from segue.serving.schemas.requests import RecommendRequest

INTERVAL_S = 30.0
"""Shortest time between two examinations of a version in one deployment, in seconds."""
MAX_USERS = 200
"""Largest number of users in an examination."""
MIN_FAILED_USERS, MAX_FAILED_SHARE = 10, 0.05
"""Number and share of users that must fail at least for a rollback; the share must be exceeded."""
_log = logging.getLogger("segue.serving")


class FailureExaminer:
    """Thread that examines failing versions. Safe to use from several threads."""

    def __init__(self, on_reproduced: Callable[[LoadedModel, str], None]) -> None:
        """Make an examiner; the thread starts with the first failure.

        Args:
            on_reproduced: receives a version and a sentence part that names the reproduced failure.
        """
        self._on_reproduced = on_reproduced
        self._due_s: dict[str, float] = {}
        """Time of the next permitted examination, by version."""
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="segue-examiner")

    def submit(self, model: LoadedModel) -> bool:
        """Examine a version after a failure; return False if that was done within the interval."""
        now = time.monotonic()
        with self._lock:
            if now < self._due_s.get(model.version, 0.0):
                return False
            self._due_s[model.version] = now + INTERVAL_S
        try:
            self._pool.submit(self._examine, model)
        except RuntimeError:  # the server stops
            return False
        return True

    def reset(self) -> None:
        """Permit an examination of every version at once, for another deployment."""
        with self._lock:
            self._due_s = {}

    def close(self) -> None:
        """End the thread after a running examination."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _examine(self, model: LoadedModel) -> None:
        try:
            reason = find_reproduced_failure(model)
            if reason is not None:
                self._on_reproduced(model, reason)
            else:
                message = "A version failed for a request, and passed its examination: it stays."
                log_event(_log, logging.WARNING, message, version=model.version)
        except Exception as error:  # the thread must outlive an examination that fails itself
            failure = type(error).__name__
            log_event(_log, logging.ERROR, "An examination failed.", version=model.version, failure=failure)


def find_reproduced_failure(model: LoadedModel) -> str | None:
    """Return the failure that a version reproduces, as the second half of a sentence; None without one."""
    engine = model.engine
    histories, service = golden_histories(engine.model.catalog), engine.model.pipeline_service
    plain = [RecommendRequest(history=history, k=GOLDEN_K) for history in histories]
    for placement in [] if service is None else service.placement_names:
        plain += [RecommendRequest(history=history, k=GOLDEN_K, placement=placement) for history in histories[:3]]
    for request in plain:
        if (error := engine.failure_of(request)) is not None:
            at = "" if request.placement is None else f" at placement '{request.placement}'"
            return f"fails its golden request after {(request.history or [])[:5]}{at} ({type(error).__name__})"
    failures = []
    keys = model.sessions.sample_keys(MAX_USERS)
    for field, value in keys:
        user_id, session_id = (value, None) if field == "user_id" else (None, value)
        request = RecommendRequest(user_id, session_id, k=GOLDEN_K)
        if (error := engine.failure_of(request)) is not None:
            failures.append(type(error).__name__)
    if len(failures) >= MIN_FAILED_USERS and len(failures) > MAX_FAILED_SHARE * len(keys):
        return f"fails for {len(failures)} of {len(keys)} recent users ({failures[-1]})"
    return None
