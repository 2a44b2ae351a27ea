"""Settings of a pipeline: its candidate sources, their blend, the ranker and the placements, in one TOML file.

::

    [[source]]                    # items that follow the user's latest events
    model = "gru4rec"
    settings = {embedding_dim = 64}

    [[source]]                    # items of sessions with the same items
    model = "covisit"

    [[source]]                    # rising items, for new users
    model = "trend"
    num_candidates = 50
    max_events = 2

    [blend]                       # one list, with weights fitted on validation
    method = "learned"

    [rank]                        # boosted trees where they are better there,
    method = "auto"               # then a click ranker with the best weight there
    model = "dual-gru"
    settings = {epochs = 4}

    [[placement]]                 # on the home page only cheap tea, a diverse list
    name = "home"
    rules = {filter = 'category == "tea" and price < 20'}
    rerank = {method = "mmr", column = "brand"}
    explore = {method = "epsilon", first_position = 4}
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from segue.config.decode import decode_settings
from segue.config.ranges import Range, check_ranges
from segue.pipeline.placements.diversification import DiversificationConfig
from segue.pipeline.placements.exploration import ExploreConfig
from segue.pipeline.placements.rules import RulesConfig


@dataclass(frozen=True)
class SourceConfig:
    """Settings of one source of candidates."""

    model: str
    """A model of the zoo, or a built-in source: again, new, content-knn, list."""
    name: str | None = None
    """Name of the source in responses; 'none': the model's name."""
    num_candidates: Annotated[int, Range(ge=1)] = 200
    """Number of candidates per request, at least 1."""
    max_history: Annotated[int, Range(ge=1)] | None = None
    """Number of newest events that the model receives, at least 1; 'none': the whole history."""
    session_gap_s: Annotated[float, Range(gt=0)] | None = None
    """Longest pause between two events of the current session, in seconds, above 0. The model receives the current
    session only; 'none': the whole history."""
    min_events: Annotated[int, Range(ge=0)] = 0
    """Smallest number of events of a user that the source serves, at least 0."""
    max_events: int | None = None
    """Largest number of events of a user that the source serves; 'none': no limit."""
    index: Literal["exact", "approximate"] = "exact"
    """Search for a network's nearest items; 'approximate' is used only where its recall is at least 0.99."""
    settings: dict = field(default_factory=dict)
    """Settings of the model."""

    def __post_init__(self) -> None:
        try:
            check_ranges(self)
        except ValueError as error:
            raise ValueError(f"The source {self.display_name}: {error}") from None
        if self.max_events is not None and self.max_events < self.min_events:
            raise ValueError(
                f"The source {self.display_name} serves no user: min_events is {self.min_events}, max_events "
                f"{self.max_events}."
            )

    @property
    def display_name(self) -> str:
        """Name of the source in responses."""
        return self.name or self.model


@dataclass(frozen=True)
class BlendConfig:
    """Settings of the blend of all sources' candidates into one list."""

    method: Literal["learned", "reciprocal-rank", "weighted"] = "learned"
    """'learned': weights fitted on validation; 'reciprocal-rank': sum of 1 / (constant + rank); 'weighted': weighted
    sum of scores scaled to [0, 1]."""
    weights: dict = field(default_factory=dict)
    """Weight of each source by its name for 'reciprocal-rank' and 'weighted', at least 0; 1 for a source that is not
    named."""
    constant: Annotated[float, Range(gt=0)] = 60.0
    """Constant of 'reciprocal-rank', above 0; a larger one gives the first ranks less weight over the others."""
    num_candidates: Annotated[int, Range(ge=1)] = 500
    """Largest number of candidates after the merge, the best by reciprocal rank; at least 1."""
    ridge: Annotated[float, Range(gt=0)] = 10.0
    """L2 penalty that pulls the weights of 'learned' to zero, in cases, above 0."""
    cohort_ridge: Annotated[float, Range(gt=0)] = 100.0
    """L2 penalty that pulls a cohort's weights to those of all users, in cases, above 0."""
    cohorts: tuple[int, ...] = (0, 1, 3, 10)
    """Smallest numbers of events of the cohorts of 'learned'; each cohort of users has its own weights."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.cohorts[:1] != (0,) or list(self.cohorts) != sorted(set(self.cohorts)):
            raise ValueError(f"cohorts must begin with 0 and rise, got {list(self.cohorts)}.")
        for name, weight in self.weights.items():
            if type(weight) not in (int, float) or not weight >= 0:
                raise ValueError(f"The weight of {name} must be a number of at least 0, got {weight!r}.")


@dataclass(frozen=True)
class RankConfig:
    """Settings of the ranking of the blended candidates."""

    method: Literal["auto", "none", "trees"] = "auto"
    """Boosted trees on top of the blend; 'auto': where they rank held-out validation cases better."""
    max_trees: Annotated[int, Range(ge=1)] = 60
    """Largest number of trees, at least 1; validation stops earlier."""
    max_depth: Annotated[int, Range(ge=1)] = 5
    """Largest depth of a tree, at least 1."""
    learning_rate: Annotated[float, Range(gt=0, le=1)] = 0.1
    """Factor on the correction of one tree, above 0 and at most 1."""
    min_leaf_size: Annotated[int, Range(ge=1)] = 200
    """Smallest number of candidates in a leaf, at least 1."""
    max_cases: Annotated[int, Range(ge=10)] = 4000
    """Largest number of validation cases that fit the blend and the trees, at least 10."""
    model: str | None = None
    """Click ranker of the second stage: pooled, din, dien or dual-gru, trained with the pipeline, or a folder that
    ``segue train-ranker`` wrote for the same log and protocol; 'none': no ranker."""
    num_candidates: Annotated[int, Range(ge=1)] = 200
    """Number of best candidates that the ranker scores, at least 1; the others stay behind them."""
    weight: Annotated[float, Range(ge=0)] | None = None
    """Weight of the ranker's log odds in the score, at least 0; 'none': the best on held-out validation cases, 0 where
    no weight is better there by more than its standard error."""
    settings: dict = field(default_factory=dict)
    """Settings of the ranker, of its training and of its examples, for a ranker that is trained with the pipeline."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.model is None and (self.settings or self.weight is not None):
            raise ValueError(
                "rank.settings and rank.weight belong to a ranker: name one as rank.model, such as 'dual-gru'."
            )


@dataclass(frozen=True)
class PlacementConfig:
    """Settings of one placement, a position on a page where a list is displayed."""

    name: str
    """Name of the placement in requests; "default" serves requests that name none."""
    rules: RulesConfig = field(default_factory=RulesConfig)
    """Filters, exclusions, boosts, pins and quotas."""
    rerank: DiversificationConfig = field(default_factory=DiversificationConfig)
    """Diversification of the list."""
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    """Random exploration at the end of the list."""


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of a whole pipeline."""

    source: tuple[SourceConfig, ...]
    """Each ``[[source]]``, in order."""
    blend: BlendConfig = field(default_factory=BlendConfig)
    """Blend of the sources."""
    rank: RankConfig = field(default_factory=RankConfig)
    """Ranking of the blended candidates."""
    placement: tuple[PlacementConfig, ...] = ()
    """Each ``[[placement]]``."""

    def __post_init__(self) -> None:
        placements = [placement.name for placement in self.placement]
        for name in placements:
            if placements.count(name) > 1:
                raise ValueError(f"Two placements are called {name}: write one [[placement]] for each.")
        names = [source.display_name for source in self.source]
        if not names:
            raise ValueError("A pipeline needs at least one [[source]].")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Two sources are called {name}: give one of them another name.")
        for name in self.blend.weights:
            if name not in names:
                raise ValueError(f"blend.weights names {name}, which is no source. The sources: {', '.join(names)}.")


def read_pipeline(path: Path) -> PipelineConfig:
    """Read the settings of a pipeline from a TOML file.

    Raises:
        ValueError: no TOML, or settings that ``decode_pipeline`` refuses; the message names the file.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}.") from None
    values.pop("log", None)  # for the reader of the log, see segue.data.readers.log_options
    return decode_pipeline(values, f"{path}: ")


def decode_pipeline(values: Mapping[str, Any], prefix: str = "") -> PipelineConfig:
    """Decode the settings of a pipeline.

    Args:
        values: settings as plain values.
        prefix: text before the message of an error, such as the file's name.

    Raises:
        ValueError: unknown setting, missing setting, wrong type or value.
    """
    try:
        return decode_settings(PipelineConfig, values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None
