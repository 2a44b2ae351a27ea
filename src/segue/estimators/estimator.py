"""Base of the recommender classes, after scikit-learn: settings are parameters, ``fit`` returns self.

The examples share one log: ten users, each with six of nine items in the order of a ring.

>>> import polars as pl
>>> import segue
>>> rows = [(f"u{u}", f"i{(u + step) % 9}", 100 * step + u) for u in range(10) for step in range(6)]
>>> log = segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
"""

import dataclasses
import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

import numpy as np

from segue.config.decode import decode_settings, split_by_config
from segue.data.catalog import Catalog
from segue.data.features.encoding import FeatureConfig
from segue.data.sequences import Sequences
from segue.data.splits.split import excludes_seen, split_log
from segue.estimators.histories import check_ids, with_contexts
from segue.estimators.settings_help import SettingsDoc
from segue.estimators.trained_model import Recommendations, TrainedModel
from segue.models import artifact
from segue.models.scorer import Scorer
from segue.models.zoo import ClassicEntry, NeuralEntry, find_model
from segue.training.config import TrainingConfig

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


class Recommender:
    """Recommender with its settings as parameters: ``fit`` it on a log, then ``recommend``.

    ``help(segue.SASRec)`` and the other classes of ``segue`` list the settings of each model.
    """

    model: ClassVar[str]
    """Name of the model in the zoo and on the command line."""
    summary: ClassVar[str] = ""
    """First line of the class's documentation."""

    def __init__(self, *, seed: int = 0, **settings: Any) -> None:
        split_by_config(settings, self._configs())
        self.seed = seed
        self._given = settings
        self._fitted: TrainedModel | None = None
        self._rows = Sequences.from_lists([])
        self._row_of: dict[str, int] = {}
        self._about: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        """Give the class its real signature and documentation, for editors, ``help`` and scikit-learn's ``clone``."""
        configs, defaults = cls._configs(), cls._defaults()
        hints = {name: hint for config in configs.values() for name, hint in get_type_hints(config).items()}
        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hints.get(name, int))
            for name, value in {**defaults, "seed": 0}.items()
        ]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        sections = [(f"Settings of the {part}", config) for part, config in configs.items()]
        cls.__doc__ = SettingsDoc(cls.summary, sections, defaults)  # type: ignore[assignment]

    @classmethod
    def _configs(cls) -> dict[str, type]:
        """Return the settings classes of the model, of its training and of its features."""
        entry = find_model(cls.model)
        own: dict[str, type] = {"model": entry.config}
        return own | ({"training": TrainingConfig, "features": FeatureConfig} if isinstance(entry, NeuralEntry) else {})

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        entry = find_model(cls.model)
        own = {f.name: f.default for config in cls._configs().values() for f in dataclasses.fields(config)}
        return own | (dict(entry.training) if isinstance(entry, NeuralEntry) else {})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return every setting and the seed, as scikit-learn does; ``deep`` is ignored."""
        return {**self._defaults(), **self._given, "seed": self.seed}

    def set_params(self, **settings: Any) -> Self:
        """Change settings; the model must be fitted again. ValueError for an unknown setting."""
        merged = {**self._given, "seed": self.seed, **settings}
        self.__init__(**merged)  # type: ignore[misc]
        return self

    def __repr__(self) -> str:
        defaults = {**self._defaults(), "seed": 0}
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items() if value != defaults[name])
        return f"{type(self).__name__}({given})"

    def fit(
        self, log: Any, *, protocol: str = "time", items: Any = None, log_options: Mapping[str, Any] | None = None
    ) -> Self:
        """Fit the model on a log and return self.

        A neural model chooses its epoch on the validation events of ``protocol``, then it is trained on every event.

        Args:
            log: an ``EventLog``, or a file or table that ``read_events`` reads.
            protocol: split of a neural model's validation, see ``split_log``. A log without timestamps is split by
                leave-last-out in place of time.
            items: table with titles and features (see ``read_items``), kept with the model. With the setting
                ``features`` its items without events can be recommended too. None: no table.
            log_options: options of ``read_events`` for a file or table, such as ``{"time_zone": "Asia/Shanghai"}``;
                None: the defaults.

        Raises:
            ValueError: the log cannot be read, lacks a column of the setting ``contexts``, or is too small to split.

        >>> segue.CoVisit(decay=0.7).fit(log)
        CoVisit(decay=0.7)
        """
        from segue.data.event_log import EventLog
        from segue.data.readers.events import read_events
        from segue.data.readers.items import read_items

        if isinstance(log, EventLog) and log_options:
            raise ValueError("log_options are for a file or a table, and this log is read already.")
        events = log if isinstance(log, EventLog) else read_events(log, **(log_options or {}))
        table = None if items is None else read_items(items).matched_with(events.frame["item_id"])
        read_here = [] if isinstance(log, EventLog) else events.report.warnings
        for warning in [*read_here, *(() if table is None else table.warnings)]:
            warnings.warn(warning, stacklevel=2)
        if table is not None and self.get_params().get("features"):
            events = events.with_items(table)
        if self.get_params().get("contexts"):
            events = events.with_context(self.get_params()["contexts"])
        catalog = events.catalog()
        sequences, users = events.sequences(catalog, by="session" if protocol == "sessions" else "user")
        scorer = self._fit_scorer(events, protocol, sequences, catalog)
        titles = None if table is None else table.for_catalog(catalog)
        self._fitted = TrainedModel(scorer, catalog, titles, self._about)
        self._rows, self._row_of = sequences, {user: row for row, user in enumerate(users)}
        return self

    def _fit_scorer(self, events: "EventLog", protocol: str, sequences: Sequences, catalog: Catalog) -> Scorer:
        from segue.workflows.fit_model import fit_model, refit_on_all_events

        entry = find_model(self.model)
        about = {"seed": self.seed, "events": len(events), "segue": version("segue"), "trained_on_everything": True}
        about["log"] = events.description.to_dict()
        usable = protocol if events.has_times or protocol != "time" else "leave-last-out"
        about["exclude_seen"] = excludes_seen(usable)
        if isinstance(entry, ClassicEntry):
            config: Any = decode_settings(entry.config, self._given)
            self._settings, self._about = dataclasses.asdict(config), about
            return entry.fit(sequences, catalog.size, config)
        split = split_log(events, usable)
        chosen = fit_model(self.model, split, self._given, seed=self.seed)
        self._settings, self._about = chosen.settings, {**about, "protocol": split.protocol, "notes": chosen.notes}
        features = events.item_features(catalog)
        refitted = refit_on_all_events(
            self.model, sequences, catalog.size, chosen, seed=self.seed, item_features=features
        )
        return refitted.scorer

    @property
    def fitted(self) -> TrainedModel:
        """Fitted model with its catalog; ValueError before ``fit``."""
        if self._fitted is None:
            raise ValueError(f"This {type(self).__name__} is not fitted yet: call fit(log) first.")
        return self._fitted

    def recommend(
        self,
        histories: Iterable[Sequence[str]] | None = None,
        *,
        users: Iterable[str] | None = None,
        k: int = 10,
        exclude_seen: bool | None = None,
        items: Iterable[str] | None = None,
        contexts: Iterable[Sequence[Mapping[str, Any]]] | None = None,
    ) -> list[Recommendations]:
        """Return the k best next items after given histories, or for users of the log.

        Give either ``histories`` or ``users``. The events of users have the times and contexts of the log.

        Args:
            histories: item ids of each history, oldest first; ids outside the catalog are skipped. May be empty.
            users: user ids of the log that the model was fitted on.
            k: length of each list, at least 1; a list is shorter where fewer items are left.
            exclude_seen: leave items of the history out of its list; False: none of them. None: as ``protocol`` of the
                fit does in an evaluation, and never the last item of the history.
            items: candidate items; None: the whole catalog.
            contexts: for each event of each history, value by column; None: no contexts, or those of the log.

        Returns:
            One list of (item id, score) for each history or user, the best item first.

        Raises:
            ValueError: the model is not fitted, a user is not in the log, or a history is not a list of texts.

        >>> model = segue.Markov().fit(log)
        >>> [item for item, _ in model.recommend([["i1", "i2"]], k=2)[0]][0]
        'i3'
        >>> model.recommend(users=["u0"], k=1)[0][0][0]
        'i6'
        """
        if (histories is None) == (users is None):
            raise ValueError("Give either histories or users.")
        if isinstance(users, str):
            raise ValueError(f"users is a list of ids, got the text '{users}': write ['{users}'].")
        fitted = self.fitted
        if users is not None:
            rows = self._rows.take(np.array([self._row(user) for user in check_ids(users, "User")], dtype=np.int64))
            rows = rows if contexts is None else with_contexts(rows, contexts)
            return fitted.recommend_sequences(rows, k=k, exclude_seen=exclude_seen, items=items)
        assert histories is not None
        return fitted.recommend(histories, k=k, exclude_seen=exclude_seen, items=items, contexts=contexts)

    def similar(self, item: str, *, k: int = 10) -> Recommendations:
        """Return the k best next items after a history of one item, without that item.

        Args:
            item: item id of the catalog.
            k: length of the list.

        Raises:
            ValueError: the model is not fitted, or the catalog has no such item.

        >>> segue.Markov().fit(log).similar("i4", k=1)[0][0]
        'i5'
        """
        return self.fitted.similar(item, k=k)

    def save(self, folder: str | Path) -> str:
        """Save the fitted model to a folder and return its version; ``segue.load`` and ``segue serve`` read it.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     version = segue.Markov().fit(log).save(f"{folder}/run")
        >>> len(version)
        12
        """
        fitted = self.fitted
        saved = artifact.Artifact(
            self.model, self._settings, fitted.catalog, fitted.scorer.arrays(), fitted.items, self._about
        )
        return artifact.save(saved, Path(folder))

    def _row(self, user: str) -> int:
        if user not in self._row_of:
            raise ValueError(f"There is no user '{user}' in the log this was fitted on.")
        return self._row_of[user]
