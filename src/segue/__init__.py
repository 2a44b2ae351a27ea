"""Sequential recommendation: train on an event log, recommend the next items, serve them live.

Public are the names in ``segue.__all__`` and nothing else below ``segue``:

- ``read_events``, ``split_log`` and ``EventLog``: logs and their splits;
- one class for each model, as ``SASRec`` or ``CoVisit``: ``fit``, ``recommend``, ``similar``, ``save``;
- ``load``, ``evaluate``, ``compare`` and ``serve``.

Public are also the settings of these classes and of the TOML files, the command line ``segue``, the HTTP API, and the
files of a saved model. Other modules may change in every version.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # signatures for editors and type checkers
    # isort: off
    from segue.data.event_log import EventLog as EventLog
    from segue.data.readers.events import read_events as read_events
    from segue.data.splits.split import split_log as split_log
    from segue.estimators.recommenders import (
        Popularity as Popularity,
        Trend as Trend,
        Markov as Markov,
        CoVisit as CoVisit,
        ItemKNN as ItemKNN,
        UserKNN as UserKNN,
        SessionKNN as SessionKNN,
        VSKNN as VSKNN,
        VSTAN as VSTAN,
        Spectral as Spectral,
        IALS as IALS,
        BPR as BPR,
        EASE as EASE,
        FPMC as FPMC,
        GRU4Rec as GRU4Rec,
        SASRec as SASRec,
        HSTU as HSTU,
        LRURec as LRURec,
        BERT4Rec as BERT4Rec,
        Caser as Caser,
        NextItNet as NextItNet,
        Seq2SeqRec as Seq2SeqRec,
    )
    from segue.estimators.trained_model import load as load
    from segue.evaluation.evaluate import evaluate as evaluate
    from segue.serving.server import serve as serve
    from segue.workflows.compare_models import compare as compare
    # isort: on

_HOMES = {
    "EventLog": "segue.data.event_log",
    "read_events": "segue.data.readers.events",
    "split_log": "segue.data.splits.split",
    "Popularity": "segue.estimators.recommenders",
    "Trend": "segue.estimators.recommenders",
    "Markov": "segue.estimators.recommenders",
    "CoVisit": "segue.estimators.recommenders",
    "ItemKNN": "segue.estimators.recommenders",
    "UserKNN": "segue.estimators.recommenders",
    "SessionKNN": "segue.estimators.recommenders",
    "VSKNN": "segue.estimators.recommenders",
    "VSTAN": "segue.estimators.recommenders",
    "Spectral": "segue.estimators.recommenders",
    "IALS": "segue.estimators.recommenders",
    "BPR": "segue.estimators.recommenders",
    "EASE": "segue.estimators.recommenders",
    "FPMC": "segue.estimators.recommenders",
    "GRU4Rec": "segue.estimators.recommenders",
    "SASRec": "segue.estimators.recommenders",
    "HSTU": "segue.estimators.recommenders",
    "LRURec": "segue.estimators.recommenders",
    "BERT4Rec": "segue.estimators.recommenders",
    "Caser": "segue.estimators.recommenders",
    "NextItNet": "segue.estimators.recommenders",
    "Seq2SeqRec": "segue.estimators.recommenders",
    "load": "segue.estimators.trained_model",
    "evaluate": "segue.evaluation.evaluate",
    "compare": "segue.workflows.compare_models",
    "serve": "segue.serving.server",
}
"""Module of each public name. A name is imported at its first use, so that ``import segue`` needs no extra."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"segue has no '{name}'; it has {', '.join(_HOMES)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
