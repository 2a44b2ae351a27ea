"""Changes of items and placement rules on request: checked, stored, applied in every process, then acknowledged.

Changes that wait together share one transaction and one fsync.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any, Literal

from segue.config.decode import decode_settings
from segue.pipeline.config import PlacementConfig
from segue.serving.administration.item_status import item_out
from segue.serving.catalog.item_cells import check_cells, decode_cells
from segue.serving.catalog.live_model import LiveModel
from segue.serving.catalog.live_updates import LiveUpdates
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.schemas.admin import ItemOut, PlacementOut, PlacementSettings, PlacementsResponse
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.store.catalog_tables import ItemEdit, LiveItem, PlacementRules
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

MAX_NEW_ITEMS = 20_000
"""Largest number of items, deleted ones included, that the live version was not trained with."""
MAX_PLACEMENTS = 200
"""Largest number of placements with live rules."""
Method = Literal["PUT", "PATCH", "DELETE"]


class CatalogService:
    """Changes of the catalog of one server. Its coroutines run in the event loop of the primary process."""

    def __init__(
        self,
        router: VariantRouter,
        writer: GroupCommitWriter,
        updates: LiveUpdates,
        refusal: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Make the service.

        Args:
            router: router with the deployed versions.
            writer: writer of the event store, in whose thread changes are stored.
            updates: applies the changes in this process.
            refusal: returns the sentence that refuses changes while there is no space for them (507), else None.
        """
        self._router = router
        self._writer = writer
        self._updates = updates
        self._refusal = refusal
        self._waiting: list[tuple[ItemEdit, Future[LiveItem]]] = []
        self._lock = threading.Lock()
        updates.on_applied = router.commit_listeners.on_catalog

    async def change_item(self, item_id: str, method: Method, body: bytes) -> ItemOut:
        """Store a change of an item; return its state when every process applies it.

        Args:
            item_id: the item.
            method: PUT replaces the row, PATCH merges cells into it (RFC 7396), DELETE hides the item.
            body: JSON object of cells by column; empty for DELETE.

        Raises:
            Problem: 404, PATCH or DELETE of an unknown or deleted item; 413, 422, wrong cells; 507, too many new items
                or no space; 503, the disk refuses.
        """
        models, unused = self._models(), []
        cells: dict[str, Any] = {}
        if method != "DELETE":
            cells = decode_cells(body, item_id)
            unused = check_cells(cells, models)
        is_known = any(item_id in model.model.catalog.base for model in models)
        self._check_space(models[0], item_id, is_known)
        await asyncio.wrap_future(self._submit(ItemEdit(item_id, method, cells, is_known)))
        await self._applied()
        state = item_out(self._router.deployment, item_id)
        state.unused = unused
        return state

    async def put_placement(self, name: str, settings: PlacementSettings) -> PlacementOut:
        """Store the rules of a placement; return them when every process applies them.

        Args:
            name: the placement.
            settings: rules, diversification and exploration.

        Raises:
            Problem: 422, a wrong setting, or a column that a deployed version lacks; 409, no version has placements.
        """
        if settings.name not in (None, name):
            raise Problem(422, "The body names another placement than the path: leave out name.")
        values = {"rules": settings.rules, "rerank": settings.rerank, "explore": settings.explore}
        given = {part: value for part, value in values.items() if value is not None}
        try:
            config = decode_settings(PlacementConfig, {**given, "name": name})
        except ValueError as error:
            raise Problem(422, str(error)) from None
        plain = {part: value for part, value in _plain(config).items() if part != "name"}
        return await self._change_rules(name, plain)

    async def delete_placement(self, name: str) -> PlacementOut:
        """Return to the models' own rules of a placement. Problem 404 where it has no live rules."""
        if not any(rule.name == name and rule.settings is not None for rule in self._updates.rules):
            raise Problem(404, f"The placement '{name}' has no rules beside those of the models.")
        return await self._change_rules(name, None)

    async def roll_back_placement(self, name: str) -> PlacementOut:
        """Restore the rules of a placement before its last change.

        Raises:
            Problem: 409, there are none, or a deployed version lacks a column that they name.
        """
        earlier = await asyncio.wrap_future(self._writer.run(lambda store: store.catalog.earlier_rules(name)))
        if earlier is None:
            raise Problem(409, f"The placement '{name}' has no earlier rules to roll back to.")
        try:
            self._check_rules(name, earlier.settings)
        except Problem as problem:
            raise Problem(409, f"The earlier rules cannot be restored: {problem.detail}") from None
        now_us = self._writer.clock.now_us()
        await asyncio.wrap_future(self._writer.run(lambda store: store.catalog.restore_rules(earlier, now_us)))
        return await self._changed(name)

    def placements(self) -> PlacementsResponse:
        """Return all placements of the live version."""
        return placements_response(self._router, self._updates.rules)

    def placement(self, name: str) -> PlacementOut:
        """Return a placement of the live version. Problem 404 for an unknown one."""
        return placement_out(self._router, self._updates.rules, name)

    async def _change_rules(self, name: str, settings: dict[str, Any] | None) -> PlacementOut:
        self._check_rules(name, settings)
        if len({rule.name for rule in self._updates.rules} | {name}) > MAX_PLACEMENTS:
            raise Problem(
                507, f"At most {MAX_PLACEMENTS} placements can have rules of their own.", {"Retry-After": "60"}
            )
        self._check_disk()
        now_us = self._writer.clock.now_us()
        await asyncio.wrap_future(self._writer.run(lambda store: store.catalog.put_rules(name, settings, now_us)))
        return await self._changed(name)

    async def _changed(self, name: str) -> PlacementOut:
        """Return a placement once its change is applied; one that no rules are left for has the source "none"."""
        await self._applied()
        if name not in _names(self._router):
            return PlacementOut(name, 0, "none", {})
        return placement_out(self._router, self._updates.rules, name)

    def _check_rules(self, name: str, settings: dict[str, Any] | None) -> None:
        """Check rules against every deployed version. Problem 422 with the version that lacks a column."""
        is_alone = self._router.commit_listeners.worker_listener is None
        if settings is not None and settings["rules"]["exclude_shown"] and not is_alone:
            raise Problem(422, "exclude_shown needs a server of one process: each process knows its own lists only.")
        others = [rule for rule in self._updates.rules if rule.name != name]
        rules = [*others, PlacementRules(0, name, 0, settings, 0)]
        compiled = 0
        for model in self._models():
            try:
                compiled += model.compiled(rules) is not None
            except ValueError as error:
                raise Problem(422, f"Version {model.model.version}: {error}") from None
        if not compiled:
            raise Problem(409, "No deployed version is a pipeline: a single model has no placements.")

    def _check_space(self, live: LiveModel, item_id: str, is_known: bool) -> None:
        """Check the number of new items and the disk. Problem 507."""
        if not is_known and live.item(item_id) is None and live.num_new_items() >= MAX_NEW_ITEMS:
            raise Problem(
                507,
                f"The server holds {MAX_NEW_ITEMS} items that the live version was not trained with: train it again.",
                {"Retry-After": "60"},
            )
        self._check_disk()

    def _check_disk(self) -> None:
        if (refusal := self._refusal()) is not None:
            raise Problem(507, refusal, {"Retry-After": "60"})

    def _models(self) -> list[LiveModel]:
        """Return the live state of each deployed version, the live one first."""
        return [model.live for model in self._router.deployment.loaded_models() if model.live is not None]

    async def _applied(self) -> None:
        await asyncio.wrap_future(self._updates.refresh())

    def _submit(self, edit: ItemEdit) -> "Future[LiveItem]":
        """Store a change together with those that wait; the future raises Problem 404 or 503."""
        future: Future[LiveItem] = Future()
        with self._lock:
            self._waiting.append((edit, future))
        try:
            job = self._writer.run(self._store_waiting)
        except Problem as problem:
            self._fail(future, problem)
            raise
        job.add_done_callback(lambda done: self._fail(future, done.exception()))
        return future

    def _store_waiting(self, store: EventStore) -> None:
        """Store the waiting changes in one transaction, in the writer's thread."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            edits = [edit for edit, _ in waiting]
            results = store.catalog.edit_items(edits, store.newest_seq, store.clock.now_us())
        except Exception:
            _settle([future for _, future in waiting], unavailable(_REFUSED))
            raise
        for (_, future), result in zip(waiting, results, strict=True):
            if isinstance(result, Problem):
                _settle([future], result)
            elif future.set_running_or_notify_cancel():
                future.set_result(result)

    def _fail(self, future: "Future[LiveItem]", error: BaseException | None) -> None:
        """Fail a change that still waits although its job has ended."""
        if error is None:
            return
        with self._lock:
            is_waiting = any(entry[1] is future for entry in self._waiting)
            self._waiting = [entry for entry in self._waiting if entry[1] is not future]
        if is_waiting:
            _settle([future], error if isinstance(error, Problem) else unavailable(_REFUSED))


_REFUSED = "The catalog cannot be written, nothing was stored: is the disk full? Send the change again later."


def _settle(futures: Sequence["Future[Any]"], problem: Problem) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_exception(problem)


def _plain(config: PlacementConfig) -> dict[str, Any]:
    """Return the settings of a placement as plain values."""
    return asdict(config)


def _names(router: VariantRouter) -> list[str]:
    service = router.deployment.live.engine.model.pipeline_service
    return [] if service is None else service.placements.names


def placements_response(router: VariantRouter, rules: Sequence[PlacementRules]) -> PlacementsResponse:
    """Return all placements of the live version.

    Args:
        router: router of the live version.
        rules: present rules of each changed placement.
    """
    return PlacementsResponse([placement_out(router, rules, name) for name in _names(router)])


def placement_out(router: VariantRouter, rules: Sequence[PlacementRules], name: str) -> PlacementOut:
    """Return a placement of the live version.

    Args:
        router: router of the live version.
        rules: present rules of each changed placement.
        name: the placement.

    Raises:
        Problem: 404 for an unknown placement.
    """
    service = router.deployment.live.engine.model.pipeline_service
    if service is None or name not in service.placements.names:
        listed = ", ".join(_names(router)) or "none, the live version is a single model"
        raise Problem(404, f"There is no placement '{name}'. The placements: {listed}.")
    settings = {part: value for part, value in _plain(service.placements.settings[name]).items() if part != "name"}
    rule = next((rule for rule in rules if rule.name == name), None)
    source: Literal["model", "live"] = "live" if rule is not None and rule.settings is not None else "model"
    notes = service.placements.notes_of(name)
    return PlacementOut(name, 0 if rule is None else rule.revision, source, settings, notes)
