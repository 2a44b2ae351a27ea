"""The pipeline's settings: which sources, how they are blended and ranked; one TOML file, read as it is written.

::

    [[source]]                    # what comes next after this person's latest events,
    model = "gru4rec"
    settings = {embedding_dim = 64}

    [[source]]                    # what others took together with them,
    model = "covisit"

    [[source]]                    # and for somebody new what is rising,
    model = "trend"
    num_candidates = 50
    max_events = 2

    [blend]                       # in one list, with weights learned on validation,
    method = "learned"

    [rank]                        # corrected by boosted trees where these are better there,
    method = "auto"               # and by a click model as far as it helps there;
    model = "dual-gru"
    settings = {epochs = 4}

    [[placement]]                 # on the home page only cheap tea, a varied list,
    name = "home"
    rules = {filter = 'category == "tea" and price < 20'}
    rerank = {method = "mmr", column = "brand"}
    explore = {method = "epsilon", first_position = 4}
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segue.config.decode import decode_settings
from segue.pipeline.placements.diversification import DiversificationConfig
from segue.pipeline.placements.exploration import ExploreConfig
from segue.pipeline.placements.rules import RulesConfig


@dataclass(frozen=True)
class SourceConfig:
    """One source of candidates."""

    model: str
    """A model of the zoo, or one of the pipeline's own: again, new, content-knn, list."""
    name: str | None = None
    """What answers call it; 'none': the model's name."""
    num_candidates: int = 200
    """So many candidates it gives."""
    max_history: int | None = None
    """It is shown only so many of the newest events; 'none': the whole history."""
    session_gap_s: float | None = None
    """It is shown only the newest events with no longer pause between two of them, in seconds; 'none': all."""
    min_events: int = 0
    """It is not asked for people with fewer events."""
    max_events: int | None = None
    """It is not asked for people with more events; 'none': for everybody."""
    index: Literal["exact", "approximate"] = "exact"
    """How a network's nearest items are found; the approximate way is taken only where it finds 99 % of them."""
    settings: dict = field(default_factory=dict)
    """The model's own settings."""

    def __post_init__(self) -> None:
        if self.num_candidates < 1:
            raise ValueError(
                f"num_candidates must be at least 1, got {self.num_candidates} in the source {self.display_name}."
            )
        if self.max_history is not None and self.max_history < 1:
            raise ValueError(
                f"max_history must be at least 1, got {self.max_history} in the source {self.display_name}."
            )
        if self.session_gap_s is not None and self.session_gap_s <= 0:
            raise ValueError(
                f"session_gap_s must be above 0, got {self.session_gap_s} in the source {self.display_name}."
            )
        if self.min_events < 0 or (self.max_events is not None and self.max_events < self.min_events):
            raise ValueError(
                f"The source {self.display_name} is for people with {self.min_events} to {self.max_events} events: nobody."
            )

    @property
    def display_name(self) -> str:
        """Its name in answers."""
        return self.name or self.model


@dataclass(frozen=True)
class BlendConfig:
    """How the sources' lists become one."""

    method: Literal["learned", "reciprocal-rank", "weighted"] = "learned"
    """Weights learned on validation; the sum of 1 / (constant + place); or the weighted sum of scores from 0 to 1."""
    weights: dict = field(default_factory=dict)
    """For the last two: what a source counts, by its name; 1 where it is not named."""
    constant: float = 60.0
    """Of reciprocal-rank: the larger, the less the first places stand out."""
    num_candidates: int = 500
    """At most so many items go on, the best by reciprocal rank."""
    ridge: float = 10.0
    """Of learned: the pull of all weights towards zero, in cases."""
    cohort_ridge: float = 100.0
    """Of learned: the pull of a cohort's weights towards everybody's, in cases."""
    cohorts: tuple[int, ...] = (0, 1, 3, 10)
    """Of learned: people with at least so many events have weights of their own."""

    def __post_init__(self) -> None:
        if self.constant <= 0:
            raise ValueError(f"constant must be above 0, got {self.constant}.")
        if self.num_candidates < 1:
            raise ValueError(f"num_candidates must be at least 1, got {self.num_candidates}.")
        if self.ridge <= 0 or self.cohort_ridge <= 0:
            raise ValueError(f"ridge and cohort_ridge must be above 0, got {self.ridge} and {self.cohort_ridge}.")
        if self.cohorts[:1] != (0,) or list(self.cohorts) != sorted(set(self.cohorts)):
            raise ValueError(f"cohorts must begin with 0 and rise, got {list(self.cohorts)}.")
        for name, weight in self.weights.items():
            if type(weight) not in (int, float) or not weight >= 0:
                raise ValueError(f"The weight of {name} must be a number of at least 0, got {weight!r}.")


@dataclass(frozen=True)
class RankConfig:
    """How the blended list is put into its last order by score."""

    method: Literal["auto", "none", "trees"] = "auto"
    """Boosted trees on top of the blend; 'auto': where held-out validation cases are better ranked with them."""
    max_trees: int = 60
    """At most so many; validation says when to stop."""
    max_depth: int = 5
    """At most so many questions lead to a leaf."""
    learning_rate: float = 0.1
    """What one tree may change."""
    min_leaf_size: int = 200
    """A leaf stands for at least so many candidates."""
    max_cases: int = 4000
    """So many validation cases are learned from, by the blend too."""
    model: str | None = None
    """A ranker that has the last word: pooled, din, dien or dual-gru, trained with the pipeline, or the folder of one
    that ``segue train-ranker`` wrote for the same log and protocol; 'none': no ranker."""
    num_candidates: int = 200
    """So many of the best candidates it judges; the others stay behind them."""
    weight: float | None = None
    """What its log-odds count beside the score's own; 'none': what is best on held-out validation cases, 0 where no
    weight is better there by more than its standard error."""
    settings: dict = field(default_factory=dict)
    """The ranker's own settings, its training's and its cases', where it is trained with the pipeline."""

    def __post_init__(self) -> None:
        for name in ("max_trees", "max_depth", "min_leaf_size", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.max_cases < 10:
            raise ValueError(f"max_cases must be at least 10, got {self.max_cases}.")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must be in (0, 1], got {self.learning_rate}.")
        if self.weight is not None and self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}.")
        if self.model is None and (self.settings or self.weight is not None):
            raise ValueError("rank.settings and rank.weight are a ranker's: name one as rank.model, as 'dual-gru'.")


@dataclass(frozen=True)
class PlacementConfig:
    """What goes for one place where lists are shown."""

    name: str
    """How requests call it; one named "default" is for requests that name none."""
    rules: RulesConfig = field(default_factory=RulesConfig)
    """What may be shown, what is favored, pinned, counted."""
    rerank: DiversificationConfig = field(default_factory=DiversificationConfig)
    """How much variety."""
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    """How much chance at the list's tail."""


@dataclass(frozen=True)
class PipelineConfig:
    """The whole file."""

    source: tuple[SourceConfig, ...]
    """Each ``[[source]]`` in its order."""
    blend: BlendConfig = field(default_factory=BlendConfig)
    rank: RankConfig = field(default_factory=RankConfig)
    placement: tuple[PlacementConfig, ...] = ()
    """Each ``[[placement]]``."""

    def __post_init__(self) -> None:
        places = [one.name for one in self.placement]
        for name in places:
            if places.count(name) > 1:
                raise ValueError(f"Two placements are called {name}: write one [[placement]] for each.")
        names = [one.display_name for one in self.source]
        if not names:
            raise ValueError("A pipeline needs at least one [[source]].")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Two sources are called {name}: give one of them another name.")
        for name in self.blend.weights:
            if name not in names:
                raise ValueError(f"blend.weights names {name}, which is no source. The sources: {', '.join(names)}.")


def read_pipeline(path: Path) -> PipelineConfig:
    """The settings in a TOML file. ValueError, in a sentence that names the file, for anything else."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}.") from None
    return decode_pipeline(values, f"{path}: ")


def decode_pipeline(values: Mapping[str, Any], prefix: str = "") -> PipelineConfig:
    """The settings from plain values; ``where`` is said before what is wrong with them."""
    try:
        return decode_settings(PipelineConfig, values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None
