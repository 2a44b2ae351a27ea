"""New items of a served network with item features: each gets the embedding that its features give, as by add-items.

The rows of all new items are made anew from the network as it was trained. So every process, and a server after a
restart, has the same rows, whatever the order of the changes.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from segue.data.features.cell_casting import cast_row
from segue.data.features.column_types import ColumnType
from segue.data.features.feature_column import MAX_ABS_PART
from segue.models.add_items import add_rows_for_items
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.neural_scorer import find_network
from segue.models.retrieval.retriever import Retriever
from segue.pipeline.next_item_probabilities import probability_scorer
from segue.serving.inference.served_model import ServedModel
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.catalog_tables import LiveItem

_SPELLED = {"str": "text", "bool": "true or false", "int": "a number", "float": "a number"}


def growth_obstacle(model: ServedModel) -> str:
    """Return the clause about the reason that a network with item features gets no new items here; "" without any."""
    if model.is_approximate:
        return "its catalog is searched approximately"  # a new index of a large catalog takes minutes
    if isinstance(model.scorer, WithCovisitationPrior) and not _has_scipy():
        return "scipy is not installed on the server"
    return ""


def _has_scipy() -> bool:
    try:
        from scipy import sparse  # noqa: F401 - a lean server is installed without it
    except ImportError:
        return False
    return True


class LiveNetwork:
    """Rows for new items of one single model. For one thread at a time."""

    def __init__(self, model: ServedModel, sessions: SessionCache, column_types: Mapping[str, ColumnType]) -> None:
        """Begin with the items of the training. See ``of``."""
        self._model = model
        self._sessions = sessions
        self._trained = model.scorer
        self._column_types = column_types
        self._rows: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, model: ServedModel, sessions: SessionCache) -> "LiveNetwork | None":
        """Return the live state of a network with item features; None for any other model.

        Args:
            model: the version.
            sessions: histories in the item indices of its catalog.
        """
        network = None if model.pipeline_service is not None else find_network(model.scorer)
        if network is None or network.side_information.features is None:
            return None
        columns = network.side_information.features.encoding.columns
        column_types: Any = {column.name: column.column_type for column in columns}
        return cls(model, sessions, column_types)

    def check_cell(self, name: str, value: Any) -> None:
        """Check that a feature can have a value. ValueError for another type than that of the training.

        Args:
            name: name of the column; one that is no feature of the network takes any value.
            value: plain value of a request; None removes the feature.
        """
        fits = {
            "number": type(value) in (int, float),
            "vector": isinstance(value, list) and all(type(part) in (int, float) for part in value),
        }
        wanted = self._column_types.get(name, "text")
        if value is not None and not fits.get(wanted, True):
            held, given = {"number": "numbers", "vector": "lists of numbers"}[wanted], type(value).__name__
            raise ValueError(f"Column '{name}' holds {held}, but the value is {_SPELLED.get(given, 'a list')}.")
        if wanted == "vector" and any(abs(part) > MAX_ABS_PART for part in value or ()):
            raise ValueError(f"Column '{name}' holds lists of numbers, none of them above {MAX_ABS_PART:.0e}.")

    def _row(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features of a row as ``read_items`` would; a list is written as JSON first."""
        plain = {
            name: json.dumps(cell, ensure_ascii=False) if isinstance(cell, list) else cell
            for name, cell in cells.items()
        }
        return cast_row(plain, self._column_types)

    def apply(
        self,
        items: Mapping[str, LiveItem],
        run_alone: Callable[[Callable[[], None]], None],
        hide: Callable[[], None],
    ) -> None:
        """Give new items their rows, and known new items other rows where their features changed.

        Args:
            items: every changed item by id.
            run_alone: runs a function while no list is scored.
            hide: hides the items that are not available, new ones included.
        """
        model, catalog = self._model, self._model.catalog
        joining = [item.item_id for item in items.values() if item.item_id not in catalog and not item.deleted]
        if growth_obstacle(model):
            return
        grown = catalog.grown(joining) if joining else catalog
        rows = {item: self._row(items[item].cells) for item in grown.added}
        if rows == self._rows:
            return
        scorer = add_rows_for_items(self._trained, list(rows.values()))
        retrieval, probabilities = Retriever(scorer), probability_scorer(scorer, model.about)

        def grow() -> None:
            catalog.adopt(grown)  # first: a list must not hold an index without an id
            hide()
            model.scorer, model.retrieval, model.probability_scorer = scorer, retrieval, probabilities

        run_alone(grow)
        self._rows = rows
        if joining:
            self._sessions.forget_unknown_items()
