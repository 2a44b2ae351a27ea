"""Artifact: a fitted model on disk, in a folder that cannot run code.

``manifest.json`` is written last: a folder without it is incomplete. It has the size and SHA-256 of ``catalog.json``,
``items.json`` (texts for display) and ``weights.safetensors``, because the tensor format has no checksum. The tensors
of each model are listed in ``segue.models.artifact_tensors``. A foreign folder cannot do more than be refused: see
``segue.models.artifact_files`` and ``segue.models.tensor_checks``.
"""

import errno
import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from segue.data.catalog import Catalog
from segue.models.artifact_files import MAX_MANIFEST_BYTES, ArtifactFolder, parse_json
from segue.system.atomic_files import fsync_folder
from segue.system.staged_folder import put_in_place, staged_folder

FORMAT = 2
"""Version of the file format; raised when a tensor, a setting or a key of the manifest changes its name or meaning."""
MANIFEST = "manifest.json"
_FILES = ("catalog.json", "items.json", "weights.safetensors")


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
        ValueError: ``folder`` is a file, a link, or a folder with other contents.
    """
    folder = Path(folder)
    check_target(folder)
    with staged_folder(folder) as staged:
        catalog, items, weights = (staged / name for name in _FILES)
        artifact.catalog.save(catalog)
        items.write_text(_json(artifact.items), encoding="ascii")
        save_file({k: np.ascontiguousarray(v) for k, v in artifact.arrays.items()}, weights)
        weights.chmod(catalog.stat().st_mode)  # safetensors writes files that only their owner can read
        files = (catalog, items, weights)
        manifest = {
            "format": FORMAT,
            "model": artifact.model,
            "settings": artifact.settings,
            "catalog": artifact.catalog.fingerprint,
            "about": {"created": datetime.now(UTC).isoformat(timespec="seconds"), **artifact.about},
            "files": {path.name: _sha256(path) for path in files},
            "sizes": {path.name: path.stat().st_size for path in files},
        }
        for path in files:
            fsync_folder(path)
        content = (_json(manifest, indent=2, sort_keys=True) + "\n").encode("ascii")
        (staged / MANIFEST).write_bytes(content)
        fsync_folder(staged / MANIFEST)
        fsync_folder(staged)
        put_in_place(staged, folder)
    return hashlib.sha256(content).hexdigest()[:12]


def check_target(folder: Path) -> None:
    """Check that an artifact can be written to a folder, before the work that makes it.

    Raises:
        ValueError: ``folder`` is a file, a link, or a folder with other contents.
        OSError: its parent is a file, or cannot be written.
    """
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link: name the folder that it leads to.")
    if folder.exists() and not (folder / MANIFEST).exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not a Segue model: choose another folder, or empty this one.")
    parent = next(path for path in folder.absolute().parents if path.exists())
    number = errno.ENOTDIR if not parent.is_dir() else errno.EACCES if not os.access(parent, os.W_OK) else 0
    if number:
        raise OSError(number, os.strerror(number), str(parent))


def load(folder: Path) -> Artifact:
    """Read an artifact and check the size and the hash of every file.

    Raises:
        ValueError: not an artifact, of another format, incomplete, damaged, with links or other files in it, or put
            together from two.
    """
    path = Path(folder)
    try:
        with ArtifactFolder(path) as files:
            return _load(files)
    except (MemoryError, OverflowError):
        raise ValueError(f"{path} does not fit into memory.") from None


def _load(files: ArtifactFolder) -> Artifact:
    manifest, version = _read_manifest(files)
    path = files.path / MANIFEST
    if manifest["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {manifest['format']}, and this version of Segue reads format {FORMAT}: "
            "train the model again, or use the version of Segue that wrote it."
        )
    hashes, sizes = manifest["files"], manifest.get("sizes", {})
    if set(hashes) != set(_FILES):
        raise ValueError(f"{path} lists the files {sorted(hashes)}, which is not what a Segue model holds.")
    _check_names(files)

    def parsed(name: str, kind: str) -> Any:
        return parse_json(files.read(name, sha256=hashes[name], size=sizes.get(name)), files.path / name, kind)

    catalog = Catalog.decode(parsed("catalog.json", "a catalog"), files.path / "catalog.json")
    if catalog.fingerprint != manifest["catalog"]:
        raise ValueError(f"{files.path / 'catalog.json'} is not the one the model was trained with.")
    items = parsed("items.json", "a table of items")
    _check_items(items, files.path / "items.json")
    weights = "weights.safetensors"
    return Artifact(
        model=manifest["model"],
        settings=manifest["settings"],
        catalog=catalog,
        arrays=files.read_tensors(weights, sha256=hashes[weights], size=sizes.get(weights)),
        items=items,
        about=manifest["about"],
        version=version,
    )


def version(folder: Path) -> str:
    """Return the version of the artifact in a folder, without reading its other files. ValueError if there is none."""
    with ArtifactFolder(Path(folder)) as files:
        return _read_manifest(files)[1]


def read_about(folder: Path) -> dict[str, Any]:
    """Return the provenance of an artifact, without reading its other files. ValueError if there is none."""
    with ArtifactFolder(Path(folder)) as files:
        about: dict[str, Any] = _read_manifest(files)[0]["about"]
        return about


def num_bytes(folder: Path) -> int:
    """Return the number of bytes of an artifact's files.

    Raises:
        ValueError: a file is missing or no regular one.
    """
    with ArtifactFolder(Path(folder)) as files:
        return sum(files.size(name) for name in (MANIFEST, *_FILES))


def copy(folder: Path, target: Path) -> None:
    """Copy the files of an artifact into an empty folder, and sync them to disk. Their contents are not checked.

    Args:
        folder: folder of the artifact; links in it are not followed.
        target: the empty folder.

    Raises:
        ValueError: a file is missing, no regular one, or does not belong to an artifact.
    """
    with ArtifactFolder(Path(folder)) as files:
        _check_names(files)
        for name in (*_FILES, MANIFEST):
            with files.open(name) as source, (target / name).open("xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
    fsync_folder(target)


def _check_names(files: ArtifactFolder) -> None:
    if extra := files.names() - {MANIFEST, *_FILES}:
        raise ValueError(f"{files.path / min(extra)} is no file of a Segue model: copy the model without it.")


def _read_manifest(files: ArtifactFolder) -> tuple[dict[str, Any], str]:
    """Return the manifest and the version."""
    path = files.path / MANIFEST
    types = {"format": int, "model": str, "settings": dict, "catalog": str, "about": dict, "files": dict}
    if MANIFEST not in files.names():
        raise ValueError(f"{files.path} is not a Segue model: it has no {MANIFEST}.")
    content = files.read(MANIFEST, limit=MAX_MANIFEST_BYTES)
    manifest = parse_json(content, path, "a manifest")
    for key, expected in types.items():
        if not isinstance(manifest, dict) or type(manifest.get(key)) is not expected:
            raise ValueError(f"{path} is not a manifest: '{key}' must be {expected.__name__}.")
    if extra := set(manifest) - {*types, "sizes"}:
        raise ValueError(f"{path} is not a manifest: it has the unknown key '{min(extra)}'.")
    for key, expected in (("files", str), ("sizes", int)):
        values = manifest.get(key, {})
        if type(values) is not dict or not all(type(value) is expected for value in values.values()):
            raise ValueError(f"{path} is not a manifest: '{key}' must hold one {expected.__name__} for each file.")
    return manifest, hashlib.sha256(content).hexdigest()[:12]


def _check_items(items: Any, path: Path) -> None:
    """Raise a ValueError unless each item has a table of plain values or lists of them."""
    plain = (str, int, float, bool, type(None))
    if not isinstance(items, dict):
        raise ValueError(f"{path} is no table of items: it must be a JSON object.")
    for item, values in items.items():
        if not isinstance(values, dict) or not all(
            isinstance(value, plain) or (isinstance(value, list) and all(isinstance(part, plain) for part in value))
            for value in values.values()
        ):
            raise ValueError(f"{path} is no table of items: '{item[:100]}' must have plain values by column.")


def _json(value: Any, **options: Any) -> str:
    """Return JSON with null for NaN and infinity, which JSON lacks: a missing feature, a metric without cases."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without_nan(value), allow_nan=False, **options)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
