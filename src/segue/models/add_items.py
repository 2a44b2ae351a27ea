"""Cold items: rows for items without events, from their features and from their nearest neighbors.

Shape letters: V catalog size with PAD, D width, F cold items, K neighbors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.features.encoding import FeatureConfig, FeatureEncoding
from segue.data.training_data import SideData
from segue.models.artifact import Artifact
from segue.models.counting.covisitation import CoVisit
from segue.models.loading import restore_model
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.feature_embeddings import FeatureEmbeddings, fit_feature_embeddings
from segue.models.neural.neural_scorer import NeuralScorer, find_network
from segue.models.numpy_layers import normalize_rows
from segue.models.scorer import Scorer
from segue.models.sparse_rows import SparseRows

NUM_NEIGHBORS = 10
"""Number of nearest known items whose co-visitation counts stand in for those of a cold item."""


def add_rows_for_items(scorer: Scorer, rows: Sequence[Mapping[str, Any]]) -> Scorer:
    """Extend a model by new items, placed by their features.

    Args:
        scorer: a neural model that was trained with item features.
        rows: features of each new item (column -> value).

    Returns:
        The model of a larger catalog; the scores of the known items are unchanged.

    Raises:
        ValueError: the model has no item features.
    """
    prior = scorer.prior if isinstance(scorer, WithCovisitationPrior) else None
    network = find_network(scorer)
    if network is None or network.side_information.features is None:
        raise ValueError(
            f"This {scorer.name} was trained without item features, so it cannot score new items: train a neural model "
            "with features."
        )
    extended = network.with_rows(network.side_information.features.embed_rows(rows))
    if prior is None or not isinstance(scorer, WithCovisitationPrior):
        return extended
    new_F = np.arange(network.size, extended.size)
    return WithCovisitationPrior(
        extended,
        rows_from_neighbors(extend_rows(prior, len(rows)), extended.input_embeddings_VD, new_F),
        scorer.weight,
    )


def embeddings_for_new_items(network: NeuralScorer, side_data: SideData | None, counts_V: np.ndarray) -> NeuralScorer:
    """Give items without events the embedding that a regression on features predicts, if ``feature_use`` is 'placing'.

    Args:
        network: a trained model.
        side_data: feature settings and the items table; None: no features.
        counts_V: number of training events of each item; items with events keep their embeddings.

    Returns:
        The model with the regression and the new embeddings; ``network`` itself for any other ``feature_use``.
    """
    config, item_features = side_data or (FeatureConfig(), None)
    if item_features is None or not config.features or config.feature_use != "placing":
        return network
    has_events_V = counts_V > 0
    encoding = FeatureEncoding.fit(item_features, has_events_V.astype(np.int64), config.features, config)
    table_VD = network.table_VD
    regression = FeatureEmbeddings(
        encoding,
        fit_feature_embeddings(encoding.encode_catalog(item_features).masked(has_events_V), table_VD, config.ridge),
    )
    rows_VD = np.where(has_events_V[:, None], table_VD, regression.embed_table(item_features))
    rows_VD[PAD] = table_VD[PAD]
    return network.with_table(rows_VD, replace(network.side_information, features=regression))


def add_items(artifact: Artifact, items: Mapping[str, Mapping[str, Any]]) -> Artifact:
    """Add items to the model and the catalog of an artifact.

    Args:
        artifact: a neural model that was trained with item features.
        items: item id -> column -> value; items of the catalog are left unchanged.

    Returns:
        The larger artifact; ``artifact`` itself if no item is new.

    Raises:
        ValueError: the model has no item features.
    """
    new_items = {item: dict(row) for item, row in items.items() if item not in artifact.catalog}
    if not new_items:
        return artifact
    scorer = add_rows_for_items(restore_model(artifact), list(new_items.values()))
    catalog = Catalog([*artifact.catalog.ids, *new_items])
    return replace(artifact, catalog=catalog, arrays=scorer.arrays(), items={**artifact.items, **new_items})


def extend_rows(prior: CoVisit, count: int) -> CoVisit:
    """Extend a co-visitation model by items without counts.

    Args:
        prior: a co-visitation model.
        count: number of items to add.
    """
    weights = prior.pair_weights
    offsets = np.concatenate([weights.offsets, np.full(count, weights.offsets[-1])])
    popularity_V = np.concatenate([prior.popularity_V, np.zeros(count, dtype=np.float32)])
    return CoVisit(SparseRows(offsets, weights.columns, weights.values), popularity_V, prior.decay)


def with_rows_for_cold_items(prior: CoVisit, scorer: Scorer) -> CoVisit:
    """Return the co-visitation model with rows for items without events, if the neural model has item features.

    Args:
        prior: a co-visitation model.
        scorer: the model it is combined with.

    Returns:
        ``rows_from_neighbors`` by the item embeddings of ``scorer``; ``prior`` itself without features.
    """
    if not isinstance(scorer, NeuralScorer) or scorer.side_information.features is None:
        return prior
    return rows_from_neighbors(prior, scorer.input_embeddings_VD, np.arange(1, scorer.size))


def rows_from_neighbors(prior: CoVisit, item_embeddings_VD: np.ndarray, cold_F: np.ndarray) -> CoVisit:
    """Give cold items the mean co-visitation counts of their nearest known items by cosine.

    Without them the prior would push cold items down in the sum with a neural model that can score them. With P the
    identity on known items and the averages for the others, W becomes P W P^T.

    Args:
        prior: a co-visitation model.
        item_embeddings_VD: float32 [V, D].
        cold_F: item indices; those with events are left unchanged.

    Returns:
        The extended model; ``prior`` itself if no item is cold.
    """
    from scipy import sparse

    has_events_V = prior.popularity_V > 0
    known = np.flatnonzero(has_events_V)
    cold_F = cold_F[~has_events_V[cold_F]]
    count = min(NUM_NEIGHBORS, len(known))
    if len(cold_F) == 0 or count == 0:
        return prior
    keys_VD = normalize_rows(item_embeddings_VD)
    neighbors_FK = np.empty((len(cold_F), count), dtype=np.int64)
    for start in range(0, len(cold_F), 1024):
        similarity = keys_VD[cold_F[start : start + 1024]] @ keys_VD[known].T
        neighbors_FK[start : start + 1024] = known[np.argpartition(-similarity, count - 1, axis=1)[:, :count]]
    size, weights = prior.size, prior.pair_weights
    values = np.full(neighbors_FK.size, 1.0 / count, dtype=np.float32)
    average = sparse.csr_array((values, (np.repeat(cold_F, count), neighbors_FK.ravel())), shape=(size, size))
    matrix = sparse.csr_array((weights.values, weights.columns, weights.offsets), shape=(size, size))
    # P = I + average on items with events, and cold items have no counts: the large matrix is multiplied by small ones.
    rows = average @ matrix
    matrix = matrix + (rows + matrix @ average.T + rows @ average.T)
    popularity_V = (prior.popularity_V + average @ prior.popularity_V).astype(np.float32)
    return CoVisit(SparseRows.from_scipy(matrix), popularity_V, prior.decay)
