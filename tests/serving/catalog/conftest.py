"""Server of a pipeline whose catalog is changed while it runs."""

import pytest
from tests.support.shop_pipelines import save_pipeline


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A pipeline with placements that filter by price and by stock."""
    return save_pipeline("ranks", tmp_path_factory.mktemp("shop") / "run")


@pytest.fixture
def server(tmp_path, shop, open_server):
    with open_server(tmp_path / "data", shop) as running:
        yield running
