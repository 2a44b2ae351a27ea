"""Shared options: settings of models, and groups of options that a command receives as one dataclass."""

import inspect
import re
from typing import Any

import pytest

from segue.cli.main import COMMANDS
from segue.cli.options import LogOptions, expand_groups
from segue.cli.setting_options import parse_lengths, parse_settings, with_features


def test_a_plain_name_goes_to_every_model_that_has_it() -> None:
    values = parse_settings(["decay=0.7", "gru4rec.epochs=3", "embedding_dim=16"], ["covisit", "item-knn", "gru4rec"])
    assert values == {
        "covisit": {"decay": 0.7},
        "item-knn": {"decay": 0.7},
        "gru4rec": {"epochs": 3, "embedding_dim": 16},
    }


def test_lengths() -> None:
    assert parse_lengths("5,10, 20") == [5, 10, 20]


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        (
            "sasrec.embedding_dim=3",
            "'sasrec.embedding_dim' sets model 'sasrec', which is not among those to run: markov, popularity.",
        ),
        ("zzz=3", "Unknown setting 'zzz'. Settings of markov, popularity: "),
    ],
)
def test_a_setting_that_no_model_has_is_refused(assignment: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        parse_settings([assignment], ["markov", "popularity"])


def test_only_neural_models_get_features_and_context() -> None:
    values: dict[str, dict[str, object]] = {"covisit": {}, "gru4rec": {"embedding_dim": 8}}
    assert with_features(values, "kind, price", "items.csv", "region") == {
        "covisit": {},
        "gru4rec": {"features": ["kind", "price"], "contexts": ["region"], "embedding_dim": 8},
    }
    assert with_features(values, None, None) is values
    with pytest.raises(
        ValueError, match=r"^--features names columns of an items table: name the table with --items\.$"
    ):
        with_features(values, "kind", None)
    with pytest.raises(
        ValueError, match=r"^Only neural models are trained on features, and there is none in covisit\.$"
    ):
        with_features({"covisit": {}}, "kind", "items.csv")
    with pytest.raises(
        ValueError, match=r"^Only neural models are trained on context, and there is none in covisit\.$"
    ):
        with_features({"covisit": {}}, None, None, "region")
    with pytest.raises(
        ValueError, match=r"^Only neural models are trained on features, and there is none in bpr, ease\.$"
    ):
        with_features({"bpr": {}, "ease": {}}, "kind", "items.csv")


def test_a_group_of_options_reaches_the_command_as_one_object() -> None:
    received: list[Any] = []

    def command(name: str, *, reading: LogOptions, json: bool = False) -> None:
        received.append((name, reading, json))

    expanded = expand_groups(command)
    names = list(inspect.signature(expanded).parameters)
    assert names[:4] == ["name", "log_config", "format", "column"] and names[-2:] == ["rejected", "json"]
    values = {name: None for name in names[1:-1]}
    expanded(name="x", json=True, **{**values, "format": "csv", "where": "a > 1"})
    name, reading, json = received[0]
    assert (name, reading.format, reading.where, json) == ("x", "csv", "a > 1", True)


def test_commands_take_few_parameters() -> None:
    """One parameter for each group of options: 25 single ones hid the signature."""
    assert max(len(inspect.signature(inspect.unwrap(command)).parameters) for command, _ in COMMANDS) <= 12
