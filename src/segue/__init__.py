"""Segue turns a log of who did what and when into live recommendations of what each person will want next."""

import importlib
from typing import Any

_HOMES = {
    "EventLog": "segue.data.events",
    "read_events": "segue.data.events",
    "split_log": "segue.data.split",
    "Popularity": "segue.recommenders",
    "Trend": "segue.recommenders",
    "Markov": "segue.recommenders",
    "CoVisit": "segue.recommenders",
    "ItemKNN": "segue.recommenders",
    "UserKNN": "segue.recommenders",
    "SessionKNN": "segue.recommenders",
    "VSKNN": "segue.recommenders",
    "VSTAN": "segue.recommenders",
    "Spectral": "segue.recommenders",
    "IALS": "segue.recommenders",
    "BPR": "segue.recommenders",
    "EASE": "segue.recommenders",
    "FPMC": "segue.recommenders",
    "GRU4Rec": "segue.recommenders",
    "SASRec": "segue.recommenders",
    "HSTU": "segue.recommenders",
    "LRURec": "segue.recommenders",
    "BERT4Rec": "segue.recommenders",
    "Caser": "segue.recommenders",
    "NextItNet": "segue.recommenders",
    "Seq2SeqRec": "segue.recommenders",
    "load": "segue.recommender",
    "evaluate": "segue.evaluation.protocol",
    "compare": "segue.experiment",
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
