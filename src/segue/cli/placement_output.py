"""Output of a pipeline's list: by a placement's rules, with explanations, and the reason why an item is not in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli.output import err, out, print_json, table

if TYPE_CHECKING:
    from segue.data.sequences import Sequences
    from segue.estimators.trained_model import TrainedModel
    from segue.pipeline.pipeline import Pipeline
    from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
    from segue.pipeline.ranked_list import RankedList


@dataclass(frozen=True)
class PlacementOptions:
    """Options that only a pipeline has."""

    placement: Annotated[str | None, typer.Option(help="With a pipeline: the placement whose rules apply.")] = None
    pipeline: Annotated[
        Path | None,
        typer.Option(help="Use the placements of this file in place of those saved with the pipeline."),
    ] = None
    filter: Annotated[str, typer.Option(help="With a pipeline: only these items, as 'price < 20'.")] = ""
    explain: Annotated[
        bool, typer.Option("--explain", help="With a pipeline: explain why each item is in the list.")
    ] = False
    why_not: Annotated[str | None, typer.Option(help="With a pipeline: explain why this item is not in the list.")] = (
        None
    )


def pipeline_of(model: "TrainedModel") -> "Pipeline":
    """Return the pipeline of a loaded model. ValueError for a single model."""
    from segue.pipeline.pipeline import Pipeline

    if not isinstance(model.scorer, Pipeline):
        raise ValueError(f"This is a single model, {model.scorer.name}: train a pipeline with 'segue pipeline'.")
    return model.scorer


def show_placement(
    model: "TrainedModel", events: list[str], k: int, exclude_seen: bool | None, options: PlacementOptions, json: bool
) -> None:
    """Print a pipeline's list after a history.

    Args:
        model: a loaded pipeline.
        events: item ids of the history, oldest first.
        k: length of the list.
        exclude_seen: leave items of the history out; None: by the placement's rules.
        options: placement, filter and explanations.
        json: print JSON instead of a table.

    Raises:
        ValueError: the model is not a pipeline, or a placement or filter is wrong.
    """
    from segue.data.sequences import Sequences
    from segue.pipeline.config import read_pipeline
    from segue.pipeline.placements.placement import DEFAULT_PLACEMENT, PlacementEngine, PlacementRequest

    placements = None if options.pipeline is None else read_pipeline(options.pipeline).placement
    engine = PlacementEngine(pipeline_of(model), model.catalog, model.items, placements=placements)
    for note in engine.notes:
        err.print(note, markup=False)
    history = Sequences.from_lists([model.catalog.to_indices(events)])
    request = PlacementRequest(options.placement or DEFAULT_PLACEMENT, exclude_seen=exclude_seen, filter=options.filter)
    ranked = engine.recommend(history, k, request)
    rows = _rows(model, engine, history, ranked, options.explain)
    result: dict[str, Any] = {"history": events, "placement": request.placement, "items": rows}
    if options.why_not is not None:
        result["why_not"] = _why_not(model, engine, history, ranked, request, options.why_not)
    if json:
        print_json(result)
        return
    _show(rows, options.explain)
    if "why_not" in result:
        out.print(f"\n{options.why_not}: {result['why_not']['sentence']['en']}", markup=False)


def _show(rows: list[dict[str, Any]], explained: bool) -> None:
    reasons = [[row["reason"]["en"]] if explained else [] for row in rows]
    cells = [
        [str(n), row["item_id"], row["title"], row["source"], *reason, f"{row['score']:.5f}"]
        for n, (row, reason) in enumerate(zip(rows, reasons, strict=True), start=1)
    ]
    names = ["#", "item", "title", "source", *(["reason"] if explained else []), "score"]
    table(None, names, cells, left=len(names) - 1)
    if not rows:
        out.print("No item is left to recommend.")


def _rows(
    model: "TrainedModel", engine: "PlacementEngine", history: "Sequences", ranked: "RankedList", explained: bool
) -> list[dict[str, Any]]:
    from segue.pipeline.explanations.explain import explain
    from segue.pipeline.ranked_list import PlacementReason

    rows: list[dict[str, Any]] = []
    for c, item in enumerate(model.catalog.to_ids(ranked.items_C)):
        score = float(ranked.scores_C[c])
        rows.append(
            {
                "item_id": item,
                "title": str(model.items.get(item, {}).get("title", "")),
                "score": score if score > float("-inf") else 0.0,
                "source": ranked.source_name(c) or "",
                "placed_by": PlacementReason(int(ranked.reasons_C[c])).name.lower(),
            }
        )
    if explained:
        explanations = explain(engine.pipeline, history, ranked, titles_of(model))
        for row, why in zip(rows, explanations, strict=True):
            because = [
                {"item_id": model.catalog.ids[part.item - 1], "effect": part.log_probability_gain}
                for part in why.influences
            ]
            row["reason"] = {"en": why.sentence.english, "zh": why.sentence.chinese}
            row |= {"ranks": why.ranks, "shares": why.shares, "because": because}
    return rows


def titles_of(model: "TrainedModel") -> dict[int, str]:
    """Return the title of each item by its index; the id of an item without a title."""
    titles = {item: str(about["title"]) for item, about in model.items.items() if about.get("title")}
    return {i: titles.get(item, item) for i, item in enumerate(model.catalog.ids, start=1)}


def _why_not(
    model: "TrainedModel",
    engine: "PlacementEngine",
    history: "Sequences",
    ranked: "RankedList",
    request: "PlacementRequest",
    item: str,
) -> dict[str, Any]:
    from segue.pipeline.explanations.explain import why_not

    index = int(model.catalog.to_indices([item])[0])
    allowed_V = engine.allowed_items(history, request)
    seen = None if index in ranked.items_C or allowed_V[index] else history
    reason = why_not(engine.pipeline, history, index, recommended=ranked, exclude=seen, allowed_V=allowed_V)
    return {
        "item_id": item,
        "reason": reason.reason,
        "rank": reason.rank,
        "ranks": {name: {"rank": rank, "num_candidates": count} for name, (rank, count) in reason.ranks.items()},
        "lowered_by": reason.lowered_by,
        "sentence": {"en": reason.sentence.english, "zh": reason.sentence.chinese},
    }
