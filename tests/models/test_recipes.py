"""Recipes: every one can be trained, and says where it comes from."""

import pytest

from segue import settings
from segue.models.recipes import RECIPES, find_recipe
from segue.models.zoo import ZOO, Learned
from segue.training.config import TrainingConfig


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_for_a_network_that_takes_its_settings(name: str) -> None:
    recipe = find_recipe(name)
    entry = ZOO[recipe.model]
    assert isinstance(entry, Learned)
    shares = settings.distribute(recipe.settings, {"model": entry.config, "training": TrainingConfig})
    config = settings.decode(entry.config, shares["model"])
    training = settings.decode(TrainingConfig, {**entry.training, **shares["training"]})
    assert config.prior == 0.0 and not config.spectral_start and config.temperature is None
    assert training.patience >= 10 and training.learning_rate == 1e-3
    assert recipe.source


def test_an_unknown_recipe_is_answered_with_the_list() -> None:
    with pytest.raises(ValueError) as error:
        find_recipe("esasrek")
    assert str(error.value) == f"There is no recipe 'esasrek'. Known recipes: {', '.join(RECIPES)}."
