"""segue promote, segue rollback, segue models: which version of a model is at work."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.output import err, out, print_json, table

Folder = Annotated[Path, typer.Argument(help="The registry: a folder of versions, as 'segue promote' makes it.")]


def promote(
    registry: Folder,
    model: Annotated[
        str, typer.Argument(help="A folder that 'segue train' wrote, or a version that is known already.")
    ],
    canary: Annotated[float, typer.Option(help="Only for this share of the people, as 0.1.")] = 0.0,
    interleave: Annotated[
        float, typer.Option(help="This share of the people get lists of both versions by turns.")
    ] = 0.0,
    shadow: Annotated[bool, typer.Option("--shadow", help="Ask it too, and show its answers to nobody.")] = False,
    json: o.Json = False,
) -> None:
    """Put a version to work, after its self-test; a server that runs on the registry swaps without a pause.

    A version that fails its self-test is refused, and nothing changes. One that fails later, at work, is taken back by
    the server itself.

    \b
    Examples:
      segue promote models run
      segue promote models run2 --canary 0.1
      segue promote models run2 --interleave 0.5
    """
    from segue.serving.deployment.model_registry import ModelRegistry

    kept = ModelRegistry(registry)
    version = kept.add(Path(model)) if Path(model).is_dir() else model
    pointer = kept.promote(version, canary=canary, interleave=interleave, shadow=shadow, note="segue promote")
    _show(registry, pointer, json)


def rollback(registry: Folder, json: o.Json = False) -> None:
    """Take the last change back: the version before it, and its shares, are at work again.

    \b
    Example:
      segue rollback models
    """
    from segue.serving.deployment.model_registry import ModelRegistry

    _show(registry, ModelRegistry(registry).rollback("segue rollback"), json)


def models(registry: Folder, json: o.Json = False) -> None:
    """List the versions in a registry, and which of them are at work.

    \b
    Example:
      segue models models
    """
    from segue.serving.deployment.model_registry import ModelRegistry

    known = ModelRegistry(registry).versions()
    if json:
        print_json([asdict(one) for one in known])
        return
    rows = [[one.version, one.model, one.role, one.created, f"{one.items:,}"] for one in known]
    table(None, ["version", "model", "at work as", "created", "items"], rows, left=4)


def _show(registry: Path, pointer: Any, json: bool) -> None:
    from msgspec import to_builtins

    now = pointer.now
    if json:
        print_json({"turn": pointer.turn, **to_builtins(now)})
        return
    out.print(f"Live: version {now.live}.", markup=False)
    if now.canary is not None:
        shares = f"{now.share:.1%} of the people, lists of both for {now.interleave:.1%}"
        out.print(f"Canary: version {now.canary} for {shares}.", markup=False)
    if now.shadow is not None:
        out.print(f"In the shadow: version {now.shadow}.", markup=False)
    err.print(f"A server on {registry} takes this up within a second.", markup=False)
