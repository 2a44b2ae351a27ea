"""Commands ``segue promote``, ``segue rollback`` and ``segue models``: deployed versions of a model."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.output import err, out, print_json, table

if TYPE_CHECKING:
    from segue.serving.deployment.pointer import Pointer

Registry = Annotated[Path, typer.Argument(help="The registry: a folder of versions, as 'segue promote' makes it.")]


def promote(
    registry: Registry,
    model: Annotated[str, typer.Argument(help="A folder that 'segue train' wrote, or a version of the registry.")],
    canary: Annotated[float, typer.Option(help="Deploy it for this share of the users only, as 0.1.")] = 0.0,
    interleave: Annotated[
        float, typer.Option(help="This share of the users gets lists interleaved from both versions.")
    ] = 0.0,
    shadow: Annotated[bool, typer.Option("--shadow", help="Send it requests too, and discard its responses.")] = False,
    json: o.Json = False,
) -> None:
    """Deploy a version after its self-test; a server that runs on the registry swaps without a pause.

    A version that fails its self-test is refused, and the deployment stays as it is. A version that fails later is
    rolled back by the server itself.

    \b
    Examples:
      segue promote models run
      segue promote models run2 --canary 0.1
      segue promote models run2 --interleave 0.5
    """
    from segue.serving.deployment.model_registry import ModelRegistry

    versions = ModelRegistry(registry)
    version = versions.add(Path(model)) if Path(model).is_dir() else model
    pointer = versions.promote(version, canary=canary, interleave=interleave, shadow=shadow, note="segue promote")
    _show(registry, pointer, json)


def rollback(registry: Registry, json: o.Json = False) -> None:
    """Undo the last change: the previous version and its shares are deployed again.

    \b
    Example:
      segue rollback models
    """
    from segue.serving.deployment.model_registry import ModelRegistry

    _show(registry, ModelRegistry(registry).rollback("segue rollback"), json)


def models(registry: Registry, json: o.Json = False) -> None:
    """List the versions in a registry, and which of them are deployed.

    \b
    Example:
      segue models models
    """
    from segue.serving.deployment.model_registry import ModelRegistry

    versions = ModelRegistry(registry).versions()
    if json:
        print_json([asdict(row) for row in versions])
        return
    rows = [[row.version, row.model, row.role, row.created, f"{row.items:,}"] for row in versions]
    table(None, ["version", "model", "deployed as", "created", "items"], rows, left=4)
    for row in versions:
        if row.problem:
            err.print(row.problem, markup=False)
    if note := ModelRegistry(registry).pointer().note:
        err.print(f"Last change: {note}", markup=False)


def _show(registry: Path, pointer: "Pointer", json: bool) -> None:
    from msgspec import to_builtins

    deployed = pointer.current
    if json:
        print_json({"generation": pointer.generation, **to_builtins(deployed)})
        return
    out.print(f"Live: version {deployed.live}.", markup=False)
    if deployed.canary is not None:
        shares = f"{deployed.canary_share:.1%} of the users, interleaved lists for {deployed.interleave_share:.1%}"
        out.print(f"Canary: version {deployed.canary} for {shares}.", markup=False)
    if deployed.shadow is not None:
        out.print(f"Shadow: version {deployed.shadow}.", markup=False)
    err.print(f"A server on {registry} loads this within a second.", markup=False)
