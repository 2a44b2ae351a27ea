"""Output of a pipeline's list: by a placement's rules, with explanations, and the reason why an item is not in it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli.language import present_language
from segue.cli.output import err, out, print_json, table

if TYPE_CHECKING:
    from segue.data.catalog import Catalog
    from segue.data.sequences import Sequences
    from segue.estimators.ruled_lists import ListRules
    from segue.estimators.trained_model import TrainedModel
    from segue.pipeline.pipeline import Pipeline
    from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
    from segue.pipeline.ranked_list import RankedList


@dataclass(frozen=True)
class GivenHistory:
    """History of a command."""

    ids: list[str]
    """Item ids, oldest first."""
    rows: "Sequences"
    """The same in one row of item indices."""
    has_types: bool
    """True if the types of its events are known."""
    seen: "Sequences | None" = None
    """The events of all types, see ``PlacementRequest.seen``; None: the history."""


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
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Item ids that are not recommended: comma-separated, or the option repeated."),
    ] = None

    @property
    def needs_pipeline(self) -> bool:
        """True if an option is given that a single model does not have."""
        given = self.placement, self.pipeline, self.why_not, self.filter or None, self.explain or None
        return any(option is not None for option in given)

    def rules(self, catalog: "Catalog") -> "ListRules":
        """Return the rules of the request, for ``TrainedModel.recommend``."""
        return {
            "placement": self.placement,
            "filter": self.filter,
            "exclude": split_ids(self.exclude, catalog) if self.exclude else [],
        }

    def apply_to(self, model: "TrainedModel", exclude_seen: bool | None) -> "TrainedModel":
        """Check the options against a model, report suspicious rules, and return it with the placements of --pipeline.

        Args:
            model: the loaded model.
            exclude_seen: option of the request.

        Raises:
            ValueError: an option of a pipeline for a single model, an unknown placement, or a wrong filter.
        """
        from segue.pipeline.config import read_pipeline

        if self.needs_pipeline:
            pipeline_of(model)
        if self.pipeline is not None:
            model = model.with_placements(read_pipeline(self.pipeline).placement)
        request = model.request(exclude_seen, **self.rules(model.catalog))
        model.lists.check(request)
        for note in model.lists.notes(request):
            err.print(note, markup=False)
        return model


def pipeline_of(model: "TrainedModel") -> "Pipeline":
    """Return the pipeline of a loaded model. ValueError for a single model."""
    from segue.pipeline.pipeline import Pipeline

    if not isinstance(model.scorer, Pipeline):
        raise ValueError(f"This is a single model, {model.scorer.name}: train a pipeline with 'segue pipeline'.")
    return model.scorer


def split_ids(ids: list[str], catalog: "Catalog") -> list[str]:
    """Split item ids that came comma-separated; an id of the catalog may hold a comma itself.

    Args:
        ids: values of a repeatable option.
        catalog: the model's items.
    """
    is_list = len(ids) != 1 or ids[0] in catalog
    return list(ids) if is_list else [part.strip() for part in ids[0].split(",")]


def show_placement(
    model: "TrainedModel",
    given: GivenHistory,
    k: int,
    exclude_seen: bool | None,
    options: PlacementOptions,
    json: bool,
) -> None:
    """Print a pipeline's list after a history.

    Args:
        model: a loaded pipeline.
        given: the history.
        k: length of the list.
        exclude_seen: leave items of the history out; None: by the placement's rules.
        options: placement, filter and explanations.
        json: print JSON instead of a table.

    Raises:
        ValueError: the model is not a pipeline, or a placement or filter is wrong.
    """
    from segue.pipeline.placements.forbidding_rules import empty_list_note, pin_notes

    engine, events, history = model.lists.engine, given.ids, given.rows
    request = replace(model.request(exclude_seen, **options.rules(model.catalog)).for_placement(), seen=given.seen)
    ranked = engine.recommend(history, k, request)
    rows = _rows(model, engine, history, ranked, options.explain)
    notes = pin_notes(engine, ranked.items_C.tolist(), history, request)
    notes += [] if rows else [empty_list_note(engine, request)]
    if (
        not given.has_types
        and events
        and isinstance(engine.stages_of(request.placement).rules.config.exclude_seen, tuple)
    ):
        notes.append("The history has no event types, so exclude_seen leaves out its last item only: give --user.")
    result: dict[str, Any] = {"history": events, "placement": request.placement, "items": rows, "notes": notes}
    if options.why_not is not None:
        result["why_not"] = _why_not(model, engine, history, ranked, request, options.why_not)
    if json:
        print_json(result)
        return
    if rows:
        _show(rows, options.explain)
    for note in notes:
        out.print(note, markup=False)
    if "why_not" in result:
        out.print(f"\n{options.why_not}: {result['why_not']['sentence'][present_language()]}", markup=False)


def _show(rows: list[dict[str, Any]], explained: bool) -> None:
    reasons = [[row["reason"][present_language()]] if explained else [] for row in rows]
    cells = [
        [str(n), row["item_id"], row["title"], row["source"], *reason, f"{row['score']:.5f}"]
        for n, (row, reason) in enumerate(zip(rows, reasons, strict=True), start=1)
    ]
    names = ["#", "item", "title", "source", *(["reason"] if explained else []), "score"]
    table(None, names, cells, left=len(names) - 1)


def _rows(
    model: "TrainedModel", engine: "PlacementEngine", history: "Sequences", ranked: "RankedList", explained: bool
) -> list[dict[str, Any]]:
    from segue.pipeline.live.live_placements import explain_list
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
        explanations = explain_list(engine, history, ranked, titles_of(model))
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
    from segue.pipeline.explanations.why_not import why_not

    index = int(model.catalog.to_indices([item])[0])
    reason = why_not(engine, history, index, ranked, request)
    return {
        "item_id": item,
        "reason": reason.reason,
        "rank": reason.rank,
        "ranks": {name: {"rank": rank, "num_candidates": count} for name, (rank, count) in reason.ranks.items()},
        "lowered_by": reason.lowered_by,
        "rules": list(reason.rules),
        "sentence": {"en": reason.sentence.english, "zh": reason.sentence.chinese},
    }
