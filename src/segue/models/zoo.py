"""The zoo: the table of models, name -> settings class, fit and restore. A new model is its file and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from segue.config.names import normalize_name
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
    """A model that is fitted with numpy, scipy or the implicit library, without torch and without validation cases."""

    config: type
    fit: Callable[[Sequences, int, Any], Scorer]
    """(sequences, catalog size V, settings) -> fitted scorer."""
    restore: Callable[[Mapping[str, np.ndarray], Any], Scorer]
    """(tensors of an artifact, settings) -> the saved scorer."""
    iterative: bool = False
    """True for a model trained in several passes over the log; False for one that is counted or in closed form."""


@dataclass(frozen=True)
class NeuralEntry:
    """A neural model: trained with torch (``segue.training``), exported to arrays, restored without torch."""

    config: type
    restore: Callable[[Mapping[str, np.ndarray], Any], Scorer]
    """(tensors of an artifact, settings) -> the saved scorer."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Training settings of this model that differ from the defaults of ``TrainingConfig``."""


ZOO: dict[str, ClassicEntry | NeuralEntry] = {
    "popularity": ClassicEntry(PopularityConfig, Popularity.fit, Popularity.restore),
    "trend": ClassicEntry(TrendConfig, Trend.fit, Trend.restore),
    "markov": ClassicEntry(MarkovConfig, Markov.fit, Markov.restore),
    "covisit": ClassicEntry(CoVisitConfig, CoVisit.fit, CoVisit.restore),
    "item-knn": ClassicEntry(ItemKNNConfig, ItemKNN.fit, ItemKNN.restore),
    "session-knn": ClassicEntry(SessionKNNConfig, SessionKNN.fit, SessionKNN.restore),
    "spectral": ClassicEntry(SpectralConfig, Spectral.fit, Spectral.restore),
    "ials": ClassicEntry(IALSConfig, IALS.fit, IALS.restore, iterative=True),
    "bpr": ClassicEntry(BPRConfig, BPR.fit, BPR.restore, iterative=True),
    "ease": ClassicEntry(EASEConfig, EASE.fit, EASE.restore),
    "fpmc": ClassicEntry(FPMCConfig, FPMC.fit, FPMC.restore, iterative=True),
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
    """Return the zoo's spelling of a model name; case does not count, '_' and '-' are alike.

    Several names with '+' between them are an ensemble (``segue.models.ensemble``).

    Raises:
        ValueError: a name is not in the zoo. The sentence lists the names.
    """
    parts = [normalize_name(part) for part in name.split("+")]
    for part in parts:
        if part.endswith(".toml"):
            raise ValueError(
                f"{part} is the file of a pipeline, not the name of a model: 'segue pipeline' trains it, and "
                "'segue compare' takes it beside models."
            )
        if part not in ZOO:
            raise ValueError(f"There is no model '{part if part else name}'. Known models: {', '.join(ZOO)}.")
    return "+".join(parts)


def find_model(name: str) -> ClassicEntry | NeuralEntry:
    """Return the zoo's entry of one model. ValueError for an unknown name and for an ensemble."""
    canonical = canonical_name(name)
    if "+" in canonical:
        raise ValueError(f"'{canonical}' is an ensemble of several models; this works for one model only.")
    return ZOO[canonical]


def is_neural(name: str) -> bool:
    """Return True if a neural model is among the models of this name: only then a training seed matters."""
    return any(isinstance(ZOO[part], NeuralEntry) for part in canonical_name(name).split("+"))
