"""Recipes: every one can be trained and names its source."""

import pytest

from segue.config.decode import decode_settings, split_by_config
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.recipes import RECIPES, find_recipe
from segue.models.zoo import ZOO, NeuralEntry
from segue.training.config import TrainingConfig


@pytest.mark.parametrize("name", RECIPES)
def test_settings_of_a_recipe_are_settings_of_its_model(name: str) -> None:
    recipe = find_recipe(name)
    entry = ZOO[recipe.model]
    assert isinstance(entry, NeuralEntry)
    shares = split_by_config(recipe.settings, {"model": entry.config, "training": TrainingConfig})
    config = decode_settings(entry.config, shares["model"])
    training = decode_settings(TrainingConfig, {**entry.training, **shares["training"]})
    assert config.covisitation_weight == 0.0 and not config.spectral_init and config.temperature is None
    assert training.patience >= 10
    assert recipe.source


def test_gru4rec_is_trained_as_published() -> None:
    """Sessions in time order, one event per step, Adagrad at a constant rate, no gradient clipping."""
    for name, parallel_sessions, loss in (("gru4rec-rsc15", 32, "sampled"), ("gru4rec-diginetica", 128, "bpr-max")):
        shares = split_by_config(find_recipe(name).settings, {"model": GRU4RecConfig, "training": TrainingConfig})
        config = decode_settings(GRU4RecConfig, shares["model"])
        training = decode_settings(TrainingConfig, shares["training"])
        assert (config.cell, config.input_embedding, config.num_layers) == ("gru", "shared", 1)
        assert (training.parallel_sessions, training.bptt_steps, training.session_order) == (
            parallel_sessions,
            1,
            "time",
        )
        assert (training.optimizer, training.schedule, training.max_grad_norm) == ("adagrad", "constant", None)
        assert (training.loss, training.num_negatives, training.negative_source) == (loss, 2048, "mixed")


def test_an_unknown_recipe_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError) as error:
        find_recipe("esasrek")
    assert str(error.value) == f"There is no recipe 'esasrek'. Known recipes: {', '.join(RECIPES)}."
