"""Catalog of a served pipeline, which new items join behind those of the model."""

from collections.abc import Iterable

from segue.data.catalog import PAD, Catalog


class GrowingCatalog(Catalog):
    """Catalog of a model with added items behind its own; an index never changes. Safe to use from several threads."""

    def __init__(self, base: Catalog, added: Iterable[str] = ()) -> None:
        """Make a catalog.

        Args:
            base: catalog of the model, shared and unchanged.
            added: distinct ids that ``base`` does not hold.
        """
        new_ids = tuple(added)
        self.base = base
        self._index = base._index
        self._added = dict(zip(new_ids, range(base.size, base.size + len(new_ids)), strict=True))
        self.ids = (*base.ids, *new_ids) if new_ids else base.ids

    @property
    def added(self) -> list[str]:
        """Return the ids of the added items, in index order."""
        return list(self._added)

    @property
    def has_added(self) -> bool:
        """True if an item has joined the model's own."""
        return bool(self._added)

    def grown(self, ids: Iterable[str]) -> "GrowingCatalog":
        """Return a catalog with more items; this one is unchanged. ``ids`` are new and distinct."""
        return GrowingCatalog(self.base, [*self._added, *ids])

    def adopt(self, other: "GrowingCatalog") -> None:
        """Take over the items of a catalog that was grown from this one."""
        self.ids = other.ids  # first: another thread that finds an index must find its id
        self._added = other._added

    def __contains__(self, item: object) -> bool:
        return item in self._index or item in self._added

    def to_indices_list(self, items: Iterable[str]) -> list[int]:
        """Return the index of each id; PAD for an id outside the catalog. See ``Catalog.to_indices_list``."""
        added = self._added
        if not added:
            return super().to_indices_list(items)
        ids = list(items)
        indices = super().to_indices_list(ids)
        if PAD not in indices:
            return indices
        return [index or added.get(item, PAD) for item, index in zip(ids, indices, strict=True)]
