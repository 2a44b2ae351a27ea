"""Fixtures of the pipeline tests: a small tea shop, and a pipeline fitted on a ring of items."""

import pytest
from tests.support.ring import CONFIG, split_of

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import Split
from segue.data.sequences import Sequences
from segue.pipeline.config import PipelineConfig, decode_pipeline
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.item_statistics import ItemData
from segue.workflows.fit_result import FitResult
from segue.workflows.train_pipeline import fit_pipeline

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
def columns(catalog: Catalog) -> ItemColumns:
    return ItemColumns.from_items(ITEMS, catalog)


@pytest.fixture(scope="session")
def item_data(catalog: Catalog) -> ItemData:
    """Sencha four times, the pot twice, the others once each; unsold never. A day lies between events."""
    day = 86_400_000_000
    log = Sequences.from_lists([[1, 1, 1, 1], [2, 3, 3, 4, 5]], times=[[0, day, 2 * day, 3 * day], [0, 0, day, day, 0]])
    return ItemData.from_sequences(catalog, ITEMS, log)


@pytest.fixture(scope="session")
def split() -> Split:
    return split_of()


@pytest.fixture(scope="session")
def config() -> PipelineConfig:
    return decode_pipeline(CONFIG)


@pytest.fixture(scope="session")
def fitted_pipeline(split: Split, config: PipelineConfig) -> FitResult:
    """A pipeline with learned weights and trees in any case."""
    values = {**CONFIG, "rank": {**CONFIG["rank"], "method": "trees"}}
    return fit_pipeline(split, decode_pipeline(values))
