"""The one table of models: name -> settings and builder. Adding a model is its file, and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from segue.data.sequences import Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.counting.popularity import Popularity, PopularityConfig
from segue.models.factorization.bpr import BPR, BPRConfig
from segue.models.factorization.ease import EASE, EASEConfig
from segue.models.factorization.fpmc import FPMC, FPMCConfig
from segue.models.factorization.ials import IALS, IALSConfig
from segue.models.factorization.spectral import Spectral, SpectralConfig
from segue.models.forecasting.trend import Trend, TrendConfig
from segue.models.knn.item_knn import ItemKNN, ItemKNNConfig
from segue.models.knn.session_knn import SessionKNN, SessionKNNConfig
from segue.models.knn.user_knn import UserKNN, UserKNNConfig
from segue.models.knn.vsknn import VSKNN, VSKNNConfig
from segue.models.knn.vstan import VSTAN, VSTANConfig
from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.models.neural.configs.caser import CaserConfig
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.neural.configs.lrurec import LRURecConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.configs.seq2seq import Seq2SeqConfig
from segue.models.neural.neural_scorer import restore_neural
from segue.models.scorer import Scorer


@dataclass(frozen=True)
class ClassicEntry:
    """A model that is fitted in one go, without torch or validation: by counting, or by a fixed recipe."""

    config: type
    fit: Callable[[Sequences, int, Any], Scorer]
    """(sequences, catalog size V, settings) -> fitted."""
    restore: Callable[[Mapping[str, np.ndarray], Any], Scorer]
    """(arrays, settings) -> what was saved."""


@dataclass(frozen=True)
class NeuralEntry:
    """A network: trained by the training wing, exported to arrays, restored without torch."""

    config: type
    restore: Callable[[Mapping[str, np.ndarray], Any], Scorer]
    training: Mapping[str, Any] = field(default_factory=dict)
    """Where this network trains better with other settings than the trainer's own."""


ZOO: dict[str, ClassicEntry | NeuralEntry] = {
    "popularity": ClassicEntry(PopularityConfig, Popularity.fit, Popularity.restore),
    "trend": ClassicEntry(TrendConfig, Trend.fit, Trend.restore),
    "markov": ClassicEntry(MarkovConfig, Markov.fit, Markov.restore),
    "covisit": ClassicEntry(CoVisitConfig, CoVisit.fit, CoVisit.restore),
    "item-knn": ClassicEntry(ItemKNNConfig, ItemKNN.fit, ItemKNN.restore),
    "session-knn": ClassicEntry(SessionKNNConfig, SessionKNN.fit, SessionKNN.restore),
    "spectral": ClassicEntry(SpectralConfig, Spectral.fit, Spectral.restore),
    "ials": ClassicEntry(IALSConfig, IALS.fit, IALS.restore),
    "bpr": ClassicEntry(BPRConfig, BPR.fit, BPR.restore),
    "ease": ClassicEntry(EASEConfig, EASE.fit, EASE.restore),
    "fpmc": ClassicEntry(FPMCConfig, FPMC.fit, FPMC.restore),
    "user-knn": ClassicEntry(UserKNNConfig, UserKNN.fit, UserKNN.restore),
    "vsknn": ClassicEntry(VSKNNConfig, VSKNN.fit, VSKNN.restore),
    "vstan": ClassicEntry(VSTANConfig, VSTAN.fit, VSTAN.restore),
    "gru4rec": NeuralEntry(
        GRU4RecConfig,
        partial(restore_neural, "gru4rec"),
        {"epochs": 5, "batch_tokens": 8192, "learning_rate": 5e-3},
    ),
    "sasrec": NeuralEntry(SASRecConfig, partial(restore_neural, "sasrec")),
    "lrurec": NeuralEntry(LRURecConfig, partial(restore_neural, "lrurec")),
    "hstu": NeuralEntry(HSTUConfig, partial(restore_neural, "hstu")),
    "bert4rec": NeuralEntry(BERT4RecConfig, partial(restore_neural, "bert4rec")),
    "caser": NeuralEntry(CaserConfig, partial(restore_neural, "caser")),
    "nextitnet": NeuralEntry(NextItNetConfig, partial(restore_neural, "nextitnet")),
    "seq2seq": NeuralEntry(Seq2SeqConfig, partial(restore_neural, "seq2seq")),
}


def canonical_name(name: str) -> str:
    """The name in the table; '_' and '-' are alike. Several names with '+' between them are models that answer
    together (``segue.models.ensemble``). ValueError that lists the names for any other."""
    plain = [part.strip().replace("_", "-").lower() for part in name.split("+")]
    for part in plain:
        if part not in ZOO:
            raise ValueError(f"There is no model '{part if part else name}'. Known models: {', '.join(ZOO)}.")
    return "+".join(plain)


def find_model(name: str) -> ClassicEntry | NeuralEntry:
    """The entry of one model's name."""
    plain = canonical_name(name)
    if "+" in plain:
        raise ValueError(f"'{plain}' is several models that answer together; this works for one model only.")
    return ZOO[plain]


def is_neural(name: str) -> bool:
    """Whether a network is among the models of this name, so that a seed makes a difference."""
    return any(isinstance(ZOO[part], NeuralEntry) for part in canonical_name(name).split("+"))
