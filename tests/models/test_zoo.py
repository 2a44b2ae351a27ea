"""The table of models: names are found as people write them, and anything else is answered with the list."""

import pytest

from segue.config.decode import decode_settings
from segue.models.zoo import ZOO, find_model


@pytest.mark.parametrize("spelling", ["session-knn", "session_knn", "Session-KNN"])
def test_a_name_is_found_however_it_is_written(spelling):
    assert find_model(spelling) is ZOO["session-knn"]


def test_an_unknown_name_is_answered_with_the_list():
    with pytest.raises(ValueError) as error:
        find_model("gru5rec")
    assert str(error.value) == f"There is no model 'gru5rec'. Known models: {', '.join(ZOO)}."


@pytest.mark.parametrize("name", ZOO)
def test_every_model_can_be_used_without_a_setting(name):
    assert decode_settings(ZOO[name].config, {}) == ZOO[name].config()
