"""Ensemble of models: the weighted sum of their log-probabilities (product of experts, Hinton 1999).

Shape letters: B batch, V catalog size with PAD.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.models.tensor_checks import check_tensors
from segue.models.zoo import NeuralEntry, find_model

MIN_LOG_SCORE = 1e-4
"""Relative score of an item without a score in a classic model; the best item of a row has 1."""


class Ensemble:
    """Ensemble of models: score(j) = sum over members m of weight_m * log p_m(j), up to a constant for each row.

    The logits of a neural model are such log-probabilities. Scores of a classic model are votes: they are divided by
    the best of the row, ``MIN_LOG_SCORE`` is added, and the logarithm is taken.
    """

    def __init__(self, members: Sequence[tuple[Scorer, float]]) -> None:
        """Combine (model, weight) pairs. ValueError for none."""
        if not members:
            raise ValueError("An ensemble needs a member.")
        self.members = list(members)

    @property
    def name(self) -> str:
        """Names of the members with '+' between them."""
        return "+".join(scorer.name for scorer, _ in self.members)

    @property
    def size(self) -> int:
        return self.members[0][0].size

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``; members of weight 0 are not evaluated."""
        total_BV = np.zeros((len(histories), self.size), dtype=np.float32)
        for scorer, weight in self.members:
            if weight != 0:
                total_BV += np.float32(weight) * log_scores(scorer, histories)
        return total_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights, and the tensors of each member with its position before their names."""
        arrays = {"weights": np.array([weight for _, weight in self.members], dtype=np.float64)}
        for position, (scorer, _) in enumerate(self.members):
            arrays |= {f"{position}.{name}": value for name, value in scorer.arrays().items()}
        return arrays

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], name: str, values: Mapping[str, Any], size: int) -> "Ensemble":
        """Restore an ensemble.

        Args:
            arrays: tensors of the artifact.
            name: names of the members with '+' between them.
            values: settings of each member by its position ("0", "1", ...).
            size: V, catalog size with PAD.
        """
        members = []
        for position, part in enumerate(name.split("+")):
            prefix = f"{position}."
            own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
            check_tensors(part, own, size)
            entry = find_model(part)
            members.append((entry.restore(own, decode_settings(entry.config, values[str(position)])), position))
        check_tensors(name, {"weights": arrays["weights"]}, size)
        return cls([(scorer, float(arrays["weights"][position])) for scorer, position in members])


def log_scores(scorer: Scorer, histories: Sequences) -> np.ndarray:
    """Return the log-probabilities of a model, up to a constant for each row.

    Args:
        scorer: a model of the zoo.
        histories: B histories.

    Returns:
        float32 [B, V]; 0 in column PAD.
    """
    scores_BV = scorer.scores(histories)
    if not isinstance(find_model(scorer.name), NeuralEntry):
        scores_BV = np.maximum(scores_BV, 0.0)
        best_B1 = scores_BV.max(axis=1, keepdims=True, initial=0.0)
        scores_BV = np.log(scores_BV / np.where(best_B1 > 0, best_B1, 1.0) + np.float32(MIN_LOG_SCORE))
    scores_BV[:, PAD] = 0.0
    return scores_BV
