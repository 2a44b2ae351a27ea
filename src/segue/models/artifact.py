"""A fitted model on disk: a folder that cannot run code and cannot be mixed up.

``manifest.json`` (written last: a folder without it is unfinished), ``catalog.json``, ``items.json`` (what people
see of each item), ``weights.safetensors``. The manifest holds the SHA-256 of every other file, because the tensor
format itself has no checksum.
"""

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from segue.data.catalog import Catalog
from segue.system.atomic_files import fsync_folder

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """What a folder holds: enough to score, to say where the model came from, and to show items to people."""

    model: str
    settings: dict[str, Any]
    catalog: Catalog
    arrays: dict[str, np.ndarray]
    items: dict[str, dict[str, Any]]
    """What people see of an item, by id; empty where the log came without an items table."""
    about: dict[str, Any]
    """Provenance: protocol, metrics, data fingerprint, seed, versions."""
    version: str = ""
    """The first 12 hex digits of the manifest's SHA-256: names this very model in every answer."""


def save(artifact: Artifact, folder: Path) -> str:
    """Writes the folder in one step (a failed save leaves nothing behind) and returns the version.

    An existing artifact at that place is replaced; a file, or any other folder that is not empty, is refused.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / MANIFEST).exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not a Segue model: choose another folder, or empty this one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    fresh.mkdir()  # not a tempfile: the server that reads the model may run as somebody else
    try:
        artifact.catalog.save(fresh / "catalog.json")
        (fresh / "items.json").write_text(json.dumps(artifact.items), encoding="ascii")
        save_file({k: np.ascontiguousarray(v) for k, v in artifact.arrays.items()}, fresh / "weights.safetensors")
        manifest = {
            "format": FORMAT,
            "model": artifact.model,
            "settings": artifact.settings,
            "catalog": artifact.catalog.fingerprint,
            "about": {"created": datetime.now(UTC).isoformat(timespec="seconds"), **artifact.about},
            "files": {path.name: _sha256(path) for path in sorted(fresh.iterdir())},
        }
        for path in fresh.iterdir():
            fsync_folder(path)
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="ascii")
        fsync_folder(fresh / MANIFEST)
        fsync_folder(fresh)
        version = _sha256(fresh / MANIFEST)[:12]
        _put(fresh, folder)
        fsync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return version


def _put(fresh: Path, folder: Path) -> None:
    """Renames fresh to folder; what was there before goes, or comes back if the renaming fails."""
    if not folder.exists():
        os.replace(fresh, folder)
        return
    old = fresh.with_name(f"{fresh.name}-old")
    os.replace(folder, old)
    try:
        os.replace(fresh, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old)


def load(folder: Path) -> Artifact:
    """Reads a folder that ``save`` wrote; ValueError, in one sentence, for anything else."""
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a Segue model: it has no {MANIFEST}.")
    manifest = _read_manifest(path)
    if manifest["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {manifest['format']}; this version of Segue reads format {FORMAT}: "
            "load it with the version that wrote it, or train again."
        )
    names = set(manifest["files"])
    if names != {"catalog.json", "items.json", "weights.safetensors"}:
        raise ValueError(f"{path} lists the files {sorted(names)}, which is not what a Segue model holds.")
    for name, wanted in manifest["files"].items():
        if (folder / name).is_symlink():
            raise ValueError(f"{folder / name} is a link: copy the model with its files, not with links to them.")
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: the model is incomplete, copy it again.")
        if _sha256(folder / name) != wanted:
            raise ValueError(f"{folder / name} is not the file the model was saved with: its SHA-256 differs.")
    catalog = Catalog.load(folder / "catalog.json")
    if catalog.fingerprint != manifest["catalog"]:
        raise ValueError(f"{folder / 'catalog.json'} is not the one the model was trained with.")
    return Artifact(
        model=manifest["model"],
        settings=manifest["settings"],
        catalog=catalog,
        arrays=load_file(folder / "weights.safetensors"),
        items=json.loads((folder / "items.json").read_text(encoding="ascii")),
        about=manifest["about"],
        version=_sha256(path)[:12],
    )


def version(folder: Path) -> str:
    """Of the model in a folder, without reading it. ValueError where there is none."""
    path = Path(folder) / MANIFEST
    try:
        return _sha256(path)[:12]
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} is not a Segue model: it has no {MANIFEST}.") from None


def _read_manifest(path: Path) -> dict[str, Any]:
    kinds = {"format": int, "model": str, "settings": dict, "catalog": str, "about": dict, "files": dict}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a manifest: {error}.") from None
    for key, kind in kinds.items():
        if not isinstance(manifest, dict) or type(manifest.get(key)) is not kind:
            raise ValueError(f"{path} is not a manifest: '{key}' must be {kind.__name__}.")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
