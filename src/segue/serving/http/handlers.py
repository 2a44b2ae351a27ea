"""Handlers of the recommendation API, and the state that all handlers share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from segue.serving.administration.admin_service import AdminService
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http.auth import Keys, RateLimit
from segue.serving.http.client_limits import ClientLimits
from segue.serving.http.exchange import Request
from segue.serving.http.load_shedding import EventLoopLag
from segue.serving.schemas.problems import unavailable
from segue.serving.schemas.requests import (
    EventsResponse,
    Health,
    NextRequest,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
    decode_events,
    decode_request,
)
from segue.serving.sessions.request_key import check_request, check_single_history

MAX_GENERATING = 16
"""Lists that are generated item by item at once."""
_LISTS = frozenset({"/v1/recommend", "/v1/similar"})


@dataclass
class AppState:
    """State that all handlers share: deployed versions, keys, limits, and whether the server is stopping."""

    router: VariantRouter
    keys: Keys = field(default_factory=Keys)
    admin: AdminService | None = None
    limit: RateLimit = field(default_factory=lambda: RateLimit(None))
    origins: tuple[str, ...] = ()
    """Web sites whose pages may send requests from a browser, as https://shop.example."""
    draining: bool = False
    loop_lag: EventLoopLag = field(default_factory=EventLoopLag)
    """Delay of the event loop; above its limit requests are refused before they cost anything."""
    other_workers: Callable[[], list[tuple[str, bytes]]] = list
    """Metrics of the other processes on the same port: (worker number, Prometheus text) each."""
    generating: int = 0
    """Lists that are being generated item by item."""
    client_limits: ClientLimits = field(default_factory=ClientLimits)
    """Limits of each client of a public key."""

    def busy(self, path: str) -> bool:
        """Return whether a request for a list would wait too long.

        It is refused before its event is stored: a client that sends it again finds everything unchanged.
        """
        return path in _LISTS and self.router.busy

    async def events(self, request: Request, parameter: str) -> EventsResponse:
        """Store one event or a batch; respond when they are as durable as requested."""
        batch = decode_events(request.body)
        future, ids = self.router.store(batch.events, batch.durability)
        try:
            appended = await asyncio.wrap_future(future)
        finally:
            del future  # its exception refers to this frame, and would stay until cycles are collected
        self.router.metrics.count_events(appended.accepted, appended.duplicates, appended.erased)
        durability = batch.durability or self.router.durability
        return EventsResponse(appended.accepted, appended.duplicates, durability, ids, appended.erased)

    async def recommend(self, request: Request, parameter: str) -> RecommendResponse:
        """Store the event of the request, if any, then recommend with it in the history."""
        query: RecommendRequest = decode_request(RecommendRequest, request.body)
        check_request(query)
        if query.event is None:
            return await self.router.recommend(query)
        appended = await asyncio.wrap_future(self.router.store([query.event], query.durability)[0])
        self.router.metrics.count_events(appended.accepted, appended.duplicates, appended.erased)
        response = await self.router.recommend(query)
        response.durability = query.durability or self.router.durability
        return response

    async def similar(self, request: Request, parameter: str) -> RecommendResponse:
        """Recommend items that go with one item."""
        return await self.router.similar(decode_request(SimilarRequest, request.body))

    async def next(self, request: Request, parameter: str) -> RecommendResponse:
        """Generate the next items one after the other, each with those before it in the history."""
        query: NextRequest = decode_request(NextRequest, request.body)
        check_single_history(query)
        if self.generating >= MAX_GENERATING:
            raise unavailable(f"{MAX_GENERATING} lists are being generated just now: try again in a moment.")
        self.generating += 1
        try:
            return await asyncio.to_thread(self.router.next, query)
        finally:
            self.generating -= 1

    def ready(self) -> Health:
        """Return whether requests should be sent here, with the single checks."""
        return readiness(writable=self.router.writable, draining=self.draining)


def readiness(*, writable: bool, draining: bool) -> Health:
    """Return ready where events can be stored and the server is not stopping; a model is loaded before it listens."""
    checks = {"model": True, "store": writable, "serving": not draining}
    return Health("ready" if all(checks.values()) else "not ready", checks)
