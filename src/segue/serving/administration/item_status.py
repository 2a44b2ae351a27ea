"""State of an item in the deployed versions: its row, and whether each version can recommend it."""

from segue.serving.catalog.availability import is_available
from segue.serving.catalog.live_model import LiveModel
from segue.serving.catalog.live_network import growth_obstacle
from segue.serving.deployment.deployment import Deployment
from segue.serving.schemas.admin import ItemOut, ItemVersion
from segue.serving.store.catalog_tables import unknown_item


def item_out(deployment: Deployment, item_id: str, *, complete: bool = True) -> ItemOut:
    """Return the state of an item.

    Args:
        deployment: the deployed versions.
        item_id: the item.
        complete: with all columns and versions, for an operator; False: id and title, for a page.

    Raises:
        Problem: 404 for an item that the live version does not hold, unless it was changed and ``complete``.
    """
    live = deployment.live.live
    model = deployment.live.engine.model
    change = None if live is None else live.item(item_id)
    is_gone = change is not None and change.deleted
    if (item_id not in model.catalog or is_gone) and not (complete and change is not None):
        raise unknown_item(item_id, deleted=is_gone)
    out = ItemOut(item_id, model.titles.get(item_id))
    if not complete or live is None:
        return out
    out.columns = {name: cell for name, cell in live.row(item_id).items() if name != "title"}
    versions = [
        _version(role, loaded.live, item_id)
        for role, loaded in deployment.models_by_role().items()
        if loaded.live is not None
    ]
    if change is not None:
        out.revision, out.versions = change.revision, versions
        out.deleted = change.deleted and item_id not in live.failures
        out.recommendable, out.reason = versions[0].recommendable, versions[0].reason
    return out


def _version(role: str, live: LiveModel, item_id: str) -> ItemVersion:
    reason = _obstacle(live, item_id)
    placements = []
    if live.pipeline is not None and item_id in live.model.catalog:
        engine = live.pipeline.service.placements
        placements = engine.allowing(live.model.catalog.to_indices_list([item_id])[0])
        reason = reason or ("" if placements else "The rules of no placement allow it.")
    return ItemVersion(role, live.model.version, not reason, reason, placements if not reason else [])


def _obstacle(live: LiveModel, item_id: str) -> str:
    """Return the sentence about the reason that a version cannot recommend an item; "" where it can."""
    change = live.item(item_id)
    if item_id in live.failures:
        return f"Its change could not be applied ({live.failures[item_id]}), and hides it: PUT it with other values."
    if change is not None and change.deleted:
        return "It was deleted: PUT it to have it recommended again."
    if change is not None and not is_available(change, single_model=live.pipeline is None):
        return "It is not available."
    if item_id not in live.model.catalog:
        reason = f"Version {live.model.version} is a single model ({live.model.scorer.name}) that was trained without"
        if live.has_item_features and (obstacle := growth_obstacle(live.model)):
            return f"{reason} this item, and {obstacle}: train it again."
        return f"{reason} this item: train it again, or deploy a pipeline or a neural model with item features."
    return ""
