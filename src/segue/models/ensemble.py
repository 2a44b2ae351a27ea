"""Several models as one scorer: each one's log-probabilities, weighted and added (a product of experts, Hinton 1999).

Shape letters: B batch, V catalog size with PAD.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.models.zoo import NeuralEntry, find_model

MIN_LOG_SCORE = 1e-4
"""What a counting model gives an item that nothing speaks for, where its best item has 1."""


class Ensemble:
    """score(j) = sum over the members m of weight_m * log p_m(j), up to a constant for each row.

    A network's logits are such log-probabilities. A counting model's scores are votes: the best item of a row counts
    1, what has no vote ``FLOOR``, and the logarithm is taken of that.
    """

    def __init__(self, members: Sequence[tuple[Scorer, float]]) -> None:
        if not members:
            raise ValueError("An ensemble needs a member.")
        self.members = list(members)

    @property
    def name(self) -> str:
        """The members' names with '+' between them."""
        return "+".join(scorer.name for scorer, _ in self.members)

    @property
    def size(self) -> int:
        return self.members[0][0].size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        total_BV = np.zeros((len(histories), self.size), dtype=np.float32)
        for scorer, weight in self.members:
            if weight != 0:
                total_BV += np.float32(weight) * log_scores(scorer, histories)
        return total_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights, and each member's arrays with its place before their names."""
        arrays = {"weights": np.array([weight for _, weight in self.members], dtype=np.float64)}
        for place, (scorer, _) in enumerate(self.members):
            arrays |= {f"{place}.{name}": value for name, value in scorer.arrays().items()}
        return arrays

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], name: str, values: Mapping[str, Any]) -> "Ensemble":
        """What ``arrays`` gave; ``values`` hold each member's settings by its place ("0", "1", ...)."""
        members = []
        for place, part in enumerate(name.split("+")):
            begin = f"{place}."
            own = {key.removeprefix(begin): value for key, value in arrays.items() if key.startswith(begin)}
            entry = find_model(part)
            members.append((entry.restore(own, decode_settings(entry.config, values[str(place)])), place))
        return cls([(scorer, float(arrays["weights"][place])) for scorer, place in members])


def log_scores(scorer: Scorer, histories: Sequences) -> np.ndarray:
    """A scorer's log-probabilities up to a constant for each row, float32 [B, V]; 0 in the PAD column."""
    scores_BV = scorer.scores(histories)
    if not isinstance(find_model(scorer.name), NeuralEntry):
        scores_BV = np.maximum(scores_BV, 0.0)
        best_B1 = scores_BV.max(axis=1, keepdims=True, initial=0.0)
        scores_BV = np.log(scores_BV / np.where(best_B1 > 0, best_B1, 1.0) + np.float32(MIN_LOG_SCORE))
    scores_BV[:, PAD] = 0.0
    return scores_BV
