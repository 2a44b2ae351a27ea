"""Ensembles: the weighted sum of log-probabilities, fitted, selected on validation cases, saved and restored."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import segue
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.counting.popularity import Popularity, PopularityConfig
from segue.models.ensemble import MIN_LOG_SCORE, Ensemble, log_scores
from segue.workflows import train_model
from segue.workflows.fit_model import fit_model

LOG = Sequences.from_lists([[1, 2, 3], [2, 3, 4], [3, 4, 1], [1, 2, 4]])
HISTORIES = Sequences.from_lists([[1, 2], [3], []])


@pytest.fixture(scope="module")
def events() -> "segue.EventLog":
    rows = [
        (f"u{p}", f"i{(p + s * (1 + p % 2)) % 11}", 1_700_000_000 + 100 * s + p) for p in range(40) for s in range(7)
    ]
    return segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def test_scores_are_the_weighted_sum_of_log_probabilities() -> None:
    covisit = CoVisit.fit(LOG, 5, CoVisitConfig())
    popularity = Popularity.fit(LOG, 5, PopularityConfig())
    scores = Ensemble([(covisit, 1.0), (popularity, 0.5)]).scores(HISTORIES)
    for row in range(3):
        for item in range(1, 5):
            expected = 0.0
            for scorer, weight in ((covisit, 1.0), (popularity, 0.5)):
                votes = np.maximum(scorer.scores(HISTORIES)[row], 0.0)
                expected += weight * np.log(votes[item] / votes.max() + MIN_LOG_SCORE)
            np.testing.assert_allclose(scores[row, item], expected, rtol=1e-4)


def test_logits_of_a_neural_model_are_used_unchanged(events: "segue.EventLog") -> None:
    split = split_log(events, "leave-last-out")
    net = fit_model("gru4rec", split, {"embedding_dim": 8, "epochs": 1}).scorer
    np.testing.assert_array_equal(log_scores(net, split.test.histories)[:, 1:], net.scores(split.test.histories)[:, 1:])


def test_a_member_of_weight_zero_is_not_scored() -> None:
    class Broken(Popularity):
        def scores(self, histories: Sequences) -> np.ndarray:
            raise AssertionError("scored")

    broken = Broken(np.zeros(5, dtype=np.float32))
    markov = Markov.fit(LOG, 5, MarkovConfig())
    both = Ensemble([(broken, 0.0), (markov, 2.0)]).scores(HISTORIES)
    np.testing.assert_allclose(both, 2 * log_scores(markov, HISTORIES), rtol=1e-6)


def test_an_ensemble_needs_a_member() -> None:
    with pytest.raises(ValueError, match="An ensemble needs a member"):
        Ensemble([])


def test_a_restored_ensemble_has_the_same_weights(events: "segue.EventLog", tmp_path: Path) -> None:
    values = {"embedding_dim": 8, "epochs": 2, "2.embedding_dim": 4, "covisit.decay": 0.7}
    result, version = train_model.train_model(
        events, "gru4rec+gru4rec+covisit", tmp_path / "run", values, train_model.TrainJob(refit=True)
    )
    assert len(result.notes["weights"]) == 3
    assert [result.settings[place].get("embedding_dim") for place in "012"] == [8, 4, None]
    assert result.settings["2"]["decay"] == 0.7
    loaded = segue.load(tmp_path / "run")
    assert isinstance(loaded.scorer, Ensemble)
    assert loaded.scorer.name == "gru4rec+gru4rec+covisit"
    assert len(version) == 12
    split = split_log(events, "time")
    refitted = fit_model("gru4rec+gru4rec+covisit", split, values)
    assert refitted.notes["weights"] == result.notes["weights"]
    assert loaded.recommend([["i1", "i2"]], k=3)[0]


def test_members_of_one_name_have_different_seeds(events: "segue.EventLog") -> None:
    split = split_log(events, "leave-last-out")
    both = fit_model("gru4rec+gru4rec", split, {"embedding_dim": 8, "epochs": 1}, seed=3).scorer
    assert isinstance(both, Ensemble)
    alone = [fit_model("gru4rec", split, {"embedding_dim": 8, "epochs": 1}, seed=seed).scorer for seed in (6, 7)]
    for (member, _), expected in zip(both.members, alone, strict=True):
        np.testing.assert_array_equal(member.scores(HISTORIES), expected.scores(HISTORIES))


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("markov+covisit", {"zzz": 1}, "Unknown setting 'zzz': none of markov + covisit has it."),
        (
            "markov+covisit",
            {"sasrec.embedding_dim": 1},
            "Unknown setting 'sasrec.embedding_dim': none of markov + covisit has it.",
        ),
        ("markov+covisit", {"3.decay": 1}, "Unknown setting '3.decay': none of markov + covisit has it."),
    ],
)
def test_a_setting_of_no_member_is_refused(
    events: "segue.EventLog", name: str, values: dict[str, int], sentence: str
) -> None:
    with pytest.raises(ValueError, match="Unknown setting") as raised:
        fit_model(name, split_log(events, "leave-last-out"), values)
    assert str(raised.value) == sentence
