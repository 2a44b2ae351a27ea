"""Result of a fit: the scorer, its settings and notes of the training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segue.data.evaluation_cases import EvaluationCases
from segue.models.scorer import Scorer


@dataclass(frozen=True)
class FitResult:
    """Fitted scorer with its settings and notes of the training."""

    scorer: Scorer
    settings: dict[str, Any]
    """Settings of the model, complete."""
    notes: dict[str, Any]
    """Neural models: epochs, the best one, ndcg@10 of each on validation, the chosen prior, events a second."""
    fit_s: float
    """Duration of the fit in seconds."""

    def with_target_times(self, cases: EvaluationCases) -> EvaluationCases:
        """Return the cases with target times if this model uses them; see the function of this name."""
        return with_target_times(cases, self.settings)


def with_target_times(cases: EvaluationCases, settings: Mapping[str, Any]) -> EvaluationCases:
    """Attach each target's timestamp as query time if ``target_time`` is set.

    Args:
        cases: evaluation cases.
        settings: settings of the model.

    Raises:
        ValueError: ``target_time`` is set and the log has no timestamps.
    """
    return cases.with_target_times() if settings.get("target_time") and len(cases) else cases
