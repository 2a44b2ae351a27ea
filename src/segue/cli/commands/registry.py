"""Commands ``segue promote``, ``rollback`` and ``models`` for deployed versions, and ``segue placements`` for rules."""

import os
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.output import err, out, print_json, table

if TYPE_CHECKING:
    from segue.serving.client.client import Client
    from segue.serving.deployment.pointer import Pointer
    from segue.serving.schemas.admin import PlacementOut

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
    for name in versions.missing_placements(version):
        err.print(
            f"Version {version} has no placement '{name}' of the live version: its rules end with this deployment.",
            markup=False,
        )
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


KEYS = ("SEGUE_ADMIN_KEY", "SEGUE_API_KEY")
"""Environment variables of the key, the first one that is set."""
PARTS = ("rules", "rerank", "explore")


def placements(
    server: Annotated[
        str, typer.Argument(help="Address of the server, as http://127.0.0.1:8000; or its data directory, if stopped.")
    ],
    name: Annotated[str | None, typer.Argument(help="The placement; without it all are listed.")] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--set", help="Replace its rules by those of a TOML file: of a pipeline, or of this placement."),
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Restore its rules before the last change.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Return to the rules that the model was saved with.")] = False,
    json: o.Json = False,
) -> None:
    """Show or change the rules of placements while the server runs: filters, stock, pins, quotas, boosts.

    A change is checked against the columns of every deployed version, kept on disk, and in force in every process when
    the command returns. The key is read from SEGUE_ADMIN_KEY or SEGUE_API_KEY. For a stopped server, name its data
    directory with --rollback or --reset.

    \b
    Examples:
      segue placements http://127.0.0.1:8000
      segue placements http://127.0.0.1:8000 home --set shop.toml
      segue placements http://127.0.0.1:8000 home --rollback
      segue placements run-data home --reset
    """
    if sum((file is not None, rollback, reset)) > 1:
        raise ValueError("--set, --rollback and --reset exclude each other: give one of them.")
    if (file is not None or rollback or reset) and name is None:
        raise ValueError("Name the placement that is to be changed.")
    if Path(server).is_dir():
        _change_stopped(Path(server), name, rollback=rollback, reset=reset)
        return
    with _client(server) as client:
        if name is None:
            _list_placements(client.placements().placements, json)
            return
        if file is not None:
            shown = client.put_placement(name, _settings(file, name))
        elif rollback:
            shown = client.roll_back_placement(name)
        else:
            shown = client.delete_placement(name) if reset else client.placement(name)
    _show_placement(shown, json)


def _client(address: str) -> "Client":
    from segue.serving.client.client import Client

    return Client(address, next((os.environ[name] for name in KEYS if name in os.environ), None))


def _settings(file: Path, name: str) -> Any:
    """Return the settings of a placement in a TOML file. ValueError for a file without it."""
    from segue.serving.schemas.admin import PlacementSettings

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{file} is not TOML: {error}.") from None
    if "placement" in values:
        values = next((one for one in values["placement"] if one.get("name") == name), {})
    if not any(part in values for part in PARTS):
        raise ValueError(f"{file} has no rules, rerank or explore for the placement '{name}'.")
    unknown = [key for key in values if key not in (*PARTS, "name")]
    if unknown:
        raise ValueError(f"{file}: Unknown setting '{unknown[0]}' of a placement: it has {', '.join(PARTS)}.")
    return PlacementSettings(**{part: values.get(part) for part in PARTS})


def _change_stopped(data: Path, name: str | None, *, rollback: bool, reset: bool) -> None:
    """Change the rules in the data directory of a stopped server, whose versions cannot be checked."""
    from segue.serving.store.data_directory import DataDirectory
    from segue.serving.store.event_store import EventStore

    if not (rollback or reset) or name is None:
        raise ValueError(f"{data} is a data directory: name the server's address, or use --rollback or --reset.")
    directory = DataDirectory(data)
    try:
        store = EventStore(data / "events.sqlite")
        try:
            now_us = store.clock.now_us()
            if reset:
                store.catalog.put_rules(name, None, now_us)
            else:
                earlier = store.catalog.earlier_rules(name)
                if earlier is None:
                    raise ValueError(f"The placement '{name}' has no earlier rules to roll back to.")
                store.catalog.restore_rules(earlier, now_us)
        finally:
            store.close()
    finally:
        directory.release()
    err.print(f"Placement {name} is changed; the next start of the server checks its rules.", markup=False)


def _list_placements(placements: "list[PlacementOut]", json: bool) -> None:
    from msgspec import to_builtins

    if json:
        print_json([to_builtins(one) for one in placements])
        return
    rows = [[one.name, one.source, str(one.revision), str(one.settings["rules"]["filter"])] for one in placements]
    table(None, ["placement", "rules of", "revision", "filter"], rows, left=4)


def _show_placement(placement: "PlacementOut", json: bool) -> None:
    from msgspec import to_builtins

    if json:
        print_json(to_builtins(placement))
        return
    if placement.source == "none":
        out.print(f"Placement {placement.name} is gone.", markup=False)
        return
    origin = "the model's own" if placement.source == "model" else f"revision {placement.revision}"
    out.print(f"Placement {placement.name}, {origin}:", markup=False)
    print_json(placement.settings)
    for note in placement.notes:
        err.print(note, markup=False)
