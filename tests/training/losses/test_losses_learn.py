"""Training with each loss, negative source, optimizer and cell, set by the names of settings, fits a simple log."""

import pytest

from segue.config.decode import decode_settings, split_by_config
from segue.data.sequences import Sequences
from segue.models.top_k import top_k
from segue.models.zoo import ZOO, NeuralEntry
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.nets.encoders.tied_embedding import TorchScorer
from segue.training.trainer import Trainer

RING = 20
LOG = Sequences.from_lists([[(start + step) % RING + 1 for step in range(3 + start % 8)] for start in range(80)])
ROWS = [[1, 2, 3], [9], [18, 19, 20]]
SETTINGS: dict[str, dict[str, object]] = {
    "softmax": {"loss": "full"},
    "softmax, hardest": {"loss": "full", "num_hardest_negatives": 5},
    "uniform": {"loss": "sampled", "negative_sampling_exponent": 0.0},
    "in-batch": {"loss": "sampled", "negative_source": "in-batch"},
    "mixed, hardest": {"loss": "sampled", "negative_source": "mixed", "num_hardest_negatives": 6},
    "no log-q": {"loss": "sampled", "logq_correction": False},
    "bce": {"loss": "bce", "negative_sampling_exponent": 0.0},
    "gbce": {"loss": "gbce", "negative_sampling_exponent": 0.0},
    "bpr-max": {"loss": "bpr-max", "temperature": None, "score_penalty": 0.1, "elu_alpha": 1.0},
    "top1-max": {"loss": "top1-max", "temperature": None},
    "adagrad": {"loss": "full", "optimizer": "adagrad", "momentum": 0.2, "learning_rate": 0.1},
}


CELLS: dict[str, dict[str, object]] = {
    "lstm": {"cell": "lstm"},
    "rnn": {"cell": "rnn"},
    "separate": {"input_embedding": "separate", "loss": "sampled"},
    "one-hot": {"input_embedding": "one-hot", "temperature": None, "optimizer": "adagrad", "learning_rate": 0.1},
    "session-parallel": {"parallel_sessions": 16, "loss": "sampled"},
    "session-parallel, several steps, in time": {
        "parallel_sessions": 8,
        "bptt_steps": 3,
        "session_order": "time",
        "schedule": "constant",
    },
}


QUICK: dict[str, object] = {
    "embedding_dim": 16,
    "max_length": 12,
    "spectral_init": False,
    "epochs": 40,
    "learning_rate": 0.01,
    "num_negatives": 12,
    "batch_tokens": 256,
}


def predictions(model: str, **values: object) -> list[list[int]]:
    """Train a net with settings by name; return the highest-ranked item of each of ``ROWS``."""
    entry = ZOO[model]
    assert isinstance(entry, NeuralEntry)
    shares = split_by_config({**QUICK, **values}, {"model": entry.config, "training": TrainingConfig})
    training = decode_settings(TrainingConfig, {**entry.training, **shares["training"]})
    net = build_net(decode_settings(entry.config, shares["model"]), LOG, RING + 1, 0)
    Trainer(net, LOG, training, 0).run()
    return top_k(TorchScorer(net).scores(Sequences.from_lists(ROWS)), 1)[0].tolist()


@pytest.mark.parametrize("name", CELLS)
def test_every_way_to_train_gru4rec_fits_the_log(name: str) -> None:
    assert predictions("gru4rec", **CELLS[name]) == [[4], [10], [1]]


@pytest.mark.parametrize("model", ["gru4rec", "sasrec"])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_loss_and_optimizer_fits_the_log(name: str, model: str) -> None:
    assert predictions(model, **SETTINGS[name]) == [[4], [10], [1]]
