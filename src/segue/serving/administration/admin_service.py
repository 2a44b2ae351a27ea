"""What those who run the shop ask, beyond recommendations: people's data, items, models, reports. No HTTP in here."""

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import msgspec

from segue.data.erasure_list import Erasures
from segue.serving.administration.erase_user import erase
from segue.serving.deployment.model_registry import Registry
from segue.serving.deployment.reloader import Watch
from segue.serving.deployment.variant_router import Fleet
from segue.serving.experiments import report
from segue.serving.experiments.attribution import Recorder
from segue.serving.schemas.admin import (
    ItemOut,
    ItemsAnswer,
    ModelsAnswer,
    PersonAnswer,
    PromoteRequest,
    Receipt,
    ReportAnswer,
    StoredEvent,
)
from segue.serving.schemas.problems import Problem
from segue.serving.store.event_store import Store
from segue.serving.store.group_commit import Writer


@dataclass(frozen=True)
class BackOffice:
    """Everything that these operations need. Each may take a while: they are called off the event loop."""

    fleet: Fleet
    store: Store
    writer: Writer
    erasures: Erasures
    watch: Watch

    def person(self, user_id: str) -> PersonAnswer:
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
            for one in self.store.of_user(user_id)
        ]
        if not found:
            raise Problem(404, "Nothing is stored of that person.")
        return PersonAnswer(user_id, found)

    def erase(self, user_id: str) -> Receipt:
        """Forgets a person; also one of whom nothing is stored, because an older log may still have something."""
        return erase(user_id, writer=self.writer, fleet=self.fleet, erasures=self.erasures)

    def models(self, said: str = "") -> ModelsAnswer:
        """What is at work."""
        lineup = self.fleet.lineup
        named = {"live": lineup.live, "canary": lineup.canary, "shadow": lineup.shadow, "spare": lineup.spare}
        roles = {role: one.version for role, one in named.items() if one is not None}
        shares = dict(lineup.shares) if lineup.canary is not None else {"live": 1.0}
        return ModelsAnswer(roles, shares, said)

    def reload(self) -> ModelsAnswer:
        """Looks at the pointer at once."""
        try:
            return self.models(self.watch.look())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def promote(self, request: PromoteRequest) -> ModelsAnswer:
        """Puts a version of the registry to work. Problem (409) where it is not there or fails its self-test."""
        try:
            self._registry().promote(
                request.version, canary=request.canary, interleave=request.interleave, shadow=request.shadow
            )
            return self.models(self.watch.look())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def rollback(self) -> ModelsAnswer:
        """Takes the last change back. Problem (409) where there was none."""
        try:
            self._registry().rollback("Rolled back over HTTP.")
            return self.models(self.watch.look())
        except ValueError as error:
            raise Problem(409, str(error)) from None

    def _registry(self) -> Registry:
        if not isinstance(self.watch.models, Registry):
            raise ValueError("This server serves one model folder, not a registry: 'segue promote' makes one.")
        return self.watch.models

    def report(self, days: float) -> ReportAnswer:
        """Lists, clicks, purchases, experiments. Problem (404) where nothing is measured."""
        recorder = self.fleet.recorder
        if not isinstance(recorder, Recorder):
            raise Problem(404, "This server measures nothing.")
        recorder.flush()
        found = report.report(Path(recorder.path), days)
        found.lost = recorder.lost
        return found


def page_of(fleet: Fleet, after: str | None, limit: int) -> ItemsAnswer:
    """Items of the live model by id, those behind ``after``."""
    model = fleet.lineup.live.engine.model
    ids = model.sorted_ids
    begin = 0 if after is None else bisect_right(ids, after)
    chosen = ids[begin : begin + limit]
    last = chosen[-1] if begin + limit < len(ids) else None
    return ItemsAnswer([ItemOut(one, model.titles.get(one)) for one in chosen], len(ids), last)


def item_of(fleet: Fleet, item_id: str) -> ItemOut:
    """One item. Problem (404) where the live model does not know it."""
    model = fleet.lineup.live.engine.model
    if item_id not in model.catalog:
        raise Problem(404, f"The catalogue does not know the item '{item_id}'.")
    return ItemOut(item_id, model.titles.get(item_id))
