"""Administrative operations: stored user data, items, deployed models, reports. No HTTP in here."""

import hashlib
from bisect import bisect_right
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import msgspec

from segue.serving.administration.catalog_service import CatalogService
from segue.serving.administration.erase_user import UserEraser
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
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.store.event_erasure import ErasureRecord
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter


@dataclass(frozen=True)
class AdminService:
    """Administrative operations of a server. They may block for long: call them off the event loop."""

    router: VariantRouter
    store: EventStore
    writer: GroupCommitWriter
    eraser: UserEraser
    reloader: Reloader
    catalog: CatalogService

    def user_events(self, user_id: str) -> UserEventsResponse:
        """Return every stored event of a user.

        Raises:
            Problem: 404 if no event is stored.
        """
        events = [
            StoredEvent(
                event_id=row.event.event_id,
                source=row.event.source,
                item_id=row.event.item_id,
                time_us=row.event.time_us,
                event=row.event.event,
                session_id=row.event.session_id,
                value=row.event.value,
                context=msgspec.json.decode(row.event.context),
            )
            for row in self.store.user_events(user_id)
        ]
        if not events:
            raise Problem(404, "No event of that user is stored.")
        return UserEventsResponse(user_id, events)

    def submit_erasure(self, user_id: str) -> "Future[ErasureRecord]":
        """Begin the erasure of a user. See ``UserEraser.submit``."""
        return self.eraser.submit(user_id)

    def receipt(self, record: ErasureRecord) -> ErasureReceipt:
        """Return the receipt of a complete erasure."""
        counts = (record.events, record.sessions, record.attribution_rows)
        proved = (record.digest, record.until_us, *counts)
        return ErasureReceipt(
            user_digest=record.digest,
            time_us=record.until_us,
            events=record.events,
            sessions=record.sessions,
            attribution_rows=record.attribution_rows,
            compacted=record.compacted,
            affected_versions=[model.version for model in self.router.deployment.loaded_models()],
            proof=hashlib.sha256(msgspec.json.encode(proved)).hexdigest(),
        )

    def erase(self, user_id: str) -> ErasureReceipt:
        """Erase a user, and wait for the receipt.

        Raises:
            Problem: 503 if a disk refuses; a repeated request completes the erasure.
        """
        return self.receipt(self.submit_erasure(user_id).result())

    def models(self, message: str = "") -> ModelsResponse:
        """Return the deployed versions and a message about the last change, or about a fallback at the start."""
        message = message or self.reloader.fallback
        deployment = self.router.deployment
        shares = dict(deployment.shares) if deployment.canary is not None else {"live": 1.0}
        notes = [note for model in deployment.loaded_models() for note in model.notes]
        return ModelsResponse(deployment.versions_by_role(), shares, message, notes)

    def reload(self) -> ModelsResponse:
        """Check the pointer at once and deploy its versions.

        Raises:
            Problem: 409 if the pointer cannot be read.
        """
        try:
            return self.models(self.reloader.reload())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def promote(self, request: PromoteRequest) -> ModelsResponse:
        """Deploy a version of the registry.

        Raises:
            Problem: 409 for an unknown version, or one that fails its self-test.
        """
        try:
            self._registry().promote(
                request.version, canary=request.canary, interleave=request.interleave, shadow=request.shadow
            )
            return self.models(self.reloader.reload())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def rollback(self) -> ModelsResponse:
        """Restore the deployment before the last change.

        Raises:
            Problem: 409 if there is none.
        """
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
        """Return the report over the last days.

        Raises:
            Problem: 404 if this server records no lists, 503 while their file cannot be read.
        """
        recorder = self.router.recorder
        if not isinstance(recorder, AttributionRecorder):
            raise Problem(404, "This server records no lists.")
        recorder.flush()
        try:
            response = report.build_report(Path(recorder.path), days)
        except ValueError:
            raise unavailable("The recorded lists cannot be read now: send the request again later.") from None
        response.dropped = recorder.dropped
        return response


def list_items(router: VariantRouter, after: str | None, limit: int) -> ItemsResponse:
    """Return a page of the live version's catalog, sorted by id.

    Args:
        router: router of the live version.
        after: the page begins after this id; None: the first page.
        limit: items on a page.
    """
    model = router.deployment.live.engine.model
    ids = model.sorted_ids
    begin = 0 if after is None else bisect_right(ids, after)
    page = ids[begin : begin + limit]
    last = page[-1] if begin + limit < len(ids) else None
    return ItemsResponse([ItemOut(item, model.titles.get(item)) for item in page], len(ids), last)
