"""A scorer with a co-visitation model added to its scores, as a product of experts."""

from collections.abc import Mapping

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.decoder_state import initial_state
from segue.models.scorer import ColdItemScorer, DecoderState, EmbeddingScorer, Scorer

MIN_PRIOR = 1e-4
"""Constant added to a co-visitation score before its logarithm: the score of an item never seen near the history."""


class WithCovisitationPrior:
    """score(j) = logit of the network + weight * log(co-visitation score of j + 1e-4).

    Both are log-probabilities up to a constant for each row. So a small network need not spend its few dimensions on
    pairs of items that are consumed together.
    """

    def __init__(self, scorer: Scorer, prior: CoVisit, weight: float) -> None:
        self.inner = scorer
        self.prior = prior
        self.weight = weight

    @classmethod
    def restore(cls, scorer: Scorer, arrays: Mapping[str, np.ndarray]) -> "WithCovisitationPrior":
        """Restore the co-visitation model of an artifact around a restored network.

        Args:
            scorer: the network.
            arrays: tensors of the artifact, ``prior.{name}`` among them.
        """
        own = {name.removeprefix("prior."): value for name, value in arrays.items() if name.startswith("prior.")}
        config = CoVisitConfig(decay=float(own["decay"][0]))
        return cls(scorer, CoVisit.restore(own, config), float(own["weight"][0]))

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def item_embeddings(self) -> np.ndarray | None:
        """See ``EmbeddingScorer``: those of the network."""
        return self.inner.item_embeddings if isinstance(self.inner, EmbeddingScorer) else None

    @property
    def scores_cold_items(self) -> bool:
        """See ``ColdItemScorer``: the network decides."""
        return isinstance(self.inner, ColdItemScorer) and self.inner.scores_cold_items

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``. An empty history has no neighborhood and keeps the network's scores."""
        known = histories.drop_unknown()
        return self.add_to_logits(self.inner.scores(known), known)

    def add_to_logits(self, logits_BV: np.ndarray, known: Sequences) -> np.ndarray:
        """Add the weighted co-visitation model to the network's logits, in place.

        Args:
            logits_BV: float32 [B, V]; written to.
            known: histories without unknown items.

        Returns:
            ``logits_BV``.
        """
        if self.weight > 0:
            log_prior_BV = log_prior(self.prior, known)
            logits_BV += np.float32(self.weight) * log_prior_BV
        return logits_BV

    def decoder_state(self, histories: Sequences) -> DecoderState:
        """See ``IncrementalScorer.decoder_state``."""
        return CombinedState(initial_state(self.inner, histories), self.prior.decoder_state(histories), self.weight)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: the network's, and ``prior.*`` of the co-visitation model."""
        own = {**self.prior.arrays(), "decay": np.array([self.prior.decay]), "weight": np.array([self.weight])}
        return {**self.inner.arrays(), **{f"prior.{name}": value for name, value in own.items()}}

    def base_offsets(self) -> np.ndarray:
        """Return the addend of items that are near no event of the history, float32 [V]."""
        return np.float32(self.weight) * log_floored(self.prior.popularity_V)

    def lifts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far items near a history are raised above ``base_offsets``.

        With both, single scores are known without a row of all scores.

        Args:
            items: int [N], one history without unknown items, not empty.

        Returns:
            (items near the history, ascending; their additional addend, float32).
        """
        near, sums = self.prior.lifts(items)
        base = self.prior.popularity_V[near]
        return near, np.float32(self.weight) * (log_floored(sums + base) - log_floored(base))


class CombinedState:
    """Decoder state of a network and a co-visitation model, each with its own state."""

    def __init__(self, network: DecoderState, prior: DecoderState, weight: float) -> None:
        self.network = network
        self.prior = prior
        self.weight = weight

    def scores(self) -> np.ndarray:
        """See ``DecoderState.scores``."""
        scores_RV = self.network.scores()
        if self.weight > 0:
            log_prior_RV = log_floored(self.prior.scores())
            log_prior_RV[:, PAD] = 0.0
            scores_RV += np.float32(self.weight) * log_prior_RV
        return scores_RV

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "CombinedState":
        """See ``DecoderState.extend``."""
        network, prior = self.network.extend(parents_R, items_R), self.prior.extend(parents_R, items_R)
        return CombinedState(network, prior, self.weight)


def log_prior(prior: CoVisit, histories: Sequences) -> np.ndarray:
    """Return log(co-visitation score + 1e-4).

    Args:
        prior: the co-visitation model.
        histories: B histories.

    Returns:
        float32 [B, V]; zeros for an empty history and in column PAD.
    """
    log_prior_BV = log_floored(prior.scores(histories))
    log_prior_BV[histories.lengths == 0] = 0.0
    log_prior_BV[:, PAD] = 0.0
    return log_prior_BV


def log_floored(scores: np.ndarray) -> np.ndarray:
    """Return log(max(score, 0) + 1e-4), float32, for co-visitation scores of any shape."""
    logs: np.ndarray = np.log(np.maximum(scores, 0.0) + np.float32(MIN_PRIOR))
    return logs
