"""The protocol that every model implements, and protocols of capabilities that some models have."""

from typing import Protocol, runtime_checkable

import numpy as np

from segue.data.sequences import Sequences


class Scorer(Protocol):
    """A fitted model: scores every item as the next item of each history; higher is better.

    Users of the training log, new users and anonymous users are scored alike: by their history alone. A row of the
    scores does not depend on the other rows of its batch. ``arrays`` and the ``restore`` of the model's class write
    and read the artifact. Ranking, ties, exclusion and filler belong to ``segue.models.top_k``.
    """

    @property
    def name(self) -> str:
        """Name in the zoo."""
        ...

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        ...

    def scores(self, histories: Sequences) -> np.ndarray:
        """Score every item for each history.

        Args:
            histories: B histories of item indices, the newest event last. Empty ones are allowed, PAD entries are
                skipped, and nothing is written to them.

        Returns:
            float32 [B, V], the caller's to change. Callers ignore column PAD.
        """
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact by name (``segue.models.artifact_tensors``)."""
        ...


@runtime_checkable
class VectorScorer(Protocol):
    """A scorer whose scores are inner products of query and item embeddings, so that an index can search them."""

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        ...

    def queries(self, histories: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """Return queries and keys whose inner products are the scores.

        Returns:
            (query embeddings float32 [B, D], zero for an empty history; item embeddings float32 [V, D]).
        """
        ...


@runtime_checkable
class EmbeddingScorer(Protocol):
    """A scorer that may have item embeddings, by which items can be compared."""

    @property
    def item_embeddings(self) -> np.ndarray | None:
        """float32 [V, D]; None: the model has no embeddings."""
        ...


@runtime_checkable
class StaticScorer(Protocol):
    """A scorer with the same scores for every history."""

    def static_scores(self) -> np.ndarray:
        """Return the scores of any history, float32 [V], not to be changed."""
        ...


@runtime_checkable
class SparseScorer(Protocol):
    """A scorer whose scores differ from popularity for the few items near a history only."""

    popularity_V: np.ndarray
    """Score of items that are near no event of the history, float32 [V]."""

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        ...

    def lifts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far items near one history are raised above their popularity.

        Args:
            items: int [N], one history without unknown items.

        Returns:
            (items near the history, ascending; what is added to their popularity, float32).
        """
        ...


@runtime_checkable
class ColdItemScorer(Protocol):
    """A scorer that may give items without events different scores: by their features, or because a list names them."""

    @property
    def scores_cold_items(self) -> bool:
        """True if items without events get scores of their own."""
        ...


class DecoderState(Protocol):
    """R lists in generation, equally many for each history and side by side, and the scores of their next items."""

    def scores(self) -> np.ndarray:
        """Return the scores of the next item of each list: float32 [R, V], the caller's to change; PAD is ignored."""
        ...

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "DecoderState":
        """Append an item to each list.

        Args:
            parents_R: int [R], index of the list that each new list extends. New lists of a history stay side by side.
            items_R: int [R], the appended items.

        Returns:
            The state of the new lists; this one is unchanged.
        """
        ...


@runtime_checkable
class IncrementalScorer(Protocol):
    """A scorer that may extend a list by one item without scoring the whole history again."""

    def decoder_state(self, histories: Sequences) -> DecoderState | None:
        """Return the state before the first generated item.

        Args:
            histories: histories without unknown items, none of them empty; one list each.

        Returns:
            The state, whose first scores are those of ``Scorer.scores``; None: this model has no incremental form.
        """
        ...
