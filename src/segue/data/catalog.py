"""Catalog: item ids and their dense indices. Sole owner of PAD, the index of no item.

Shape letters used in all of Segue: B batch of histories, T time step, D hidden size, V catalog size with PAD,
K list length, N flat events.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

PAD = 0
"""Index of no item: padding of a batch, filler of a short list, an id outside the catalog."""
_NOT_IN_ID = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Catalog:
    """Items that a model can recommend: index i in 1..V-1 is ``ids[i - 1]``; index 0 is PAD.

    Ids are compared as exact strings: no case folding, no Unicode normalization, so that no two ids ever merge.

    Args:
        ids: distinct ids in index order.

    Raises:
        ValueError: an id occurs twice.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: tuple[str, ...] = tuple(ids)
        self._index = {item: i for i, item in enumerate(self.ids, start=1)}
        if len(self._index) != len(self.ids):
            seen: set[str] = set()
            duplicate = next(item for item in self.ids if item in seen or seen.add(item))  # type: ignore[func-returns-value]
            raise ValueError(f"A catalog needs each id once, but {duplicate!r} occurs twice.")

    @property
    def size(self) -> int:
        """V: number of items plus one for PAD; the width of every score row."""
        return len(self.ids) + 1

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item: object) -> bool:
        return item in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self.ids == other.ids

    __hash__ = None  # type: ignore[assignment]

    def to_indices(self, items: Iterable[str]) -> np.ndarray:
        """Return the int32 index of each id; PAD for an id outside the catalog."""
        return np.array(self.to_indices_list(items), dtype=np.int32)

    def to_indices_list(self, items: Iterable[str]) -> list[int]:
        """Return the index of each id as plain integers, which is faster for the few items of a request."""
        get = self._index.get
        return [get(item, PAD) for item in items]

    def to_ids(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        """Return the ids of indices, without the PAD entries."""
        return [self.ids[i - 1] for i in np.asarray(indices).tolist() if i != PAD]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the ids in order: catalogs with equal fingerprints have equal indices."""
        digest = hashlib.sha256()
        for item in self.ids:
            raw = item.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the ids as a JSON list."""
        path.write_text(json.dumps(list(self.ids)), encoding="ascii")

    @classmethod
    def decode(cls, ids: object, path: Path) -> "Catalog":
        """Return the catalog of decoded JSON.

        Args:
            ids: value of the file.
            path: the file, for messages.

        Raises:
            ValueError: no list of distinct ids, or an id that no log can hold.
        """
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise ValueError(f"{path} is not a catalog: it must be a JSON list of strings.")
        if "" in ids or _NOT_IN_ID.search("".join(ids)):
            raise ValueError(f"{path} is not a catalog: an id is empty, or holds a control character.")
        return cls(ids)
