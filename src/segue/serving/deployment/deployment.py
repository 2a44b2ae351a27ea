"""Deployment: the loaded versions by role, and their shares of the users."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from segue.serving.catalog.live_model import LiveModel
from segue.serving.catalog.live_updates import LiveUpdates
from segue.serving.config import ServingConfig
from segue.serving.experiments import statistics
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_reader import EventReader
from segue.serving.store.group_commit import GroupCommitWriter

LIVE, CANARY, INTERLEAVED, PREVIOUS, SHADOW = "live", "canary", "interleaved", "previous", "shadow"


@dataclass(frozen=True)
class LoadedModel:
    """Loaded version with a session cache of its own, because item indices differ between catalogs."""

    engine: Engine
    sessions: SessionCache
    live: LiveModel | None = None
    """Items, rules and demand that change while it serves; None: they never do."""

    @classmethod
    def of(
        cls,
        model: ServedModel,
        store: EventReader,
        writer: GroupCommitWriter | None,
        config: ServingConfig,
        updates: LiveUpdates,
    ) -> "LoadedModel":
        """Return a version ready to serve, with the present changes of items and rules.

        Args:
            model: the version.
            store: event store from which histories are read.
            writer: writer of the event store; None in a worker process.
            config: options of the server.
            updates: keeps its items and rules up to date.

        Raises:
            ValueError: the version lacks a column that a live rule names, or cannot be served by several processes.
        """
        model.check_processes(config.workers)
        sessions = SessionCache(
            store,
            model.catalog,
            config.engine.sessions,
            context_reader=model.event_contexts,
            history_events=config.engine.sessions.events_of(model.history_events),
        )
        engine = Engine(model, sessions, writer, config.engine)
        live = LiveModel(model, sessions, engine.grow)
        try:
            updates.attach(live)
        except BaseException:
            engine.close()
            raise
        return cls(engine, sessions, live)

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.engine.version

    @property
    def notes(self) -> list[str]:
        """Sentences about suspicious rules, and about event types that do not enter its histories."""
        service, events = self.engine.model.pipeline_service, self.sessions.history_events
        sentences = [*([] if service is None else service.notes), *([] if events is None else events.sentences())]
        return [f"Version {self.version}: {sentence}" for sentence in sentences]


@dataclass(frozen=True)
class Deployment:
    """Deployed versions by role, and their shares of the users."""

    live: LoadedModel
    canary: LoadedModel | None = None
    canary_share: float = 0.0
    """Share of the users who get the canary's lists, 0 to 1."""
    interleave_share: float = 0.0
    """Share of the users whose lists are interleaved from the live version and the canary, 0 to 1."""
    shadow: LoadedModel | None = None
    """Version that scores live requests too; its lists are not sent."""
    previous: LoadedModel | None = None
    """Version that was live before; used when the live version raises an error."""
    shares: Mapping[str, float] = field(init=False)
    """Share of the users by variant; they add up to 1."""
    experiment: str | None = field(init=False)
    """Name of the split: its versions and shares. Other versions assign the users anew."""

    def __post_init__(self) -> None:
        shares = {
            CANARY: self.canary_share,
            INTERLEAVED: self.interleave_share,
            LIVE: 1 - self.canary_share - self.interleave_share,
        }
        name = None
        if self.canary is not None:
            name = f"{self.live.version}/{self.canary.version}/{self.canary_share:g}/{self.interleave_share:g}"
        object.__setattr__(self, "shares", shares)
        object.__setattr__(self, "experiment", name)

    def loaded_models(self) -> list[LoadedModel]:
        """Return all loaded models, each once."""
        models = (self.live, self.canary, self.shadow, self.previous)
        return list({id(model): model for model in models if model is not None}.values())

    def models_by_role(self) -> dict[str, LoadedModel]:
        """Return the loaded model of each role."""
        roles = {LIVE: self.live, CANARY: self.canary, SHADOW: self.shadow, PREVIOUS: self.previous}
        return {role: model for role, model in roles.items() if model is not None}

    def versions_by_role(self) -> dict[str, str]:
        """Return the version of each role."""
        return {role: model.version for role, model in self.models_by_role().items()}

    def variant_for(self, user_key: str | None) -> str:
        """Return the variant of a user or session; live for a request without one (None)."""
        if self.canary is None or user_key is None:
            return LIVE
        salt = f"{self.live.version}/{self.canary.version}"
        return statistics.assign_variant(user_key, salt, self.shares)
