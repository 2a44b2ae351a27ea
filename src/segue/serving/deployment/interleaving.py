"""Interleaved lists: one list drawn from the lists of two versions."""

import random
from collections.abc import Sequence

from segue.serving.deployment.deployment import INTERLEAVED, LoadedModel
from segue.serving.experiments import statistics
from segue.serving.schemas.requests import RecommendResponse


def interleave(models: Sequence[LoadedModel], responses: Sequence[RecommendResponse], k: int) -> RecommendResponse:
    """Draw one list from the lists of two versions by team draft.

    Args:
        models: the two versions.
        responses: response of each; the first one is changed.
        k: length of the list.

    Returns:
        The first response with the drawn items. The source of an item is the version that chose it.
    """
    response = responses[0]
    response.fallback = response.fallback or responses[1].fallback
    by_id = {item.id: item for one in reversed(responses) for item in one.items}
    ids = [[item.id for item in one.items] for one in responses]
    rng = random.Random(response.recommendation_id)  # so that a list can be drawn again from its id
    response.items = []
    for item, team in statistics.team_draft(ids[0], ids[1], k, rng):
        by_id[item].source = models[team].version
        response.items.append(by_id[item])
    response.model_version = "+".join(model.version for model in models)
    response.unknown_items = [item for item in response.unknown_items if item in responses[1].unknown_items]
    response.took_ms = round(sum(one.took_ms for one in responses), 3)
    response.variant = INTERLEAVED
    return response
