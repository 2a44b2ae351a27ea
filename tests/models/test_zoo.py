"""The zoo: names in any spelling, an error with the list of names, and which models are trained in passes."""

import pytest

from segue.config.decode import decode_settings
from segue.models.zoo import ZOO, ClassicEntry, find_model, is_neural


@pytest.mark.parametrize("spelling", ["session-knn", "session_knn", "Session-KNN"])
def test_a_name_is_found_in_any_spelling(spelling):
    assert find_model(spelling) is ZOO["session-knn"]


def test_an_unknown_name_is_refused_with_the_list():
    with pytest.raises(ValueError) as error:
        find_model("gru5rec")
    assert str(error.value) == f"There is no model 'gru5rec'. Known models: {', '.join(ZOO)}."


@pytest.mark.parametrize("name", ZOO)
def test_every_model_has_defaults(name):
    assert decode_settings(ZOO[name].config, {}) == ZOO[name].config()


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if isinstance(entry, ClassicEntry)])
def test_a_model_trained_in_passes_is_iterative(name):
    """Passes are a setting: ``iterations`` or ``epochs``."""
    entry = ZOO[name]
    assert entry.iterative == bool({"iterations", "epochs"} & set(entry.config.__dataclass_fields__))
    assert not is_neural(name)


def test_an_ensemble_with_a_neural_model_is_neural():
    assert is_neural("covisit+gru4rec") and not is_neural("covisit+markov")
