"""Names of models, protocols and strategies as users write them."""


def normalize_name(name: str) -> str:
    """Return a name in lower case with '-' for '_', so that ``Item_KNN`` and ``item-knn`` are one name.

    >>> normalize_name(" Item_KNN ")
    'item-knn'
    """
    return name.strip().replace("_", "-").lower()
