"""Protocol of a receiver of recommended lists and committed events."""

from collections.abc import Sequence
from typing import Protocol

from segue.serving.schemas.requests import HistoryKey, RecommendResponse
from segue.serving.store.event_reader import StoredEventRow


class RecommendationLog(Protocol):
    """Receiver of recommended lists and committed events."""

    def record_impression(
        self,
        response: RecommendResponse,
        placement: str | None,
        key: HistoryKey | None,
        experiment: str | None,
        time_us: int | None = None,
        conditions: str | None = None,
    ) -> None:
        """Record a list that is about to be sent.

        Args:
            response: the list.
            placement: placement of the request.
            key: user or session; None for a request without one.
            experiment: name of the running experiment; None without one.
            time_us: time of the request, before its history was read, UTC microseconds; None: now.
            conditions: conditions of the request, as JSON (``encode_conditions``); None for a list without draws.
        """

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """Record committed events that may be attributed to a list."""
