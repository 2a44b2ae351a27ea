"""Model registry: versions of a model in a folder, and a pointer file that names the deployed versions.

``versions/VERSION`` holds each artifact, ``versions/VERSION.golden.json`` its lists for the golden requests when it was
added, and ``pointer.json`` the deployment. A change is one fsynced rename of the pointer: a reader sees the deployment
before or after it. Concurrent promotions take turns by a lock.
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
POINTER_FORMAT = 2
"""Format number of the pointer file."""
_MAX_PREVIOUS = 50


class DeploymentSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Versions of a deployment, and their shares of the users."""

    live: str
    canary: str | None = None
    canary_share: float = 0.0
    """Share of the users who get the canary's lists, 0 to 1."""
    interleave_share: float = 0.0
    """Share of the users whose lists are interleaved from the live version and the canary, 0 to 1."""
    shadow: str | None = None
    """Version that scores live requests too; its lists are compared but not sent."""

    def versions(self) -> list[str]:
        """Return the versions to load, the live one first."""
        return [version for version in (self.live, self.canary, self.shadow) if version is not None]


class Pointer(Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the pointer file: the current deployment and the previous ones."""

    format: int
    generation: int
    """Number of changes: two pointers of one registry with equal generations are equal."""
    current: DeploymentSpec
    previous: list[DeploymentSpec] = []
    """Earlier deployments, newest last; at most 50."""
    note: str = ""
    """Reason of the last change."""


class _PointerFormat(Struct):
    """Format number of a pointer file, read before its other fields."""

    format: int


@dataclass(frozen=True)
class VersionInfo:
    """Version in the registry, for lists."""

    version: str
    model: str
    created: str
    items: int
    role: str
    """live, canary, shadow, or empty."""


class ModelRegistry:
    """Folder of versions. The first promotion creates it."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def at(cls, folder: Path) -> "ModelRegistry | None":
        """Return the registry in a folder; None if the folder is no registry."""
        return cls(folder) if (Path(folder) / POINTER).exists() else None

    def path(self, version: str) -> Path:
        """Return the folder of a version.

        Raises:
            ValueError: the registry has no such version.
        """
        path = self.folder / "versions" / version
        if not version.isalnum() or not (path / artifact.MANIFEST).is_file():
            raise ValueError(f"{self.folder} has no version '{version}': 'segue models {self.folder}' lists them.")
        return path

    def add(self, run: Path) -> str:
        """Copy an artifact into the registry, record its golden requests, and return its version. Safe to repeat.

        Raises:
            ValueError: the folder is not a sound artifact, or its lists fail the self-test.
        """
        loaded = artifact.load(run)
        golden = golden_requests.record_golden(ServedModel.open(run))
        target = self.folder / "versions" / loaded.version
        atomic_files.make_folder(target.parent)
        if not target.exists():
            copy = target.with_name(f".{loaded.version}-{uuid.uuid4().hex}")
            try:
                shutil.copytree(run, copy)
                for path in (*copy.iterdir(), copy):
                    atomic_files.fsync_folder(path)
                if artifact.load(copy).version != loaded.version:
                    raise ValueError(f"{run} changed while it was copied: promote it again.")
                os.replace(copy, target)
                atomic_files.fsync_folder(target.parent)
            finally:
                shutil.rmtree(copy, ignore_errors=True)
        atomic_files.write(self._golden(loaded.version), [msgspec.json.encode(golden)])
        return loaded.version

    def open(self, version: str) -> ServedModel:
        """Load a version and run its self-test.

        Raises:
            ValueError: the version is missing or changed, or its lists differ from the recorded ones.
        """
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
        """Read the pointer file.

        Raises:
            ValueError: nothing is deployed, or the file is damaged or has another format.
        """
        path = self.folder / POINTER
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ValueError(f"{self.folder} is not a registry of models: 'segue promote' makes one.") from None
        try:
            stored_format = msgspec.json.decode(content, type=_PointerFormat).format
            if stored_format == POINTER_FORMAT:
                return msgspec.json.decode(content, type=Pointer)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path} is not a registry's pointer: {error}.") from None
        cure = f"delete the file and promote again ('segue promote {self.folder} RUN')"
        if stored_format > POINTER_FORMAT:
            cure = "update Segue"
        raise ValueError(
            f"{path} has format {stored_format}; this version of Segue reads format {POINTER_FORMAT}: {cure}."
        )

    def promote(
        self, version: str, *, canary: float = 0.0, interleave: float = 0.0, shadow: bool = False, note: str = ""
    ) -> Pointer:
        """Deploy a version after its self-test: live for all users, for a share of them, or as shadow.

        Args:
            version: a version in the registry.
            canary: share of the users who get its lists, 0 to 1.
            interleave: share of the users whose lists are interleaved from the live version and it, 0 to 1.
            shadow: score live requests with it without sending its lists.
            note: reason, kept in the pointer.

        Raises:
            ValueError: the version fails its self-test, or the shares are invalid. Nothing has changed then.
        """
        is_canary = canary > 0 or interleave > 0
        if not (0 <= canary <= 1 and 0 <= interleave <= 1 and canary + interleave <= 1):
            raise ValueError(f"Shares lie between 0 and 1 together, got canary {canary} and interleave {interleave}.")
        if is_canary and shadow:
            raise ValueError("A version is sent to users (canary, interleave) or not (shadow), not both at once.")
        self.open(version)
        with self._lock():
            old = self.pointer() if (self.folder / POINTER).exists() else None
            if old is None:
                if is_canary or shadow:
                    raise ValueError(f"{self.folder} has no live version yet: promote one for all users first.")
                return self._write(Pointer(POINTER_FORMAT, 1, DeploymentSpec(version), note=note))
            spec = old.current
            if shadow:
                spec = replace(spec, shadow=version)
            elif is_canary:
                if version == spec.live:
                    raise ValueError(f"Version {version} is the live one: there is nothing to compare it with.")
                spec = replace(spec, canary=version, canary_share=canary, interleave_share=interleave)
            else:
                spec = DeploymentSpec(version, shadow=None if spec.shadow == version else spec.shadow)
            return self._change(old, spec, [*old.previous, old.current], note)

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """Restore the deployment before the last change.

        Args:
            note: reason, kept in the pointer.
            generation: roll back only if this is still the current generation, and otherwise change nothing; None:
                always roll back.

        Raises:
            ValueError: there is no previous deployment.
        """
        with self._lock():
            old = self.pointer()
            if generation is not None and old.generation != generation:
                return old
            if not old.previous:
                raise ValueError(f"{self.folder} has had only one deployment: there is nothing to roll back to.")
            return self._change(old, old.previous[-1], old.previous[:-1], note)

    def versions(self) -> list[VersionInfo]:
        """Return every version, newest first.

        Raises:
            ValueError: a version is damaged.
        """
        spec = self.pointer().current
        roles = {spec.shadow: "shadow", spec.canary: "canary", spec.live: "live"}
        versions = []
        for path in sorted((self.folder / "versions").iterdir()):
            if (path / artifact.MANIFEST).is_file() and not path.name.startswith("."):
                loaded = artifact.load(path)
                created = str(loaded.about.get("created", ""))
                role = roles.get(loaded.version, "")
                versions.append(VersionInfo(loaded.version, loaded.model, created, len(loaded.catalog), role))
        return sorted(versions, key=lambda info: info.created, reverse=True)

    def _change(self, old: Pointer, spec: DeploymentSpec, previous: Sequence[DeploymentSpec], note: str) -> Pointer:
        return self._write(Pointer(POINTER_FORMAT, old.generation + 1, spec, list(previous)[-_MAX_PREVIOUS:], note))

    def _write(self, pointer: Pointer) -> Pointer:
        atomic_files.write(self.folder / POINTER, [msgspec.json.format(msgspec.json.encode(pointer))])
        return pointer

    def _golden(self, version: str) -> Path:
        return self.folder / "versions" / f"{version}.golden.json"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the registry's lock; the kernel releases it with the process."""
        atomic_files.make_folder(self.folder)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
