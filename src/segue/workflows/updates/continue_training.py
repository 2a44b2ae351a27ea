"""More training of a saved network on other events, under a larger catalog."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.data.features.encoding import FeatureConfig
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.add_items import with_rows_for_cold_items
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts

EPOCHS = 2
"""Epochs of an update."""


def continue_training(
    loaded: artifact.Artifact, config: Any, catalog: Catalog, sequences: Sequences, seed: int
) -> Scorer:
    """Continue the training of a saved network: two epochs at a third of the learning rate.

    Args:
        loaded: the network, whose ``items`` hold the features of all items.
        config: settings of the model.
        catalog: the larger catalog.
        sequences: events to train on, indexed by it.
        seed: random seed.
    """
    from segue.training.config import TrainingConfig
    from segue.training.expand_catalog import expand_net
    from segue.training.export import export_scorer
    from segue.training.trainer import Trainer

    notes: Mapping[str, Any] = loaded.about.get("notes", {})
    training = decode_settings(TrainingConfig, dict(notes.get("training") or {}))
    training = replace(training, epochs=EPOCHS, learning_rate=training.learning_rate / 3)
    features = decode_settings(FeatureConfig, dict(notes.get("features") or {}))
    net = expand_net(loaded, config, catalog, sequences, seed, features)
    Trainer(net, sequences, training, seed).run()
    network = export_scorer(loaded.model, net, item_counts(sequences, catalog.size))
    if features.feature_use == "placing":  # the embeddings that place new items were not trained on
        embeddings = FeatureEmbeddings.restore(loaded.arrays, "features")
        network = network.with_table(network.table_VD, replace(network.side_information, features=embeddings))
    scorer: Scorer = network
    if "prior.weight" in loaded.arrays:
        prior = CoVisit.fit(sequences, catalog.size, CoVisitConfig(decay=float(loaded.arrays["prior.decay"][0])))
        scorer = WithCovisitationPrior(
            scorer, with_rows_for_cold_items(prior, scorer), float(loaded.arrays["prior.weight"][0])
        )
    return scorer
