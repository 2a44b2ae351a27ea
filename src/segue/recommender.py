"""The Python front door: models with scikit-learn's habits. ``fit`` returns self; parameters are the settings."""

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from segue import settings
from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.restore import restore
from segue.models.scorer import Scorer, top_k
from segue.models.zoo import Learned, find
from segue.training.config import TrainingConfig

Answer = list[tuple[str, float]]
"""The best items first: (item id, score)."""


class Fitted:
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
    ) -> list[Answer]:
        """The k best next items for each history (item ids, oldest first; an empty one is answered too).

        Ids that the catalogue does not know are skipped. With ``items`` only those are considered. A row is shorter
        than k only when fewer items are left.
        """
        rows = Sequences.from_lists(self.catalog.index(history) for history in histories)
        allowed_V = None
        if items is not None:
            allowed_V = np.zeros(self.catalog.size, dtype=bool)
            allowed_V[self.catalog.index(items)] = True
        seen = rows if exclude_seen else None
        best_BK, scores_BK = top_k(self.scorer.scores(rows), k, exclude=seen, allowed_V=allowed_V)
        return [
            [(name, float(score)) for name, score in zip(self.catalog.names(row), scores, strict=False)]
            for row, scores in zip(best_BK, scores_BK, strict=True)
        ]

    def similar(self, item: str, *, k: int = 10) -> Answer:
        """What goes with one item: the answer to a history of only it. ValueError for an item nobody knows."""
        if item not in self.catalog:
            raise ValueError(f"The catalogue has no item '{item}'.")
        return self.recommend([[item]], k=k)[0]


class Recommender:
    """A model by its settings: ``fit`` it on a log, then ``recommend``. Settings are this class's parameters."""

    model: ClassVar[str]

    def __init__(self, *, seed: int = 0, **values: Any) -> None:
        known = self._names()
        for name in values:
            if name not in known:
                settings.distribute(values, self._kinds())
        self.seed = seed
        self._values = values
        self._fitted: Fitted | None = None
        self._people: dict[str, list[str]] = {}

    def __init_subclass__(cls) -> None:
        """Shows the settings in the signature, for editors, ``help`` and scikit-learn's ``clone``."""
        parameters = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default)
            for kind in cls._kinds().values()
            for f in dataclasses.fields(kind)
        ]
        seed = inspect.Parameter("seed", inspect.Parameter.KEYWORD_ONLY, default=0)
        cls.__signature__ = inspect.Signature([*parameters, seed])  # type: ignore[attr-defined]

    @classmethod
    def _kinds(cls) -> dict[str, type]:
        entry = find(cls.model)
        return {"model": entry.config} | ({"training": TrainingConfig} if isinstance(entry, Learned) else {})

    @classmethod
    def _names(cls) -> list[str]:
        return [f.name for kind in cls._kinds().values() for f in dataclasses.fields(kind)]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings that were given, and the seed."""
        return {**self._values, "seed": self.seed}

    def set_params(self, **values: Any) -> "Recommender":
        """Changes settings; the model has to be fitted again."""
        merged = {**self.get_params(), **values}
        self.__init__(**merged)  # type: ignore[misc]
        return self

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items() if name != "seed" or value)
        return f"{type(self).__name__}({given})"

    def fit(self, log: Any, *, protocol: str = "time") -> "Recommender":
        """Learns from an ``EventLog`` (or anything ``read_events`` reads), and returns self.

        What a network chooses by is held out by ``protocol``; what was chosen is then trained on every event.
        """
        from segue.data.events import EventLog, read_events
        from segue.fitting import fit, fit_all

        events = log if isinstance(log, EventLog) else read_events(log)
        by = "session" if protocol == "sessions" else "user"
        catalog = events.catalog()
        sequences, people = events.sequences(catalog, by=by)
        if isinstance(find(self.model), Learned):
            usable = protocol if events.has_times or protocol != "time" else "leave-last-out"
            chosen = fit(self.model, events.split(usable), self._values, seed=self.seed)
        else:
            from segue.fitting import Fitted as Chosen

            config: Any = settings.decode(find(self.model).config, self._values)
            chosen = Chosen(None, dataclasses.asdict(config), {}, 0.0)  # type: ignore[arg-type]
        final = fit_all(self.model, sequences, catalog.size, chosen, seed=self.seed)
        self._fitted = Fitted(final.scorer, catalog)
        self._settings = final.settings
        self._people = {who: catalog.names(items) for who, items in zip(people, sequences, strict=True)}
        return self

    @property
    def fitted(self) -> Fitted:
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
    ) -> list[Answer]:
        """The k best next items for raw histories, or for people of the log it was fitted on; see ``Fitted``."""
        if (histories is None) == (users is None):
            raise ValueError("Give either histories or users.")
        if users is not None:
            histories = [self._history(user) for user in users]
        assert histories is not None
        return self.fitted.recommend(histories, k=k, exclude_seen=exclude_seen, items=items)

    def similar(self, item: str, *, k: int = 10) -> Answer:
        """What goes with one item."""
        return self.fitted.similar(item, k=k)

    def save(self, folder: str | Path) -> str:
        """Writes the fitted model and returns its version; ``segue.load`` reads it back."""
        fitted = self.fitted
        saved = artifact.Artifact(self.model, self._settings, fitted.catalog, fitted.scorer.arrays(), fitted.items, {})
        return artifact.save(saved, Path(folder))

    def _history(self, user: str) -> list[str]:
        if user not in self._people:
            self.fitted  # noqa: B018  # the clearer message comes first
            raise ValueError(f"There is no person '{user}' in the log this was fitted on.")
        return self._people[user]


class Popularity(Recommender):
    """What most people take."""

    model = "popularity"


class Markov(Recommender):
    """What followed the last item before."""

    model = "markov"


class CoVisit(Recommender):
    """What comes soon after the latest items."""

    model = "covisit"


class ItemKNN(Recommender):
    """What the same people took."""

    model = "item-knn"


class SessionKNN(Recommender):
    """What went on in sessions like this one (VS-kNN)."""

    model = "session-knn"


class GRU4Rec(Recommender):
    """A recurrent state stepped by each event."""

    model = "gru4rec"


class SASRec(Recommender):
    """A causal transformer over the history."""

    model = "sasrec"


def load(folder: str | Path) -> Fitted:
    """A saved model, ready to answer; needs no torch. ValueError, in one sentence, for anything else."""
    saved = artifact.load(Path(folder))
    return Fitted(restore(saved), saved.catalog, saved.items)
