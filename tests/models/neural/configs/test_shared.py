"""Settings that the networks share."""

from dataclasses import fields

import pytest

from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.configs.shared import NetworkConfig, TimedNetworkConfig
from segue.models.rankers.ranker import RANKERS
from segue.models.rankers.ranker_config import RankerConfig
from segue.models.zoo import ZOO, NeuralEntry

NETWORKS = {name: entry.config for name, entry in ZOO.items() if isinstance(entry, NeuralEntry)}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_the_shared_settings_first_with_their_defaults(name):
    config = NETWORKS[name]
    assert issubclass(config, NetworkConfig)
    shared = [(field.name, field.default) for field in fields(NetworkConfig)]
    assert [(field.name, field.default) for field in fields(config)][: len(shared)] == shared


def test_all_networks_but_two_can_read_times():
    assert {name for name, c in NETWORKS.items() if not issubclass(c, TimedNetworkConfig)} == {"bert4rec", "seq2seq"}


@pytest.mark.parametrize("name", RANKERS)
def test_every_ranker_has_the_shared_settings(name):
    config = RANKERS[name].config()
    assert isinstance(config, RankerConfig)
    assert (config.embedding_dim, config.max_length, config.dropout, config.spectral_init) == (32, 20, 0.2, True)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"embedding_dim": 0}, "embedding_dim must be at least 1, got 0."),
        ({"max_length": 0}, "max_length must be at least 1, got 0."),
        ({"covisitation_weight": -1.0}, "covisitation_weight must be at least 0, or none, got -1.0."),
        ({"time_inputs": ("gap", "gap")}, "time_inputs must not name an input twice, got gap, gap."),
    ],
)
@pytest.mark.parametrize("config", [SASRecConfig, GRU4RecConfig])
def test_impossible_settings_are_refused(config, values, sentence):
    with pytest.raises(ValueError) as error:
        config(**values)
    assert str(error.value) == sentence


@pytest.mark.parametrize(("name", "columns"), [("shared", 0), ("separate", 8), ("one-hot", 24)])
def test_input_columns_of_gru4rec(name, columns):
    assert GRU4RecConfig(embedding_dim=8, input_embedding=name).num_input_columns == columns
