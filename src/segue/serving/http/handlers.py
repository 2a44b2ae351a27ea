"""What can be asked of the server, whichever way it came in: bodies in, answers out, and what all operations share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from segue.serving.administration.admin_service import BackOffice
from segue.serving.deployment.variant_router import Fleet
from segue.serving.http.auth import Keys, RateLimit
from segue.serving.http.load_shedding import Pulse
from segue.serving.schemas.problems import later
from segue.serving.schemas.requests import (
    EventsAnswer,
    Health,
    NextRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
    decode,
    decode_events,
)
from segue.serving.sessions.request_key import check, one_history

MOST_WRITTEN = 16
_LISTS = frozenset({"/v1/recommend", "/v1/similar"})


@dataclass
class Door:
    """What the operations share: the versions at work, the keys, and whether the server is about to stop."""

    fleet: Fleet
    keys: Keys = field(default_factory=Keys)
    office: BackOffice | None = None
    limit: RateLimit = field(default_factory=lambda: RateLimit(None))
    origins: tuple[str, ...] = ()
    """Web sites whose pages may ask from a browser."""
    draining: bool = False
    pulse: Pulse = field(default_factory=Pulse)
    """How late the event loop is: it refuses work before the work costs anything."""
    others: Callable[[], list[tuple[str, bytes]]] = list
    """The counters of other processes that answer on the same port, by their numbers."""
    writing: int = 0
    """Lists that are being written item by item just now."""

    def busy(self, path: str) -> bool:
        """Whether a request for a list would wait too long: not even its event is stored then, so that whoever sends it
        again finds everything as it was."""
        return path in _LISTS and self.fleet.busy

    async def events(self, body: bytes) -> EventsAnswer:
        """Stores one event or many; answers when they are as safe as was asked for."""
        batch = decode_events(body)
        future, ids = self.fleet.store(batch.events, batch.durability)
        receipt = await asyncio.wrap_future(future)
        self.fleet.telemetry.stored(receipt.accepted, receipt.duplicates)
        worth = batch.durability or self.fleet.durability
        return EventsAnswer(receipt.accepted, receipt.duplicates, worth, ids)

    async def recommend(self, body: bytes) -> RecommendAnswer:
        """Stores the event that came along, if any, then answers with it in the history."""
        request: RecommendRequest = decode(RecommendRequest, body)
        check(request)
        if request.event is None:
            return await self.fleet.recommend(request)
        receipt = await asyncio.wrap_future(self.fleet.store([request.event], request.durability)[0])
        self.fleet.telemetry.stored(receipt.accepted, receipt.duplicates)
        answer = await self.fleet.recommend(request)
        answer.durability = request.durability or self.fleet.durability
        return answer

    async def similar(self, body: bytes) -> RecommendAnswer:
        """What goes with one item."""
        return await self.fleet.similar(decode(SimilarRequest, body))

    async def next(self, body: bytes) -> RecommendAnswer:
        """The next items one after the other, each with those before it in the history."""
        request: NextRequest = decode(NextRequest, body)
        one_history(request)
        if self.writing >= MOST_WRITTEN:
            raise later(f"{MOST_WRITTEN} lists are being written just now: ask again in a moment.")
        self.writing += 1
        try:
            return await asyncio.to_thread(self.fleet.next, request)
        finally:
            self.writing -= 1

    def ready(self) -> Health:
        """Whether requests should be sent here."""
        return readiness(writable=self.fleet.writable, draining=self.draining)


def readiness(*, writable: bool, draining: bool) -> Health:
    """Ready when events can be stored and the server is not stopping; a model is there before the door is."""
    checks = {"model": True, "store": writable, "serving": not draining}
    return Health("ready" if all(checks.values()) else "not ready", checks)
