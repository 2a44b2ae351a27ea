"""Model registry: versions of a model in a folder, and a pointer file that names the deployed versions.

``versions/VERSION`` holds each artifact, ``versions/VERSION.golden.json`` its lists for the golden requests when it was
added, and ``pointer.json`` the deployment. A change is one fsynced rename of the pointer: a reader sees the deployment
before or after it. Concurrent promotions take turns by a lock. A version is examined in a process of its own before it
is added, and before a process loads it for the first time.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec.structs import replace

from segue.models import artifact
from segue.serving.deployment import golden_requests
from segue.serving.deployment.candidate_examination import CandidateExaminer
from segue.serving.deployment.pointer import POINTER, POINTER_FORMAT, DeploymentSpec, Pointer, read_pointer
from segue.serving.inference.served_model import ServedModel
from segue.system import atomic_files
from segue.system.staged_folder import put_in_place, remove_remains, staged_folder

_MAX_PREVIOUS = 50


@dataclass(frozen=True)
class VersionInfo:
    """Version in the registry, for lists."""

    version: str
    model: str
    created: str
    items: int
    role: str
    """live, canary, shadow, or empty."""
    problem: str = ""
    """Reason that the version cannot be loaded; empty for a sound one."""


class ModelRegistry:
    """Folder of versions. The first promotion creates it."""

    def __init__(self, folder: Path, examiner: CandidateExaminer | None = None) -> None:
        """Make the registry of a folder.

        Args:
            folder: the folder; it need not exist yet.
            examiner: examiner of versions; None: one with the default limits.
        """
        self.folder = Path(folder)
        self.examiner = examiner or CandidateExaminer()

    @classmethod
    def at(cls, folder: Path, examiner: CandidateExaminer | None = None) -> "ModelRegistry | None":
        """Return the registry in a folder; None if the folder is no registry. See ``__init__`` for the parameters."""
        return cls(folder, examiner) if (Path(folder) / POINTER).exists() else None

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
        """Copy an artifact into the registry, examine the copy, and return its version. Safe to repeat.

        A version that is damaged in the registry is replaced by the copy.

        Raises:
            ValueError: the folder is not a sound artifact, or its lists fail the self-test.
        """
        version = artifact.version(run)
        target = self.folder / "versions" / version
        self._check_space(run)
        with staged_folder(target) as staged:
            artifact.copy(run, staged)
            if artifact.version(staged) != version:
                raise ValueError(f"{run} changed while it was copied: promote it again.")
            golden = self.examiner.examine(staged, name=run)
            recording = golden_requests.GoldenRecording(version, golden)
            with self._lock():
                is_new = not _is_sound(target, version)
                if is_new and not _is_sound(staged, version):
                    raise ValueError(f"{run} is damaged: its files are not those of version {version}.")
                atomic_files.write(self._golden(version), [msgspec.json.encode(recording)])
                if is_new:
                    put_in_place(staged, target)
        return version

    def _check_space(self, run: Path) -> None:
        """Raise a ValueError if an artifact does not fit on the disk of the registry: a sparse file has any size."""
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        size, free = artifact.num_bytes(run), shutil.disk_usage(folder).free
        if size > free:
            raise ValueError(f"{run} has {size / 1e6:,.0f} MB, and the disk of {folder} has {free / 1e6:,.0f} MB left.")

    def open(self, version: str) -> ServedModel:
        """Load a version and run its self-test.

        Raises:
            ValueError: the version is missing or changed, or its lists differ from the recorded ones.
        """
        path = self.path(version)
        self.examiner.examine(path)
        model = ServedModel.open(path)
        if model.version != version:
            raise ValueError(f"{path} holds version {model.version}: promote the model again.")
        try:
            recording = msgspec.json.decode(self._golden(version).read_bytes(), type=golden_requests.GoldenRecording)
        except (OSError, msgspec.DecodeError):
            raise ValueError(f"{self._golden(version)} is missing or damaged: promote the model again.") from None
        if recording.version != version:
            raise ValueError(f"{self._golden(version)} was recorded of version {recording.version}: promote it again.")
        golden_requests.check_golden(model, [*recording.requests, *golden_requests.expectations(self.folder)])
        return model

    def file_states(self) -> object:
        """Return None: a version in the registry does not change."""
        return None

    def close(self) -> None:
        """End an examination under way."""
        self.examiner.close()

    def clean(self) -> None:
        """Remove what killed processes left behind; without the permission to write, nothing happens."""
        with suppress(OSError), self._lock():
            remove_remains(self.folder / "versions")

    def pointer(self) -> Pointer:
        """Read the pointer file.

        Raises:
            ValueError: nothing is deployed, or the file is damaged or has another format.
        """
        return read_pointer(self.folder)

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
                if missing := self.missing_placements(version):
                    raise ValueError(
                        f"Version {version} has no placement '{missing[0]}', which the live version {spec.live} has: "
                        "its users would get lists without these rules."
                    )
                spec = replace(spec, canary=version, canary_share=canary, interleave_share=interleave)
            else:
                spec = DeploymentSpec(version, shadow=None if spec.shadow == version else spec.shadow)
            # A repetition must not hide the deployment before. It is a change all the same: for a repaired version.
            previous = old.previous if spec == old.current else [*old.previous, old.current]
            return self._change(old, spec, previous, note)

    def missing_placements(self, version: str) -> list[str]:
        """Return the placements of the live version that a version lacks; empty if one of the two cannot be read."""
        try:
            own = _placements(self.path(version))
            return [name for name in _placements(self.path(self.pointer().current.live)) if name not in own]
        except ValueError:
            return []

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
            previous = list(old.previous)
            while previous and previous[-1] == old.current:
                previous.pop()
            if not previous:
                raise ValueError(f"{self.folder} has had only one deployment: there is nothing to roll back to.")
            return self._change(old, previous[-1], previous[:-1], note)

    def versions(self) -> list[VersionInfo]:
        """Return every version, newest first, and those that cannot be loaded last.

        Raises:
            ValueError: the folder is no registry.
        """
        spec = self.pointer().current
        roles = {spec.shadow: "shadow", spec.canary: "canary", spec.live: "live"}
        versions = []
        for path in sorted((self.folder / "versions").iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            role = roles.get(path.name, "")
            try:
                loaded = artifact.load(path)
                if loaded.version != path.name:
                    raise ValueError(f"{path} holds version {loaded.version}: promote the model again.")
            except ValueError as error:
                versions.append(VersionInfo(path.name, "", "", 0, role, str(error)))
                continue
            created = str(loaded.about.get("created", ""))
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
        handle = os.open(self.folder / "lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for folder in (self.folder, self.folder / "versions"):
                for path in folder.glob("*.writing"):  # files are written under the lock only
                    path.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)


def _placements(folder: Path) -> list[str]:
    """Return the names of the placements that an artifact states; none for a single model."""
    pipeline = artifact.load(folder).settings.get("pipeline", {})
    return [placement["name"] for placement in pipeline.get("placement", ())]


def _is_sound(folder: Path, version: str) -> bool:
    """Return whether a folder holds a version with all its files undamaged."""
    try:
        return artifact.load(folder).version == version
    except ValueError:
        return False
