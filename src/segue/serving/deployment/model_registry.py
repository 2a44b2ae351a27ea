"""Versions of a model in a folder, and one small file that says which of them answer: replaced whole, or not at all.

``versions/VERSION`` holds each model, ``versions/VERSION.golden.json`` how it answered where it was added, and
``pointer.json`` what is at work. A change is one fsynced rename of the pointer: whoever reads it sees the state before
or the state after. Promoters take turns by a lock.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from segue.models import artifact
from segue.serving.deployment import golden_requests
from segue.serving.inference.served_model import ServedModel
from segue.system import atomic_files

POINTER = "pointer.json"
_FORMAT = 1
_REMEMBERED = 50


class DeploymentSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Which versions answer whom."""

    live: str
    canary: str | None = None
    canary_share: float = 0.0
    """Of the people who are answered by the canary."""
    interleave_share: float = 0.0
    """Share of the people whose lists are drawn from both by turns."""
    shadow: str | None = None
    """Answers beside the live one; nobody sees it."""

    def versions(self) -> list[str]:
        """All that must be loaded, the live one first."""
        return [one for one in (self.live, self.canary, self.shadow) if one is not None]


class Pointer(Struct, frozen=True, forbid_unknown_fields=True):
    """What is at work, and what was before it, the newest last."""

    format: int
    generation: int
    """Counts the changes: two pointers with one turn are the same."""
    current: DeploymentSpec
    previous: list[DeploymentSpec] = []
    note: str = ""
    """Why the last change was made, for whoever reads the list."""


@dataclass(frozen=True)
class VersionInfo:
    """One version in the registry."""

    version: str
    model: str
    created: str
    items: int
    role: str
    """live, canary, shadow, or nothing."""


class ModelRegistry:
    """A folder of versions; it begins with the first one that is promoted."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def at(cls, folder: Path) -> "ModelRegistry | None":
        """The registry in a folder, or None where the folder is something else."""
        return cls(folder) if (Path(folder) / POINTER).exists() else None

    def path(self, version: str) -> Path:
        """Where a version lies. ValueError where there is none."""
        path = self.folder / "versions" / version
        if not version.isalnum() or not (path / artifact.MANIFEST).is_file():
            raise ValueError(f"{self.folder} has no version '{version}': 'segue models {self.folder}' lists them.")
        return path

    def add(self, run: Path) -> str:
        """Copies a model into the registry and notes how it answers here; its version. Safe to repeat.

        ValueError where it is no sound model, or where it fails its self-test.
        """
        loaded = artifact.load(run)
        golden = golden_requests.record_golden(ServedModel.open(run))
        target = self.folder / "versions" / loaded.version
        atomic_files.make_folder(target.parent)
        if not target.exists():
            fresh = target.with_name(f".{loaded.version}-{uuid.uuid4().hex}")
            try:
                shutil.copytree(run, fresh)
                for path in (*fresh.iterdir(), fresh):
                    atomic_files.fsync_folder(path)
                if artifact.load(fresh).version != loaded.version:
                    raise ValueError(f"{run} changed while it was copied: promote it again.")
                os.replace(fresh, target)
                atomic_files.fsync_folder(target.parent)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        atomic_files.write(self._golden(loaded.version), [msgspec.json.encode(golden)])
        return loaded.version

    def open(self, version: str) -> ServedModel:
        """Loads a version and examines it. ValueError where it is not what was added, or fails its self-test."""
        model = ServedModel.open(self.path(version))
        if model.version != version:
            raise ValueError(f"{self.path(version)} holds version {model.version}: promote the model again.")
        try:
            golden = msgspec.json.decode(self._golden(version).read_bytes(), type=list[golden_requests.GoldenRequest])
        except (OSError, msgspec.DecodeError):
            raise ValueError(f"{self._golden(version)} is missing or damaged: promote the model again.") from None
        golden_requests.check_golden(model, [*golden, *golden_requests.expectations(self.folder)])
        return model

    def pointer(self) -> Pointer:
        """What is at work. ValueError where nothing is, or where the file is no pointer."""
        path = self.folder / POINTER
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Pointer)
        except FileNotFoundError:
            raise ValueError(f"{self.folder} is not a registry of models: 'segue promote' makes one.") from None
        except msgspec.DecodeError as error:
            raise ValueError(f"{path} is not a registry's pointer: {error}.") from None
        if found.format != _FORMAT:
            raise ValueError(f"{path} has format {found.format}; this version of Segue reads format {_FORMAT}.")
        return found

    def promote(
        self, version: str, *, canary: float = 0.0, interleave: float = 0.0, shadow: bool = False, note: str = ""
    ) -> Pointer:
        """Puts a version to work after its self-test: for everybody, or as canary, interleaved, or in the shadow.

        ValueError where it fails, and then nothing has changed.
        """
        part = canary > 0 or interleave > 0
        if not (0 <= canary <= 1 and 0 <= interleave <= 1 and canary + interleave <= 1):
            raise ValueError(f"Shares lie between 0 and 1 together, got canary {canary} and interleave {interleave}.")
        if part and shadow:
            raise ValueError("A version answers people (canary, interleave) or nobody (shadow), not both at once.")
        self.open(version)
        with self._turn():
            before = self.pointer() if (self.folder / POINTER).exists() else None
            if before is None:
                if part or shadow:
                    raise ValueError(f"{self.folder} has no live version yet: promote one for everybody first.")
                return self._write(Pointer(_FORMAT, 1, DeploymentSpec(version), note=note))
            now = before.current
            if shadow:
                now = replace(now, shadow=version)
            elif part:
                if version == now.live:
                    raise ValueError(f"Version {version} is the live one: there is nothing to compare it with.")
                now = replace(now, canary=version, share=canary, interleave=interleave)
            else:
                now = DeploymentSpec(version, shadow=None if now.shadow == version else now.shadow)
            return self._change(before, now, [*before.previous, before.current], note)

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """Takes the last change back. With ``turn`` only where that is still the last one; else nothing happens.

        ValueError where there is nothing to go back to.
        """
        with self._turn():
            before = self.pointer()
            if generation is not None and before.generation != generation:
                return before
            if not before.previous:
                raise ValueError(f"{self.folder} has had only one state: there is nothing to go back to.")
            return self._change(before, before.previous[-1], before.previous[:-1], note)

    def versions(self) -> list[VersionInfo]:
        """Every version, the newest first. ValueError where one is damaged."""
        now = self.pointer().current
        roles = {now.shadow: "shadow", now.canary: "canary", now.live: "live"}
        found = []
        for path in sorted((self.folder / "versions").iterdir()):
            if (path / artifact.MANIFEST).is_file() and not path.name.startswith("."):
                loaded = artifact.load(path)
                created = str(loaded.about.get("created", ""))
                role = roles.get(loaded.version, "")
                found.append(VersionInfo(loaded.version, loaded.model, created, len(loaded.catalog), role))
        return sorted(found, key=lambda one: one.created, reverse=True)

    def _change(self, old: Pointer, now: DeploymentSpec, before: Sequence[DeploymentSpec], note: str) -> Pointer:
        return self._write(Pointer(_FORMAT, old.generation + 1, now, list(before)[-_REMEMBERED:], note))

    def _write(self, pointer: Pointer) -> Pointer:
        atomic_files.write(self.folder / POINTER, [msgspec.json.format(msgspec.json.encode(pointer))])
        return pointer

    def _golden(self, version: str) -> Path:
        return self.folder / "versions" / f"{version}.golden.json"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One promoter at a time; the kernel lets the next one in however this one ends."""
        atomic_files.make_folder(self.folder)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
