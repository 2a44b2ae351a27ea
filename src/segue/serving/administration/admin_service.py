"""What those who run the shop ask, beyond recommendations: people's data, items, models, reports. No HTTP in here."""

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import msgspec

from segue.data.erasure_list import ErasureList
from segue.serving.administration.erase_user import erase_user
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.reloader import Reloader
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.experiments import report
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.schemas.admin import (
    ErasureReceipt,
    ItemOut,
    ItemsResponse,
    ModelsResponse,
    PromoteRequest,
    ReportResponse,
    StoredEvent,
    UserEventsResponse,
)
from segue.serving.schemas.problems import Problem
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter


@dataclass(frozen=True)
class AdminService:
    """Everything that these operations need. Each may take a while: they are called off the event loop."""

    router: VariantRouter
    store: EventStore
    writer: GroupCommitWriter
    erasures: ErasureList
    reloader: Reloader

    def user_events(self, user_id: str) -> UserEventsResponse:
        """Every stored event of a person. Problem (404) where there is none."""
        found = [
            StoredEvent(
                event_id=one.event.event_id,
                source=one.event.source,
                item_id=one.event.item_id,
                time_us=one.event.time_us,
                event=one.event.event,
                session_id=one.event.session_id,
                value=one.event.value,
                context=msgspec.json.decode(one.event.context),
            )
            for one in self.store.user_events(user_id)
        ]
        if not found:
            raise Problem(404, "Nothing is stored of that person.")
        return UserEventsResponse(user_id, found)

    def erase(self, user_id: str) -> ErasureReceipt:
        """Forgets a person; also one of whom nothing is stored, because an older log may still have something."""
        return erase_user(user_id, writer=self.writer, router=self.router, erasures=self.erasures)

    def models(self, message: str = "") -> ModelsResponse:
        """What is at work."""
        lineup = self.router.deployment
        named = {"live": lineup.live, "canary": lineup.canary, "shadow": lineup.shadow, "spare": lineup.previous}
        roles = {role: one.version for role, one in named.items() if one is not None}
        shares = dict(lineup.shares) if lineup.canary is not None else {"live": 1.0}
        return ModelsResponse(roles, shares, message)

    def reload(self) -> ModelsResponse:
        """Looks at the pointer at once."""
        try:
            return self.models(self.reloader.reload())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def promote(self, request: PromoteRequest) -> ModelsResponse:
        """Puts a version of the registry to work. Problem (409) where it is not there or fails its self-test."""
        try:
            self._registry().promote(
                request.version, canary=request.canary, interleave=request.interleave, shadow=request.shadow
            )
            return self.models(self.reloader.reload())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def rollback(self) -> ModelsResponse:
        """Takes the last change back. Problem (409) where there was none."""
        try:
            self._registry().rollback("Rolled back over HTTP.")
            return self.models(self.reloader.reload())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def _registry(self) -> ModelRegistry:
        if not isinstance(self.reloader.models, ModelRegistry):
            raise ValueError("This server serves one model folder, not a registry: 'segue promote' makes one.")
        return self.reloader.models

    def report(self, days: float) -> ReportResponse:
        """Lists, clicks, purchases, experiments. Problem (404) where nothing is measured."""
        recorder = self.router.recorder
        if not isinstance(recorder, AttributionRecorder):
            raise Problem(404, "This server measures nothing.")
        recorder.flush()
        found = report.build_report(Path(recorder.path), days)
        found.dropped = recorder.dropped
        return found


def list_items(router: VariantRouter, after: str | None, limit: int) -> ItemsResponse:
    """Items of the live model by id, those behind ``after``."""
    model = router.deployment.live.engine.model
    ids = model.sorted_ids
    begin = 0 if after is None else bisect_right(ids, after)
    chosen = ids[begin : begin + limit]
    last = chosen[-1] if begin + limit < len(ids) else None
    return ItemsResponse([ItemOut(one, model.titles.get(one)) for one in chosen], len(ids), last)


def get_item(router: VariantRouter, item_id: str) -> ItemOut:
    """One item. Problem (404) where the live model does not know it."""
    model = router.deployment.live.engine.model
    if item_id not in model.catalog:
        raise Problem(404, f"The catalog does not know the item '{item_id}'.")
    return ItemOut(item_id, model.titles.get(item_id))
