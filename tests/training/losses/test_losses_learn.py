"""Each loss, each way of drawing negatives and each optimizer learns a rule, chosen by the names a user sets."""

from collections.abc import Callable

import pytest

from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.models.top_k import top_k

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


@pytest.mark.parametrize("name", CELLS)
def test_every_way_to_train_gru4rec_learns_the_rule(name: str, fit_model: Callable[..., Scorer]) -> None:
    values = {
        "num_negatives": 12,
        "batch_tokens": 256,
        "spectral_init": False,
        "max_length": 12,
        "covisitation_weight": 0.0,
    }
    scorer = fit_model("gru4rec", LOG, RING + 1, **{**values, **CELLS[name]})
    items, _ = top_k(scorer.scores(Sequences.from_lists(ROWS)), 1)
    assert items.tolist() == [[4], [10], [1]]


@pytest.mark.parametrize("model", ["gru4rec", "sasrec"])
@pytest.mark.parametrize("name", SETTINGS)
def test_it_learns_the_rule(name: str, model: str, fit_model: Callable[..., Scorer]) -> None:
    values = {
        "num_negatives": 12,
        "batch_tokens": 256,
        "spectral_init": False,
        "max_length": 12,
        "covisitation_weight": 0.0,
    }
    scorer = fit_model(model, LOG, RING + 1, **{**values, **SETTINGS[name]})
    items, _ = top_k(scorer.scores(Sequences.from_lists(ROWS)), 1)
    assert items.tolist() == [[4], [10], [1]]
