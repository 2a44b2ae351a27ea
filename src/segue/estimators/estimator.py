"""The Python front door: models with scikit-learn's habits. ``fit`` returns self; parameters are the settings."""

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from segue.config.decode import decode_settings, split_by_config
from segue.data.catalog import Catalog
from segue.data.event_contexts import EventContexts
from segue.data.features.encoding import FeatureConfig
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.models import artifact
from segue.models.generation.generate import generate
from segue.models.generation.strategy import Strategy
from segue.models.scorer import Scorer
from segue.models.top_k import top_k
from segue.models.zoo import ClassicEntry, NeuralEntry, find_model
from segue.pipeline.persistence import restore_saved_pipeline
from segue.training.config import TrainingConfig

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

Recommendations = list[tuple[str, float]]
"""The best items first: (item id, score)."""


class TrainedModel:
    """A model that answers: what ``load`` returns, and what every recommender becomes by ``fit``."""

    def __init__(self, scorer: Scorer, catalog: Catalog, items: Mapping[str, dict[str, Any]] | None = None) -> None:
        self.scorer = scorer
        self.catalog = catalog
        self.items: dict[str, dict[str, Any]] = dict(items or {})

    def recommend(
        self,
        histories: Iterable[Sequence[str]],
        *,
        k: int = 10,
        exclude_seen: bool = True,
        items: Iterable[str] | None = None,
        contexts: Iterable[Sequence[Mapping[str, Any]]] | None = None,
    ) -> list[Recommendations]:
        """The k best next items for each history (item ids, oldest first; an empty one is answered too).

        Ids that the catalog does not know are skipped. With ``items`` only those are considered. A row is shorter
        than k only when fewer items are left. ``contexts``: for each event of each history, column -> value of what a
        network with contexts learned from; what is missing counts as unknown. ValueError for a flat list of ids, and
        for ids that are not texts.
        """
        rows = self._rows(histories)
        if contexts is not None:
            rows = with_contexts(rows, contexts)
        return self.answer(rows, k=k, exclude_seen=exclude_seen, items=items)

    def answer(
        self, rows: Sequences, *, k: int = 10, exclude_seen: bool = True, items: Iterable[str] | None = None
    ) -> list[Recommendations]:
        """``recommend`` after histories of indices, which may hold times, contexts and moments of asking."""
        seen = rows if exclude_seen else None
        return self._named(*top_k(self.scorer.scores(rows), k, exclude=seen, allowed_V=self._allowed(items)))

    def generate(
        self,
        histories: Iterable[Sequence[str]],
        *,
        steps: int = 10,
        strategy: Strategy | str = "reciprocal-rank",
        seed: int = 0,
        exclude_seen: bool = True,
        items: Iterable[str] | None = None,
    ) -> list[Recommendations]:
        """What the next ``steps`` items may be, written item by item by a strategy (a name, or a ``Strategy`` of
        ``segue.models.generation.strategy``, which says what the scores are). Equal seeds write equal lists."""
        rows, allowed_V = self._rows(histories), self._allowed(items)
        seen = rows if exclude_seen else None
        rng = np.random.default_rng(seed)
        return self._named(*generate(self.scorer, rows, steps, strategy, rng=rng, exclude=seen, allowed_V=allowed_V))

    def _rows(self, histories: Iterable[Sequence[str]]) -> Sequences:
        """Histories by index."""
        return Sequences.from_lists(self.catalog.to_indices(_checked(history)) for history in histories)

    def _allowed(self, items: Iterable[str] | None) -> np.ndarray | None:
        """bool [V]: the items that are considered; None: all."""
        if items is None:
            return None
        allowed_V = np.zeros(self.catalog.size, dtype=bool)
        allowed_V[self.catalog.to_indices(items)] = True
        return allowed_V

    def _named(self, items_BK: np.ndarray, scores_BK: np.ndarray) -> list[Recommendations]:
        return [
            [(name, float(score)) for name, score in zip(self.catalog.to_ids(row), scores, strict=False)]
            for row, scores in zip(items_BK, scores_BK, strict=True)
        ]

    def with_items(self, items: Any) -> "TrainedModel":
        """The same model with new items, each placed by its features: anything ``read_items`` reads. Those it knows
        stay as they are. ValueError for a model that learned from no features."""
        from segue.data.readers.items import read_items
        from segue.models.add_items import add_rows_for_items

        fresh = {item: facts for item, facts in read_items(items).by_id().items() if item not in self.catalog}
        if not fresh:
            return self
        scorer = add_rows_for_items(self.scorer, list(fresh.values()))
        return TrainedModel(scorer, Catalog([*self.catalog.ids, *fresh]), {**self.items, **fresh})

    def similar(self, item: str, *, k: int = 10) -> Recommendations:
        """What goes with one item: the answer to a history of only it. ValueError for an item nobody knows."""
        if item not in self.catalog:
            raise ValueError(f"The catalog has no item '{item}'.")
        return self.recommend([[item]], k=k)[0]


def with_contexts(rows: Sequences, contexts: Iterable[Sequence[Mapping[str, Any]]]) -> Sequences:
    """The histories, each event with what is known of its circumstances."""
    each = [list(row) for row in contexts]
    if [len(row) for row in each] != rows.lengths.tolist():
        raise ValueError(
            f"Each history needs a context for each of its events, but the histories have {rows.lengths.tolist()} "
            f"events and there are {[len(row) for row in each]} contexts."
        )
    return dataclasses.replace(rows, contexts=EventContexts.from_rows(one for row in each for one in row))


def _checked(history: Sequence[str]) -> Sequence[str]:
    """The history itself. A text would be taken for a list of letters, and a number would just be unknown."""
    if isinstance(history, str):
        raise ValueError(f"A history is a list of item ids, got the text '{history}': for one history write [[...]].")
    for item in history:
        if not isinstance(item, str):
            raise ValueError(f"Item ids are texts, got {item!r}: write '{item}'.")
    return history


class Recommender:
    """A model by its settings: ``fit`` it on a log, then ``recommend``. Settings are this class's parameters."""

    model: ClassVar[str]

    def __init__(self, *, seed: int = 0, **values: Any) -> None:
        split_by_config(values, self._kinds())
        self.seed = seed
        self._values = values
        self._fitted: TrainedModel | None = None
        self._rows = Sequences.from_lists([])
        self._row_of: dict[str, int] = {}
        self._about: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        """Shows the settings in the signature, for editors, ``help`` and scikit-learn's ``clone``."""
        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value)
            for name, value in {**cls._defaults(), "seed": 0}.items()
        ]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]

    @classmethod
    def _kinds(cls) -> dict[str, type]:
        entry = find_model(cls.model)
        own: dict[str, type] = {"model": entry.config}
        return own | ({"training": TrainingConfig, "features": FeatureConfig} if isinstance(entry, NeuralEntry) else {})

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        entry = find_model(cls.model)
        own = {f.name: f.default for kind in cls._kinds().values() for f in dataclasses.fields(kind)}
        return own | (dict(entry.training) if isinstance(entry, NeuralEntry) else {})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every setting as it stands, and the seed."""
        return {**self._defaults(), **self._values, "seed": self.seed}

    def set_params(self, **values: Any) -> "Recommender":
        """Changes settings; the model has to be fitted again."""
        merged = {**self._values, "seed": self.seed, **values}
        self.__init__(**merged)  # type: ignore[misc]
        return self

    def __repr__(self) -> str:
        usual = {**self._defaults(), "seed": 0}
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items() if value != usual[name])
        return f"{type(self).__name__}({given})"

    def fit(self, log: Any, *, protocol: str = "time", items: Any = None) -> "Recommender":
        """Learns from an ``EventLog`` (or anything ``read_events`` reads), and returns self.

        What a network chooses by is held out by ``protocol``; what was chosen is then trained on every event.
        ``items``: a table with titles and the like (anything ``read_items`` reads), kept with the model; the columns
        that the setting ``features`` names are learned from, and then all of its items can be recommended. The setting
        ``contexts`` names columns of the log to learn from.
        """
        from segue.data.event_log import EventLog
        from segue.data.readers.events import read_events
        from segue.data.readers.items import read_items

        events = log if isinstance(log, EventLog) else read_events(log)
        table = None if items is None else read_items(items)
        if table is not None and self.get_params().get("features"):
            events = events.with_items(table)
        if self.get_params().get("contexts"):
            events = events.with_context(self.get_params()["contexts"])
        catalog = events.catalog()
        sequences, people = events.sequences(catalog, by="session" if protocol == "sessions" else "user")
        scorer = self._learn(events, protocol, (sequences, catalog.size))
        self._fitted = TrainedModel(scorer, catalog, None if table is None else table.for_catalog(catalog))
        self._rows, self._row_of = sequences, {person: row for row, person in enumerate(people)}
        return self

    def _learn(self, events: "EventLog", protocol: str, everything: tuple[Sequences, int]) -> Scorer:
        from segue.workflows.fit_model import fit_model, refit_on_all_events

        entry = find_model(self.model)
        about = {"seed": self.seed, "events": len(events), "segue": version("segue"), "trained_on_everything": True}
        if isinstance(entry, ClassicEntry):
            config: Any = decode_settings(entry.config, self._values)
            self._settings, self._about = dataclasses.asdict(config), about
            return entry.fit(*everything, config)
        usable = protocol if events.has_times or protocol != "time" else "leave-last-out"
        split = split_log(events, usable)
        chosen = fit_model(self.model, split, self._values, seed=self.seed)
        self._settings, self._about = chosen.settings, {**about, "protocol": split.protocol, "notes": chosen.notes}
        facts = events.item_features(events.catalog())
        return refit_on_all_events(self.model, *everything, chosen, seed=self.seed, facts=facts).scorer

    @property
    def fitted(self) -> TrainedModel:
        """The model that answers; ValueError before ``fit``."""
        if self._fitted is None:
            raise ValueError(f"This {type(self).__name__} is not fitted yet: call fit(log) first.")
        return self._fitted

    def recommend(
        self,
        histories: Iterable[Sequence[str]] | None = None,
        *,
        users: Iterable[str] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        items: Iterable[str] | None = None,
        contexts: Iterable[Sequence[Mapping[str, Any]]] | None = None,
    ) -> list[Recommendations]:
        """The k best next items for raw histories, or for people of the log it was fitted on, whose events' times and
        contexts are known from it; see ``Fitted``."""
        if (histories is None) == (users is None):
            raise ValueError("Give either histories or users.")
        if isinstance(users, str):
            raise ValueError(f"users is a list of ids, got the text '{users}': write ['{users}'].")
        fitted = self.fitted
        if users is not None:
            rows = self._rows.take(np.array([self._row(user) for user in users], dtype=np.int64))
            rows = rows if contexts is None else with_contexts(rows, contexts)
            return fitted.answer(rows, k=k, exclude_seen=exclude_seen, items=items)
        assert histories is not None
        return fitted.recommend(histories, k=k, exclude_seen=exclude_seen, items=items, contexts=contexts)

    def similar(self, item: str, *, k: int = 10) -> Recommendations:
        """What goes with one item."""
        return self.fitted.similar(item, k=k)

    def save(self, folder: str | Path) -> str:
        """Writes the fitted model and returns its version; ``segue.load`` reads it back."""
        fitted = self.fitted
        saved = artifact.Artifact(
            self.model, self._settings, fitted.catalog, fitted.scorer.arrays(), fitted.items, self._about
        )
        return artifact.save(saved, Path(folder))

    def _row(self, user: str) -> int:
        if user not in self._row_of:
            raise ValueError(f"There is no person '{user}' in the log this was fitted on.")
        return self._row_of[user]


def load(folder: str | Path) -> TrainedModel:
    """A saved model, ready to answer; needs no torch. ValueError, in one sentence, for anything else."""
    saved = artifact.load(Path(folder))
    return TrainedModel(restore_saved_pipeline(saved), saved.catalog, saved.items)
