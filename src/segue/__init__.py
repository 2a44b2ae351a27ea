"""Segue turns a log of who did what and when into live recommendations of what each person will want next."""

import importlib
from typing import Any

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
    "load": "segue.estimators.estimator",
    "evaluate": "segue.evaluation.evaluate",
    "compare": "segue.workflows.compare_models",
    "serve": "segue.serving.server",
}
"""The public names, found when they are first used: ``import segue`` stays instant and never needs an extra."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"segue has no '{name}'; it has {', '.join(_HOMES)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
