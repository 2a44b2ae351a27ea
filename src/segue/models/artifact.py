"""Artifact: a fitted model on disk, in a folder that cannot run code.

``manifest.json`` is written last: a folder without it is incomplete. It has the SHA-256 of ``catalog.json``,
``items.json`` (texts for display) and ``weights.safetensors``, because the tensor format has no checksum. The tensors
of each model are listed in ``segue.models.artifact_tensors``.
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

FORMAT = 2
"""Version of the file format; raised when a tensor, a setting or a key of the manifest changes its name or meaning."""
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """Contents of an artifact: the model, its provenance, and texts to display items."""

    model: str
    """Name in the zoo, names with '+' between them for an ensemble, 'pipeline' or 'ranker'."""
    settings: dict[str, Any]
    catalog: Catalog
    arrays: dict[str, np.ndarray]
    items: dict[str, dict[str, Any]]
    """Displayed columns of each item, by item id; empty for a log without an items table."""
    about: dict[str, Any]
    """Provenance: split protocol, metrics, data fingerprint, seed, versions."""
    version: str = ""
    """First 12 hex digits of the SHA-256 of the manifest; part of every response."""


def save(artifact: Artifact, folder: Path) -> str:
    """Write an artifact atomically: a failed save changes nothing.

    Args:
        artifact: the contents; its ``version`` is ignored.
        folder: the folder to write. An existing artifact there is replaced.

    Returns:
        The version.

    Raises:
        ValueError: ``folder`` is a file, or a folder with other contents.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / MANIFEST).exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not a Segue model: choose another folder, or empty this one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    temporary.mkdir()  # not a tempfile: the server that reads the model may run as another user
    try:
        artifact.catalog.save(temporary / "catalog.json")
        (temporary / "items.json").write_text(json.dumps(artifact.items), encoding="ascii")
        save_file({k: np.ascontiguousarray(v) for k, v in artifact.arrays.items()}, temporary / "weights.safetensors")
        manifest = {
            "format": FORMAT,
            "model": artifact.model,
            "settings": artifact.settings,
            "catalog": artifact.catalog.fingerprint,
            "about": {"created": datetime.now(UTC).isoformat(timespec="seconds"), **artifact.about},
            "files": {path.name: _sha256(path) for path in sorted(temporary.iterdir())},
        }
        for path in temporary.iterdir():
            fsync_folder(path)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="ascii")
        fsync_folder(temporary / MANIFEST)
        fsync_folder(temporary)
        version = _sha256(temporary / MANIFEST)[:12]
        _replace_folder(temporary, folder)
        fsync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return version


def _replace_folder(temporary: Path, folder: Path) -> None:
    """Rename ``temporary`` to ``folder``; an old folder is deleted, or restored if the renaming fails."""
    if not folder.exists():
        os.replace(temporary, folder)
        return
    old = temporary.with_name(f"{temporary.name}-old")
    os.replace(folder, old)
    try:
        os.replace(temporary, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old)


def load(folder: Path) -> Artifact:
    """Read an artifact and check the hash of every file.

    Raises:
        ValueError: not an artifact, of another format, incomplete, damaged, or put together from two.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a Segue model: it has no {MANIFEST}.")
    manifest = _read_manifest(path)
    if manifest["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {manifest['format']}, and this version of Segue reads format {FORMAT}: "
            "train the model again, or use the version of Segue that wrote it."
        )
    names = set(manifest["files"])
    if names != {"catalog.json", "items.json", "weights.safetensors"}:
        raise ValueError(f"{path} lists the files {sorted(names)}, which is not what a Segue model holds.")
    for name, expected in manifest["files"].items():
        if (folder / name).is_symlink():
            raise ValueError(f"{folder / name} is a link: copy the model with its files, not with links to them.")
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: the model is incomplete, copy it again.")
        if _sha256(folder / name) != expected:
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
    """Return the version of the artifact in a folder, without reading its other files. ValueError if there is none."""
    path = Path(folder) / MANIFEST
    try:
        return _sha256(path)[:12]
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} is not a Segue model: it has no {MANIFEST}.") from None


def _read_manifest(path: Path) -> dict[str, Any]:
    types = {"format": int, "model": str, "settings": dict, "catalog": str, "about": dict, "files": dict}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a manifest: {error}.") from None
    for key, expected in types.items():
        if not isinstance(manifest, dict) or type(manifest.get(key)) is not expected:
            raise ValueError(f"{path} is not a manifest: '{key}' must be {expected.__name__}.")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
