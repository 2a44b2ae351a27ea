"""A pipeline's list on the command line: by a placement's rules, with reasons, and why an item is not in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.cli.output import err, out, print_json, table

if TYPE_CHECKING:
    from segue.data.sequences import Sequences
    from segue.estimators.estimator import TrainedModel
    from segue.pipeline.pipeline import Pipeline
    from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
    from segue.pipeline.ranked_list import RankedList


@dataclass(frozen=True)
class PlacementOptions:
    """What only a pipeline can answer."""

    placement: str | None = None
    file: Path | None = None
    """Whose placements go in place of the saved ones."""
    filter: str = ""
    explain: bool = False
    why_not: str | None = None


def pipeline_of(model: "TrainedModel") -> "Pipeline":
    """The pipeline in a loaded model. ValueError where it is a single model."""
    from segue.pipeline.pipeline import Pipeline

    if not isinstance(model.scorer, Pipeline):
        raise ValueError(f"This is a single model, {model.scorer.name}: train a pipeline with 'segue pipeline'.")
    return model.scorer


def show_placement(
    model: "TrainedModel", events: list[str], k: int, exclude_seen: bool | None, asked: PlacementOptions, json: bool
) -> None:
    """Prints the list."""
    from segue.data.sequences import Sequences
    from segue.pipeline.config import read_pipeline
    from segue.pipeline.placements.placement import DEFAULT, PlacementEngine, PlacementRequest

    placements = None if asked.file is None else read_pipeline(asked.file).placement
    shop = PlacementEngine(pipeline_of(model), model.catalog, model.items, placements=placements)
    for note in shop.notes:
        err.print(note, markup=False)
    history = Sequences.from_lists([model.catalog.to_indices(events)])
    wish = PlacementRequest(asked.placement or DEFAULT, exclude_seen=exclude_seen, filter=asked.filter)
    shown = shop.recommend(history, k, wish)
    rows = _rows(model, shop, history, shown, asked.explain)
    answer: dict[str, Any] = {"history": events, "placement": wish.placement, "items": rows}
    if asked.why_not is not None:
        answer["why_not"] = _why_not(model, shop, history, shown, wish, asked.why_not)
    if json:
        print_json(answer)
        return
    reasons = [[row["reason"]["en"]] for row in rows] if asked.explain else [[] for _ in rows]
    cells = [
        [str(n), row["item_id"], row["title"], row["source"], *reason, f"{row['score']:.5f}"]
        for n, (row, reason) in enumerate(zip(rows, reasons, strict=True), start=1)
    ]
    names = ["#", "item", "title", "source", *(["why"] if asked.explain else []), "score"]
    table(None, names, cells, left=len(names) - 1)
    if not rows:
        out.print("Nothing is left to recommend.")
    if "why_not" in answer:
        out.print(f"\n{asked.why_not}: {answer['why_not']['sentence']['en']}", markup=False)


def _rows(
    model: "TrainedModel", shop: "PlacementEngine", history: "Sequences", shown: "RankedList", explained: bool
) -> list[dict[str, Any]]:
    from segue.pipeline.explanations.explain import explain
    from segue.pipeline.ranked_list import PlacementReason

    rows: list[dict[str, Any]] = []
    for c, item in enumerate(model.catalog.to_ids(shown.items_C)):
        score = float(shown.scores_C[c])
        rows.append(
            {
                "item_id": item,
                "title": str(model.items.get(item, {}).get("title", "")),
                "score": score if score > float("-inf") else 0.0,
                "source": shown.source_of(c) or "",
                "how": PlacementReason(int(shown.how_C[c])).name.lower(),
            }
        )
    if explained:
        for row, why in zip(rows, explain(shop.pipeline, history, shown, titles_of(model)), strict=True):
            because = [{"item_id": model.catalog.ids[part.item - 1], "effect": part.effect} for part in why.because]
            row["reason"] = {"en": why.sentence.english, "zh": why.sentence.chinese}
            row |= {"places": why.places, "shares": why.shares, "because": because}
    return rows


def titles_of(model: "TrainedModel") -> dict[int, str]:
    """What items are called, by index; an item without a title by its id."""
    titles = {item: str(about["title"]) for item, about in model.items.items() if about.get("title")}
    return {i: titles.get(item, item) for i, item in enumerate(model.catalog.ids, start=1)}


def _why_not(
    model: "TrainedModel",
    shop: "PlacementEngine",
    history: "Sequences",
    shown: "RankedList",
    wish: "PlacementRequest",
    item: str,
) -> dict[str, Any]:
    from segue.pipeline.explanations.explain import why_not

    index = int(model.catalog.to_indices([item])[0])
    allowed_V = shop.allowed(history, wish)
    seen = None if index in shown.items_C or allowed_V[index] else history
    told = why_not(shop.pipeline, history, index, shown=shown, exclude=seen, allowed_V=allowed_V)
    return {
        "item_id": item,
        "reason": told.reason,
        "place": told.place,
        "places": {name: {"place": own, "gives": take} for name, (own, take) in told.places.items()},
        "held_back_by": told.held_back,
        "sentence": {"en": told.sentence.english, "zh": told.sentence.chinese},
    }
