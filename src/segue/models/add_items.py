"""Items that nobody has taken yet, in a model that knows what items are like: each placed by its facts.

Shape letters: V catalog size with PAD, D width, F items without a past, K neighbors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.features.encoding import FeatureConfig, FeatureEncoding, ItemFeatures
from segue.models.artifact import Artifact
from segue.models.counting.covisitation import CoVisit
from segue.models.loading import restore_model
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.feature_embeddings import FeatureEmbeddings, fit_feature_embeddings
from segue.models.neural.neural_scorer import NeuralScorer, normalize_rows
from segue.models.scorer import Scorer
from segue.models.sparse_rows import SparseRows

NUM_NEIGHBORS = 10
"""So many of the nearest known items stand in where a new item's events would be counted."""


def add_rows_for_items(scorer: Scorer, rows: Sequence[Mapping[str, Any]]) -> Scorer:
    """The same model with more items behind its own, by what is known of each (column -> value).

    ValueError for a model that learned from no facts about items.
    """
    prior = scorer.prior if isinstance(scorer, WithCovisitationPrior) else None
    network = scorer.inner if isinstance(scorer, WithCovisitationPrior) else scorer
    if not isinstance(network, NeuralScorer) or network.sides.features is None:
        raise ValueError(
            f"This {scorer.name} learned from no facts about items, so it cannot place one that nobody has taken: "
            "train a network with features."
        )
    wider = network.with_rows(network.sides.features.of(rows))
    if prior is None or not isinstance(scorer, WithCovisitationPrior):
        return wider
    fresh_F = np.arange(network.size, wider.size)
    return WithCovisitationPrior(
        wider, rows_from_neighbors(extend_rows(prior, len(rows)), wider.vectors_VD, fresh_F), scorer.weight
    )


def embeddings_for_new_items(
    network: NeuralScorer, known: tuple[FeatureConfig, ItemFeatures | None] | None, counts_V: np.ndarray
) -> NeuralScorer:
    """The network as it is, unless it is ``known`` to use features for placing alone: then with a regression of its
    items' rows on them. What has no event (``counts_V``) gets the row that its features say, all others keep theirs."""
    config, facts = known or (FeatureConfig(), None)
    if facts is None or not config.features or config.feature_use != "placing":
        return network
    seen_V = counts_V > 0
    encoding = FeatureEncoding.fit(facts, seen_V.astype(np.int64), config.features, config)
    table_VD = network.table_VD
    told = FeatureEmbeddings(
        encoding, fit_feature_embeddings(encoding.of_catalog(facts).where(seen_V), table_VD, config.ridge)
    )
    rows_VD = np.where(seen_V[:, None], table_VD, told.table(facts))
    rows_VD[PAD] = table_VD[PAD]
    return network.with_table(rows_VD, replace(network.sides, features=told))


def add_items(artifact: Artifact, items: Mapping[str, Mapping[str, Any]]) -> Artifact:
    """The artifact with more items, id -> column -> value; those that its catalog has already stay as they are."""
    fresh = {item: facts for item, facts in items.items() if item not in artifact.catalog}
    if not fresh:
        return artifact
    scorer = add_rows_for_items(restore_model(artifact), list(fresh.values()))
    shown = {item: dict(facts) for item, facts in fresh.items()}
    catalog = Catalog([*artifact.catalog.ids, *fresh])
    return replace(artifact, catalog=catalog, arrays=scorer.arrays(), items={**artifact.items, **shown})


def extend_rows(prior: CoVisit, count: int) -> CoVisit:
    """The rule over ``count`` more items, which it has never seen."""
    near = prior.near
    offsets = np.concatenate([near.offsets, np.full(count, near.offsets[-1])])
    popularity_V = np.concatenate([prior.popularity_V, np.zeros(count, dtype=np.float32)])
    return CoVisit(SparseRows(offsets, near.columns, near.values), popularity_V, prior.decay)


def with_rows_for_cold_items(prior: CoVisit, scorer: Scorer) -> CoVisit:
    """The rule, with a guess for items that were never seen where the network has one."""
    if not isinstance(scorer, NeuralScorer) or scorer.sides.features is None:
        return prior
    return rows_from_neighbors(prior, scorer.vectors_VD, np.arange(1, scorer.size))


def rows_from_neighbors(prior: CoVisit, vectors_VD: np.ndarray, fresh_F: np.ndarray) -> CoVisit:
    """The rule in which items that were never seen are counted like the mean of their nearest neighbors by cosine.

    Counting knows nothing of them, and in a blend with a network that does know, nothing would be a verdict.
    With P the identity on seen items and the averages of others, W becomes P W P^T.
    """
    from scipy import sparse

    seen_V = prior.popularity_V > 0
    known = np.flatnonzero(seen_V)
    fresh_F = fresh_F[~seen_V[fresh_F]]
    count = min(NUM_NEIGHBORS, len(known))
    if len(fresh_F) == 0 or count == 0:
        return prior
    keys_VD = normalize_rows(vectors_VD)
    near_FK = np.empty((len(fresh_F), count), dtype=np.int64)
    for start in range(0, len(fresh_F), 1024):
        likeness = keys_VD[fresh_F[start : start + 1024]] @ keys_VD[known].T
        near_FK[start : start + 1024] = known[np.argpartition(-likeness, count - 1, axis=1)[:, :count]]
    size = prior.size
    rows = np.concatenate([known, np.repeat(fresh_F, count)])
    columns = np.concatenate([known, near_FK.ravel()])
    values = np.concatenate([np.ones(len(known)), np.full(near_FK.size, 1.0 / count)]).astype(np.float32)
    share = sparse.csr_array((values, (rows, columns)), shape=(size, size))
    near = prior.near
    matrix = sparse.csr_array((near.values, near.columns, near.offsets), shape=(size, size))
    popularity_V = (share @ prior.popularity_V).astype(np.float32)
    return CoVisit(SparseRows.from_scipy(share @ matrix @ share.T), popularity_V, prior.decay)
