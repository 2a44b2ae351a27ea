"""Options that several commands share."""

import re

import pytest

from segue.cli.options import parse_lengths, parse_settings, with_features


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
            "'sasrec.dim' sets model 'sasrec', which is not among those to run: markov, popularity.",
        ),
        ("zzz=3", "Unknown setting 'zzz'. Settings of markov, popularity: "),
    ],
)
def test_a_setting_nobody_has_is_refused(assignment: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        parse_settings([assignment], ["markov", "popularity"])


def test_only_networks_get_columns_to_learn_from() -> None:
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
    with pytest.raises(ValueError, match=r"^Only networks learn from features, and covisit only counts\.$"):
        with_features({"covisit": {}}, "kind", "items.csv")
    with pytest.raises(ValueError, match=r"^Only networks learn from context, and covisit only counts\.$"):
        with_features({"covisit": {}}, None, None, "region")
