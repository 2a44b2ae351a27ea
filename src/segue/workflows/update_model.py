"""Update of a saved model with new events: a larger catalog, more training, kept unless it is worse beyond chance."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.config.decode import decode_settings
from segue.models import artifact
from segue.models.loading import restore_model
from segue.models.probabilities.calibrated_scorer import NOTE
from segue.models.zoo import ClassicEntry, find_model
from segue.pipeline.pipeline import Pipeline
from segue.workflows.probabilities.fit_temperature import fit_calibration
from segue.workflows.updates.continue_training import continue_training
from segue.workflows.updates.update_data import (
    UpdateReport,
    is_not_worse,
    prepare_update,
    warn_of_forgotten_events,
    warn_of_spellings,
    warn_of_trained_events,
)
from segue.workflows.updates.update_pipeline import update_pipeline

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable


def update_model(
    run: Path,
    log: "EventLog",
    out: Path | None = None,
    *,
    replay: "EventLog | None" = None,
    items: "ItemTable | None" = None,
    seed: int = 0,
    allow_loss: bool = False,
) -> UpdateReport:
    """Train a saved neural model on new events, and save the result unless it is worse beyond chance.

    In a pipeline the networks are trained on, and the counting sources are counted again, see ``update_pipeline``.
    Both models are evaluated by ndcg@10 on the newest events, which the evaluated update is not trained on.

    Args:
        run: folder of the saved model.
        log: the new events, with timestamps.
        out: folder of the updated model; None: ``run``.
        replay: older events, trained on again so that the model does not forget them; without them the histories
            begin with the new events. None: none.
        items: titles and features of new items; None: none.
        seed: random seed.
        allow_loss: update a pipeline although the logs lack many events of its training.

    Raises:
        ValueError: a classic model (fit it again on the whole log), a log without timestamps, or no evaluation case.
    """
    loaded = _load_updatable(run)
    if loaded.model == Pipeline.name:
        return update_pipeline(loaded, log, out or run, replay=replay, items=items, seed=seed, allow_loss=allow_loss)
    entry = find_model(loaded.model)
    config: Any = decode_settings(entry.config, loaded.settings)
    data = prepare_update(loaded, log, replay)
    before_N = data.quality(data.expanded(restore_model(loaded)))
    item_columns = {**loaded.items, **({} if items is None else items.for_catalog(data.catalog))}
    start = replace(loaded, items=item_columns)
    evaluated = continue_training(start, config, data.catalog, data.before_cutoff, seed)
    after_N = data.quality(evaluated)
    version = None
    before, after = float(before_N.mean()), float(after_N.mean())
    if is_not_worse(after_N, before_N):
        scorer = continue_training(start, config, data.catalog, data.sequences, seed)
        about = {**loaded.about, "updated_from": loaded.version, "update_ndcg@10": [before, after]}
        about["newest_event_us"] = max(data.newest_us, int(loaded.about.get("newest_event_us") or 0))
        about |= {"trained_on_everything": True, "events": data.sequences.num_events}
        calibration = fit_calibration(evaluated, data.cases, exclude_seen=data.exclude_seen)
        if calibration.cases:  # with too few new events the old one stays
            about["notes"] = {**loaded.about.get("notes", {}), NOTE: calibration.to_dict()}
        updated = replace(start, catalog=data.catalog, arrays=scorer.arrays(), about=about)
        version = artifact.save(updated, out or run)
    new_items = len(data.catalog) - len(loaded.catalog)
    warnings = (
        *warn_of_spellings(loaded.catalog, log, items),
        *warn_of_trained_events(loaded, log),
        *warn_of_forgotten_events(loaded, data.sequences),
    )
    return UpdateReport(
        before, after, len(data.cases), new_items, version is not None, version, data.shared_events, warnings
    )


def check_updatable(run: Path) -> None:
    """Raise ValueError if a folder holds no model that can be updated with new events."""
    _load_updatable(run)


def _load_updatable(run: Path) -> artifact.Artifact:
    loaded = artifact.load(run)
    if loaded.model == Pipeline.name:
        return loaded
    entry = find_model(loaded.model)
    if isinstance(entry, ClassicEntry):
        cost = "" if entry.iterative else ", which takes one pass over it"
        raise ValueError(
            f"{loaded.model} cannot be updated with new events, only neural models can: run 'segue train' on the "
            f"whole log{cost}."
        )
    return loaded
