"""Availability of changed items: deleted, sold out, or neither."""

from typing import Any

from segue.config.flag_words import flag_words
from segue.serving.store.catalog_tables import LiveItem

AVAILABLE = "available"
"""Cell that every version obeys, whatever columns its items have: false or 0 hides an item from every list."""
STOCK = (AVAILABLE, "in_stock", "stock", "库存", "有货")
"""Cells that hide an item of a single model, which has no rules that name one."""


def is_available(item: LiveItem, *, single_model: bool) -> bool:
    """Return whether lists may hold an item.

    Args:
        item: the changed item.
        single_model: whether the version is a single model; the stock of a pipeline is the matter of its rules.
    """
    names = STOCK if single_model else (AVAILABLE,)
    return not item.deleted and not any(_is_none_left(item.cells.get(name)) for name in names)


def _is_none_left(cell: Any) -> bool:
    if isinstance(cell, str):
        return bool(flag_words([cell]).get(False))
    return cell is False or (isinstance(cell, int | float) and cell <= 0)
