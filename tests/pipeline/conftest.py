"""A small tea shop."""

import pytest

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.pipeline.columns import Columns
from segue.pipeline.rules import Facts

ITEMS = {
    "sencha": {"category": "tea", "price": 12.0, "tags": ["gift", "green"], "in_stock": "true", "stock": 3},
    "assam": {"category": "tea", "price": 25, "tags": [], "in_stock": "false", "stock": 0, "was": 30},
    "pot": {"category": "Teapots", "price": 60.0, "tags": ["gift"], "in_stock": "true", "was": 60},
    "龙井": {"category": "tea", "价格": 88.0, "in_stock": "true", "unit price": 4.0},
    "mystery": {},
    "unsold": {"category": "cups", "price": 5.0, "released": "2026-07-01", "in_stock": "true"},
}


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog(ITEMS)


@pytest.fixture(scope="session")
def columns(catalog: Catalog) -> Columns:
    return Columns.of(ITEMS, catalog)


@pytest.fixture(scope="session")
def facts(catalog: Catalog) -> Facts:
    """Sencha four times, the pot twice, the others once each; unsold never. A day lies between events."""
    day = 86_400_000_000
    log = Sequences.from_lists([[1, 1, 1, 1], [2, 3, 3, 4, 5]], times=[[0, day, 2 * day, 3 * day], [0, 0, day, day, 0]])
    return Facts.of(catalog, ITEMS, log)
