"""The pipeline's file: read as it is written, refused in a sentence."""

import re

import pytest

from segue.pipeline import config
from segue.pipeline.config import BlendConfig, RankConfig, SourceConfig, decode_pipeline, read_pipeline


def test_the_example_in_the_module_is_a_pipeline(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text(config.__doc__.partition("::")[2].replace("\n    ", "\n"), encoding="utf-8")
    read = read_pipeline(path)
    assert [one.display_name for one in read.source] == ["gru4rec", "covisit", "trend"]
    assert read.source[0].settings == {"embedding_dim": 64}
    assert (read.source[2].num_candidates, read.source[2].max_events) == (50, 2)
    assert (read.blend.method, read.rank.method) == ("learned", "auto")


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text("[[source]\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path} is not TOML: ")):
        read_pipeline(path)
    path.write_text("[[source]]\nmodel = 'covisit'\ntakes = 3\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=re.escape(f"{path}: Unknown setting 'source[0].takes'. Known settings: index,")
    ):
        read_pipeline(path)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"source": []}, "A pipeline needs at least one [[source]]."),
        ({"source": [{}]}, "Setting 'source[0].model' is missing; it must be str."),
        (
            {"source": [{"model": "covisit"}] * 2},
            "Two sources are called covisit: give one of them another name.",
        ),
        (
            {"source": [{"model": "covisit"}], "blend": {"weights": {"trend": 2}}},
            "blend.weights names trend, which is no source. The sources: covisit.",
        ),
        (
            {"source": [{"model": "covisit", "index": "annoy"}]},
            "Setting 'source[0].index' must be one of 'exact', 'approximate', got 'annoy'.",
        ),
    ],
)
def test_settings_of_no_pipeline(values, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        decode_pipeline(values)


@pytest.mark.parametrize(
    ("config", "values", "sentence"),
    [
        (
            SourceConfig,
            {"model": "a", "num_candidates": 0},
            "The source a: num_candidates must be at least 1, got 0.",
        ),
        (
            SourceConfig,
            {"model": "a", "max_history": 0},
            "The source a: max_history must be at least 1, or none, got 0.",
        ),
        (
            SourceConfig,
            {"model": "a", "session_gap_s": 0.0},
            "The source a: session_gap_s must be above 0, or none, got 0.0.",
        ),
        (
            SourceConfig,
            {"model": "a", "min_events": 3, "max_events": 2},
            "The source a serves no user: min_events is 3, max_events 2.",
        ),
        (BlendConfig, {"constant": 0.0}, "constant must be above 0, got 0.0."),
        (BlendConfig, {"num_candidates": 0}, "num_candidates must be at least 1, got 0."),
        (BlendConfig, {"ridge": 0.0}, "ridge must be above 0, got 0.0."),
        (BlendConfig, {"cohorts": (1, 3)}, "cohorts must begin with 0 and rise, got [1, 3]."),
        (BlendConfig, {"cohorts": (0, 3, 3)}, "cohorts must begin with 0 and rise, got [0, 3, 3]."),
        (BlendConfig, {"weights": {"a": -1}}, "The weight of a must be a number of at least 0, got -1."),
        (RankConfig, {"max_trees": 0}, "max_trees must be at least 1, got 0."),
        (RankConfig, {"max_cases": 9}, "max_cases must be at least 10, got 9."),
        (RankConfig, {"learning_rate": 0.0}, "learning_rate must be above 0 and at most 1, got 0.0."),
    ],
)
def test_a_wrong_number_is_refused(config, values, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        config(**values)
