"""What can be asked of the server, whichever way it came in: bodies in, answers out, and what all operations share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from segue.serving.administration.admin_service import AdminService
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http.auth import Keys, RateLimit
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
from segue.serving.sessions.request_key import check_request, one_history

MOST_WRITTEN = 16
_LISTS = frozenset({"/v1/recommend", "/v1/similar"})


@dataclass
class AppState:
    """What the operations share: the versions at work, the keys, and whether the server is about to stop."""

    router: VariantRouter
    keys: Keys = field(default_factory=Keys)
    admin: AdminService | None = None
    limit: RateLimit = field(default_factory=lambda: RateLimit(None))
    origins: tuple[str, ...] = ()
    """Web sites whose pages may ask from a browser."""
    draining: bool = False
    loop_lag: EventLoopLag = field(default_factory=EventLoopLag)
    """How late the event loop is: it refuses work before the work costs anything."""
    other_workers: Callable[[], list[tuple[str, bytes]]] = list
    """The counters of other processes that answer on the same port, by their numbers."""
    writing: int = 0
    """Lists that are being written item by item just now."""

    def busy(self, path: str) -> bool:
        """Whether a request for a list would wait too long: not even its event is stored then, so that whoever sends it
        again finds everything as it was."""
        return path in _LISTS and self.router.busy

    async def events(self, body: bytes) -> EventsResponse:
        """Stores one event or many; answers when they are as safe as was asked for."""
        batch = decode_events(body)
        future, ids = self.router.store(batch.events, batch.durability)
        receipt = await asyncio.wrap_future(future)
        self.router.telemetry.stored(receipt.accepted, receipt.duplicates)
        worth = batch.durability or self.router.durability
        return EventsResponse(receipt.accepted, receipt.duplicates, worth, ids)

    async def recommend(self, body: bytes) -> RecommendResponse:
        """Stores the event that came along, if any, then answers with it in the history."""
        request: RecommendRequest = decode_request(RecommendRequest, body)
        check_request(request)
        if request.event is None:
            return await self.router.recommend(request)
        receipt = await asyncio.wrap_future(self.router.store([request.event], request.durability)[0])
        self.router.telemetry.stored(receipt.accepted, receipt.duplicates)
        answer = await self.router.recommend(request)
        answer.durability = request.durability or self.router.durability
        return answer

    async def similar(self, body: bytes) -> RecommendResponse:
        """What goes with one item."""
        return await self.router.similar(decode_request(SimilarRequest, body))

    async def next(self, body: bytes) -> RecommendResponse:
        """The next items one after the other, each with those before it in the history."""
        request: NextRequest = decode_request(NextRequest, body)
        one_history(request)
        if self.writing >= MOST_WRITTEN:
            raise unavailable(f"{MOST_WRITTEN} lists are being written just now: ask again in a moment.")
        self.writing += 1
        try:
            return await asyncio.to_thread(self.router.next, request)
        finally:
            self.writing -= 1

    def ready(self) -> Health:
        """Whether requests should be sent here."""
        return readiness(writable=self.router.writable, draining=self.draining)


def readiness(*, writable: bool, draining: bool) -> Health:
    """Ready when events can be stored and the server is not stopping; a model is there before the door is."""
    checks = {"model": True, "store": writable, "serving": not draining}
    return Health("ready" if all(checks.values()) else "not ready", checks)
