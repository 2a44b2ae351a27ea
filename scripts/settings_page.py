"""docs/reference/settings.md: a table of every settings class, made from its fields, ranges and field docstrings."""

import dataclasses
import types
import typing
from typing import Any, Literal


def settings() -> str:
    """Return docs/reference/settings.md: name, type, range, default and meaning of every setting."""
    from segue.data.features.encoding import FeatureConfig
    from segue.data.preprocessing import PreprocessingConfig
    from segue.data.readers.options import ReadOptions
    from segue.models.generation.strategy import Strategy
    from segue.models.zoo import ZOO, NeuralEntry
    from segue.training.config import TrainingConfig

    parts = [
        "# Settings",
        "",
        "Made by `scripts/make_docs.py` from the settings classes. A model's settings are given as `--set NAME=VALUE`,",
        "as keyword arguments of its Python class, or as `settings` of a pipeline's source. `none` is `None` in Python",
        'and the text `"none"` in TOML. A value outside its range is refused.',
        "",
        "[Reading](#reading) | [Models](#models) | [Neural models](#neural-models) | [Training](#training) |",
        "[Click rankers](#click-rankers) | [Pipeline](#pipeline) | [Serving](#serving)",
        "",
        "## Reading",
        "",
        *_table("ReadOptions", ReadOptions, "Options of `read_events`, of commands, and of the table `[log]` in TOML."),
        *_table("PreprocessingConfig", PreprocessingConfig, "`--trim` on the command line, plain names in `[log]`."),
        "## Models",
        "",
    ]
    for name, entry in ZOO.items():
        if not isinstance(entry, NeuralEntry):
            parts += _table(name, entry.config)
    parts += ["## Neural models", "", "Every neural model also takes the settings of [training](#training).", ""]
    for name, entry in ZOO.items():
        if isinstance(entry, NeuralEntry):
            changed = ", ".join(f"`{key}` {_plain(value)}" for key, value in entry.training.items())
            parts += _table(name, entry.config, f"Training defaults that differ: {changed}." if changed else "")
    parts += _table("FeatureConfig", FeatureConfig, "Item features and event contexts of a neural model.")
    parts += _table("Strategy", Strategy, "Generation of several next items (`segue recommend --steps`).")
    parts += ["## Training", "", *_table("TrainingConfig", TrainingConfig, "Training of every neural model.")]
    return "\n".join([*parts, *_click_rankers(), *_pipeline(), *_serving()]).rstrip() + "\n"


def _click_rankers() -> list[str]:
    from segue.models.rankers.dien import DIENConfig
    from segue.models.rankers.din import DINConfig
    from segue.models.rankers.dual_gru import DualGRUConfig
    from segue.models.rankers.pooled import PooledRankerConfig
    from segue.training.rankers.candidate_sampling import CandidateSamplingConfig
    from segue.training.rankers.config import RankerTrainingConfig

    rankers = {"pooled": PooledRankerConfig, "din": DINConfig, "dien": DIENConfig, "dual-gru": DualGRUConfig}
    parts = ["## Click rankers", "", "For `segue train-ranker --set` and a pipeline's `rank.settings`.", ""]
    for name, config in rankers.items():
        parts += _table(name, config)
    parts += _table("RankerTrainingConfig", RankerTrainingConfig, "Training of every click ranker.")
    return [*parts, *_table("CandidateSamplingConfig", CandidateSamplingConfig, "Training examples of a click ranker.")]


def _pipeline() -> list[str]:
    from segue.models.knn.content_knn import ContentKNNConfig
    from segue.pipeline import config
    from segue.pipeline.candidates.builtin_sources import FixedListConfig, NewItemsConfig, RepeatConfig
    from segue.pipeline.placements import diversification, exploration, quotas, rules

    parts = [
        "## Pipeline",
        "",
        "Tables of the TOML file that `segue pipeline` reads ([guide](../guide/pipeline.md)).",
        "",
    ]
    sections = {
        "[[source]]": config.SourceConfig,
        "Source again": RepeatConfig,
        "Source new": NewItemsConfig,
        "Source content-knn": ContentKNNConfig,
        "Source list": FixedListConfig,
        "[blend]": config.BlendConfig,
        "[rank]": config.RankConfig,
        "[[placement]]": config.PlacementConfig,
        "placement.rules": rules.RulesConfig,
        "placement.rules.pins": rules.Pin,
        "placement.rules.boosts": rules.Boost,
        "placement.rules.quotas": quotas.Quota,
        "placement.rules.freshness": rules.Freshness,
        "placement.rerank": diversification.DiversificationConfig,
        "placement.explore": exploration.ExploreConfig,
    }
    for title, section in sections.items():
        parts += _table(title, section)
    return parts


def _serving() -> list[str]:
    from segue.serving import config

    parts = [
        "## Serving",
        "",
        "Options of `segue.serving.server.serve`; `segue serve` sets those it has options for.",
        "",
    ]
    for section in (
        config.ServingConfig,
        config.AccessConfig,
        config.LoggingConfig,
        config.EngineConfig,
        config.BatchingConfig,
        config.SessionsConfig,
        config.AttributionConfig,
    ):
        parts += _table(section.__name__, section)
    return parts


def _table(title: str, config: type, sentence: str = "") -> list[str]:
    """Return the lines of one section.

    Args:
        title: heading, in code type.
        config: a settings dataclass.
        sentence: text below the summary; empty: none.
    """
    from segue.config.ranges import ranges_of
    from segue.estimators.settings_help import field_docs

    docs, ranges, hints = field_docs(config), ranges_of(config), typing.get_type_hints(config)
    summary = " ".join((config.__doc__ or "").split("\n\n")[0].split())
    lines = [f"### `{title}`", "", " ".join(text for text in (summary, sentence) if text), ""]
    lines += ["| setting | type | range | default | meaning |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(config):
        bounds = str(ranges[field.name]) if field.name in ranges else ""
        cells = [
            f"`{field.name}`",
            _type(hints[field.name]),
            bounds,
            _default(field),
            docs.get(field.name, "").replace("``", "`"),
        ]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return [*lines, ""]


def _type(hint: Any) -> str:
    """Return a type in words: the choices of a Literal, "list of ..." of a tuple, "or none" of an optional one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(part) for part in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if hint is dict or origin is dict or "Mapping" in str(origin):
        return "table"
    names = {type(None): "none", str: "text", bool: "true or false", int: "integer", float: "number"}
    return names.get(hint) or str(getattr(hint, "__name__", hint))


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return _plain(field.default)
    if field.default_factory is dataclasses.MISSING:
        return "required"
    made = field.default_factory()
    return f"`{type(made).__name__}`" if dataclasses.is_dataclass(made) else _plain(made)


def _plain(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if value is None:
        return "`none`"
    if value in ("", (), {}):
        return "empty"
    if isinstance(value, tuple):
        return ", ".join(_plain(part) for part in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
