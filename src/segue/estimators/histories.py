"""Histories and ids that a caller gives: checks, and contexts of events."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data.event_contexts import EventContexts
from segue.data.sequences import Sequences
from segue.models.ensemble import Ensemble
from segue.models.neural.neural_scorer import find_network
from segue.models.scorer import Scorer
from segue.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def context_types(scorer: Scorer) -> dict[str, Any]:
    """Return the type of each context column that a model, or a network in a pipeline or ensemble, was trained on."""
    members: list[Scorer] = [scorer]
    if isinstance(scorer, Pipeline):
        members = [source.scorer for source in scorer.sources]
    elif isinstance(scorer, Ensemble):
        members = [member for member, _ in scorer.members]
    types: dict[str, Any] = {}
    for member in members:
        network = find_network(member)
        if network is not None and network.side_information.contexts is not None:
            columns = network.side_information.contexts.encoding.columns
            types |= {column.name: column.column_type for column in columns}
    return types


def with_model_contexts(scorer: Scorer, log: "EventLog") -> "tuple[EventLog, list[str]]":
    """Give the events of a log the context columns that a model was trained on.

    Args:
        scorer: the model.
        log: the events, with the columns of a users table if the model reads some.

    Returns:
        (log with the context columns that it has, names of those that it has not).
    """
    types = context_types(scorer)
    known = {name: kind for name, kind in types.items() if name in log.frame.columns}
    return log.with_context(known) if known else log, [name for name in types if name not in known]


def with_contexts(rows: Sequences, contexts: Iterable[Sequence[Mapping[str, Any]]]) -> Sequences:
    """Attach contexts to the events of histories.

    Args:
        rows: the histories.
        contexts: for each event of each history, value by column.

    Raises:
        ValueError: a history has another number of contexts than events.
    """
    each = [list(row) for row in contexts]
    if [len(row) for row in each] != rows.lengths.tolist():
        raise ValueError(
            f"Each history needs a context for each of its events, but the histories have {rows.lengths.tolist()} "
            f"events and there are {[len(row) for row in each]} contexts."
        )
    flat = [context for row in each for context in row]
    event_types = np.array([context.get("event") for context in flat], dtype=object)
    return dataclasses.replace(rows, contexts=EventContexts.from_rows(flat), event_types=event_types)


def check_history(history: Sequence[str]) -> Sequence[str]:
    """Check a history. A text would be read as a list of letters, and a number would be an unknown item."""
    if isinstance(history, str):
        raise ValueError(f"A history is a list of item ids, got the text '{history}': for one history write [[...]].")
    return check_ids(history, "Item")


def check_ids(ids: Iterable[str], entity: str) -> list[str]:
    """Return ids as a list.

    Args:
        ids: ids of items or users.
        entity: "Item" or "User", for the message.

    Raises:
        ValueError: an id is no text: a number would be an unknown id.
    """
    ids = list(ids)
    for one in ids:
        if not isinstance(one, str):
            whole = isinstance(one, float) and one.is_integer()
            raise ValueError(f"{entity} ids are texts, got {one!r}: write '{int(one) if whole else one}'.")
    return ids
