"""Pointer file of a registry: the deployed versions, and the deployments before."""

from pathlib import Path

import msgspec
from msgspec import Struct

POINTER = "pointer.json"
POINTER_FORMAT = 2
"""Format number of the pointer file."""


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


def read_pointer(folder: Path) -> Pointer:
    """Read the pointer file of a registry.

    Raises:
        ValueError: nothing is deployed, or the file is damaged or has another format.
    """
    path = folder / POINTER
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{folder} is not a registry of models: 'segue promote' makes one.") from None
    try:
        stored_format = msgspec.json.decode(content, type=_PointerFormat).format
        if stored_format == POINTER_FORMAT:
            return msgspec.json.decode(content, type=Pointer)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not a registry's pointer: {error}.") from None
    cure = f"delete the file and promote again ('segue promote {folder} RUN')"
    if stored_format > POINTER_FORMAT:
        cure = "update Segue"
    raise ValueError(f"{path} has format {stored_format}; this version of Segue reads format {POINTER_FORMAT}: {cure}.")
