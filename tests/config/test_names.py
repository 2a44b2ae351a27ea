"""Names of models and protocols, as users write them."""

import pytest

from segue.config.names import normalize_name


@pytest.mark.parametrize("name", ["item-knn", "Item_KNN", " ITEM-knn\n"])
def test_case_and_underscores_do_not_count(name: str) -> None:
    assert normalize_name(name) == "item-knn"
