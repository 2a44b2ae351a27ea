"""The one table of models: name -> settings and builder. Adding a model is its file, and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segue.data.sequences import Sequences
from segue.models.scorer import Scorer


@dataclass(frozen=True)
class Counting:
    """A model that is fitted by counting: one pass over the sequences, no epochs."""

    config: type
    fit: Callable[[Sequences, int, Any], Scorer]
    """(sequences, catalogue size V, settings) -> fitted."""
    restore: Callable[[Mapping[str, np.ndarray], Any], Scorer]
    """(arrays, settings) -> what was saved."""


ZOO: dict[str, Counting] = {}
