"""Input of a training: events with the size of their catalog, and side data beside the events."""

from typing import NamedTuple

from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences


class TrainingData(NamedTuple):
    """Events to train on, and the catalog that indexes them."""

    sequences: Sequences
    """Events by user or session."""
    size: int
    """Catalog size V, PAD included."""


class SideData(NamedTuple):
    """Data that a net is trained on besides events."""

    config: FeatureConfig
    """Settings of item features and event contexts. The contexts themselves belong to the sequences."""
    item_features: ItemFeatures | None
    """Item features; None: no items table."""
