"""The whole pipeline: a scorer like any other, with equal lists by every method and after a restore."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.support.ring import CONFIG, ITEMS, SIZE, saved, split_of

from segue.data.catalog import PAD
from segue.data.readers.items import read_items
from segue.data.sequences import Sequences
from segue.evaluation.evaluate import evaluate
from segue.models import artifact
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.top_k import top_k
from segue.pipeline.blending.blend import LearnedBlend
from segue.pipeline.blending.second_stage import SecondStageRanker
from segue.pipeline.candidates.builtin_sources import SourceData
from segue.pipeline.config import decode_pipeline
from segue.pipeline.next_item_probabilities import probability_scorer
from segue.pipeline.persistence import restore_saved_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.ranked_list import PlacementReason
from segue.workflows.train_pipeline import fit_pipeline, refit_pipeline

ROWS = [[3], [1, 2, 3], [], [7, 8, 9], [PAD, 4, PAD], [31], list(range(1, 25)), [5, 5, 5]]


@pytest.fixture(scope="module")
def pipeline(fitted_pipeline) -> Pipeline:
    return fitted_pipeline.scorer


def score(pipeline, rows):
    return pipeline.scores(Sequences.from_lists(rows))


def test_it_keeps_the_scorers_contract(pipeline):
    scores_BV = score(pipeline, ROWS)
    assert scores_BV.shape == (len(ROWS), SIZE) == (len(ROWS), pipeline.size)
    assert scores_BV.dtype == np.float32
    assert np.isfinite(scores_BV).all()
    assert score(pipeline, []).shape == (0, SIZE)
    single = np.concatenate([score(pipeline, [row]) for row in ROWS])
    np.testing.assert_allclose(scores_BV, single, atol=0.5)  # the widest row of a batch sets the step of the scores
    for together, alone in zip(top_k(scores_BV, 10)[0], top_k(single, 10)[0], strict=True):
        assert together.tolist() == alone.tolist()


def test_it_does_not_touch_its_input(pipeline):
    histories = Sequences.from_lists(ROWS)
    before = histories.items.copy()
    histories.items.flags.writeable = False
    pipeline.scores(histories)
    np.testing.assert_array_equal(histories.items, before)


def test_unknown_items_are_skipped(pipeline):
    with_unknown = top_k(score(pipeline, [[PAD, 1, PAD, 2, 3], [PAD]]), 10)[0]
    np.testing.assert_array_equal(with_unknown, top_k(score(pipeline, [[1, 2, 3], []]), 10)[0])


def test_it_learns_the_rule(pipeline):
    best = top_k(score(pipeline, [[2, 3], [28, 29, 30]]), 1)[0]
    assert best.tolist() == [[4], [1]]


def test_it_is_not_worse_than_its_best_source(pipeline, split):
    quality = evaluate(pipeline, split.test, exclude_seen=False, ks=(10,)).metrics["ndcg@10"]
    for source in pipeline.sources[:2]:
        assert quality > evaluate(source.scorer, split.test, exclude_seen=False, ks=(10,)).metrics["ndcg@10"] - 0.01


def test_recommendations_equal_the_evaluated_scores(pipeline):
    histories = Sequences.from_lists(ROWS)
    lists = pipeline.recommend(histories, 10)
    items_BK = top_k(pipeline.scores(histories), 10)[0]
    for ranked, items in zip(lists, items_BK, strict=True):
        assert ranked.items_C[:10].tolist() == items.tolist()


def test_with_seen_items_excluded_too(fitted_pipeline, pipeline):
    plain = Pipeline(pipeline.sources, pipeline.scoring, pipeline.item_statistics, pipeline.config, exclude_seen=True)
    histories = Sequences.from_lists(ROWS)
    lists = plain.recommend(histories, 10, exclude=histories)
    items_BK = top_k(plain.scores(histories), 10, exclude=histories)[0]
    for row, ranked, items in zip(ROWS, lists, items_BK, strict=True):
        assert ranked.items_C[:10].tolist() == [item for item in items.tolist() if item != PAD][:10]
        assert not set(ranked.items_C.tolist()) & set(row)


def test_there_are_always_k_while_k_are_allowed(pipeline):
    allowed_V = np.zeros(SIZE, dtype=bool)
    allowed_V[[5, 17, 20, 31]] = True
    for k in (1, 3, 4, 9):
        for ranked in pipeline.recommend(Sequences.from_lists(ROWS), k, allowed_V=allowed_V):
            assert len(ranked) >= min(k, 4)
            assert set(ranked.items_C.tolist()) <= {5, 17, 20, 31}


def test_popular_items_follow_the_candidates(split):
    fitted = fit_pipeline(split, decode_pipeline({"source": [{"model": "again"}], "rank": {"method": "none"}}))
    seen = Sequences.from_lists([[5, 9], []])
    lists = fitted.scorer.recommend(seen, 4)
    assert [PlacementReason(how) for how in lists[0].reasons_C[:4]] == [PlacementReason.RANKED] * 2 + [
        PlacementReason.FILLED
    ] * 2
    assert lists[0].items_C[:2].tolist() == [9, 5]
    popular = np.argsort(-fitted.scorer.item_statistics.popularity_V, kind="stable")
    assert lists[1].items_C[:4].tolist() == popular[:4].tolist()
    assert lists[1].source_name(0) == "popularity"
    without = fitted.scorer.recommend(seen, 4, exclude=seen)[0]
    assert not {5, 9} & set(without.items_C.tolist())


def test_an_item_has_its_sources(pipeline):
    ranked = pipeline.recommend(Sequences.from_lists([[2, 3]]), 5)[0]
    assert ranked.source_name(0) == "markov"
    assert ranked.sources == ("markov", "covisit", "again", "popularity")
    assert ranked.source_ranks_CS[0, 0] == 1
    new_user = pipeline.recommend(Sequences.from_lists([[]]), 5)[0]
    assert (new_user.source_ranks_CS[:, 3] > 0).any()
    assert not ranked.source_ranks_CS[:, 3].any()  # 'popularity' serves users with at most one event


def test_probabilities_are_those_of_the_rule(pipeline, split):
    """After i comes i + 1 with probability .8 and something."""
    requests = Sequences.from_lists([list(range(1, ITEMS + 1)), [4, PAD, 20]])
    probabilities = pipeline.probabilities(Sequences.from_lists([[1, 2, 3], [2, 3]]), requests)
    assert probabilities[0].argmax() + 1 == 4
    assert 0.6 < probabilities[0][3] < 0.95
    assert 0.8 < probabilities[0].sum() <= 1 + 1e-9
    assert probabilities[1][1] == 0
    assert probabilities[1][0] > 20 * probabilities[1][2]


def test_users_without_events_get_probabilities_of_their_own(split, config):
    """Items are equally frequent, and a blend of users with events would be sure of one after an empty history."""
    fitted = fit_pipeline(split, config)
    nobody, everything = Sequences.from_lists([[]]), Sequences.from_lists([list(range(1, ITEMS + 1))])
    stated = fitted.scorer.probabilities(nobody, everything)[0]
    targets = np.bincount(split.validation.targets, minlength=ITEMS + 1)[1:] / len(split.validation)
    assert np.abs(stated - targets).max() < 0.05
    assert stated.sum() == pytest.approx(fitted.scorer.scoring.coverage_without_history)


def test_log_probabilities_of_all_items_sum_to_one(pipeline):
    rows = Sequences.from_lists([[1, 2, 3], [], [2, 3]])
    scorer = probability_scorer(pipeline, {})
    logs = scorer.log_probabilities(rows)
    np.testing.assert_allclose(np.exp(logs.astype(np.float64)).sum(axis=1), 1.0, atol=1e-5)
    assert np.isneginf(logs[:, PAD]).all()
    assert logs[0].argmax() == 4
    inside = pipeline.probabilities(rows.take(slice(0, 1)), Sequences.from_lists([[4]]))[0][0]
    assert np.exp(logs[0, 4]) == pytest.approx(inside, rel=1e-5)  # the rest belongs to items that are no candidates


def test_measurements_are_noted(fitted_pipeline):
    quality = fitted_pipeline.notes["held_out_ndcg@10"]
    assert set(quality) == {"ranks", "learned", "trees"}
    assert quality["learned"] > quality["ranks"]
    assert fitted_pipeline.notes["training_cases"] > 200
    assert fitted_pipeline.notes["held_out_cases"] > 50
    assert fitted_pipeline.notes["trees"] >= 1


def test_trees_are_kept_only_where_they_help(split):
    """Where a linear blend is the true rule, 'auto' keeps no trees."""
    fitted = fit_pipeline(
        split, decode_pipeline({**CONFIG, "rank": {"max_trees": 2, "min_leaf_size": 20, "learning_rate": 1.0}})
    )
    quality = fitted.notes["held_out_ndcg@10"]
    assert (fitted.notes["trees"] > 0) == (quality["trees"] > quality["learned"])
    assert (fitted.scorer.scoring.trees is not None) == (fitted.notes["trees"] > 0)


def test_equal_arguments_make_equal_pipelines(split, config):
    one, two = (fit_pipeline(split, config, seed=3).scorer for _ in range(2))
    np.testing.assert_array_equal(score(one, ROWS), score(two, ROWS))


def test_saved_and_restored_are_equal(fitted_pipeline, pipeline, split, tmp_path):
    again = saved(fitted_pipeline, split.catalog, tmp_path / "run")
    np.testing.assert_array_equal(score(again, ROWS), score(pipeline, ROWS))
    assert again.config == pipeline.config
    probabilities = (
        p.probabilities(Sequences.from_lists([[1, 2]]), Sequences.from_lists([[3, 9]])) for p in (again, pipeline)
    )
    np.testing.assert_array_equal(*[next(probabilities)[0], next(probabilities)[0]])


def test_a_single_model_is_restored_by_the_same_function(split, tmp_path):
    from segue.workflows.fit_model import fit_model

    chain = fit_model("markov", split)
    artifact.save(
        artifact.Artifact("markov", chain.settings, split.catalog, chain.scorer.arrays(), {}, {}), tmp_path / "m"
    )
    assert restore_saved_pipeline(artifact.load(tmp_path / "m")).name == "markov"


def test_a_mixed_up_folder_is_refused(fitted_pipeline, tmp_path):
    from segue.data.catalog import Catalog

    with pytest.raises(ValueError, match=r"not \[V\] with V = 3, the number of items in the catalog plus one.$"):
        saved(fitted_pipeline, Catalog(["a", "b"]), tmp_path / "run")


def test_sources_of_one_model_share_it(split):
    values = {
        "source": [{"model": "markov"}, {"model": "markov", "name": "last", "max_history": 1}],
        "rank": {"method": "none"},
    }
    fitted = fit_pipeline(split, decode_pipeline(values))
    one, two = fitted.scorer.sources
    assert one.scorer is two.scorer
    assert fitted.settings["model_of_source"] == [0, 0]
    assert sum(name.startswith("model.") for name in fitted.scorer.arrays()) == len(one.scorer.arrays())


def test_a_refit_on_more_events_changes_the_sources_only(fitted_pipeline, split):
    everything = refit_pipeline(SourceData(split.test.histories, split.catalog), fitted_pipeline)
    assert everything.scorer.scoring is fitted_pipeline.scorer.scoring
    assert (
        everything.scorer.item_statistics.popularity_V.sum()
        != fitted_pipeline.scorer.item_statistics.popularity_V.sum()
    )
    assert np.isfinite(score(everything.scorer, ROWS)).all()


def test_a_network_with_item_features_is_refitted():
    """The last item of the ring has no events; its features give it the embedding of the first one."""
    split = split_of(200)
    names = split.catalog.ids
    table = read_items(pl.DataFrame({"item_id": names, "place": [min(n, 30) % 30 for n in range(1, len(names) + 1)]}))
    facts = table.item_features(split.catalog)
    network = {"embedding_dim": 8, "epochs": 2, "features": ["place"], "feature_use": "placing"}
    values = {"source": [{"model": "gru4rec", "settings": network}, {"model": "markov"}], "rank": {"method": "none"}}
    fitted = fit_pipeline(replace(split, item_features=facts), decode_pipeline(values), refit=True)
    again = refit_pipeline(SourceData(split.train, split.catalog, facts), fitted)
    for one in (fitted, again):
        scorer = one.scorer.sources[0].scorer
        table_VD = (scorer.inner if isinstance(scorer, WithCovisitationPrior) else scorer).table_VD
        assert np.abs(table_VD[SIZE - 1]).sum() > 0
    with pytest.raises(ValueError, match="need an items table"):
        refit_pipeline(SourceData(split.train, split.catalog), fitted)


def test_refit_fits_the_sources_on_more_events(config):
    split = split_of(100)
    fitted = fit_pipeline(split, config, refit=True)
    plain = fit_pipeline(split, config)
    np.testing.assert_array_equal(score(fitted.scorer, ROWS), score(plain.scorer, ROWS))  # split.refit is split.train


def test_without_validation_ranks_decide(config):
    from dataclasses import replace

    split = split_of(60)
    fitted = fit_pipeline(replace(split, validation=split.validation.take(slice(0, 0))), config)
    assert fitted.notes["training_cases"] == 0
    assert not isinstance(fitted.scorer.scoring.blend, LearnedBlend)
    assert 4 in top_k(score(fitted.scorer, [[2, 3]]), 3)[0]


def test_a_source_of_an_unknown_model_is_refused(split):
    wanted = "There is no model 'crystal-ball' for a source. Known models: again, new, list, content-knn, popularity, "
    with pytest.raises(ValueError, match=f"^{re.escape(wanted)}"):
        fit_pipeline(split, decode_pipeline({"source": [{"model": "crystal-ball"}]}))


SERVE = """
import sys
for name in ("scipy", "polars", "torch", "onnxruntime", "pandas", "lightgbm", "faiss"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
from segue.data.sequences import Sequences
from segue.models.artifact import load
from segue.pipeline.persistence import restore_saved_pipeline
print(int(restore_saved_pipeline(load(sys.argv[1])).recommend(Sequences.from_lists([[1, 2, 3]]), 1)[0].items_C[0]))
"""


def test_recommendations_need_numpy_alone(fitted_pipeline, split, tmp_path):
    saved(fitted_pipeline, split.catalog, tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", SERVE, tmp_path / "run"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["4"]


class Contrary:
    """A ranker that prefers one item and records its queries."""

    name, newest_us = "contrary", 70

    def __init__(self, liked):
        self.liked, self.requests = liked, []

    def log_odds(self, histories, candidates_BC, moments_B):
        self.requests.append((histories.to_lists(), candidates_BC.shape, moments_B.tolist()))
        return np.where(candidates_BC == self.liked, 7.0, -7.0)


def test_a_ranker_reorders_the_best_candidates(pipeline):
    """With 2 scored candidates its choice is the first of them, and the others stay behind in their order."""
    history = Sequences.from_lists([[1, 2, 3], []], [[10, 20, 30], []])
    plain = pipeline.recommend(history, 10)
    ranker = Contrary(int(plain[0].items_C[1]))
    second = pipeline.with_second_stage(SecondStageRanker(ranker, weight=100.0, num_candidates=2)).recommend(
        history, 10
    )
    a, b, *rest = plain[0].items_C.tolist()
    assert second[0].items_C.tolist() == [b, a, *rest]
    assert ranker.requests == [([[1, 2, 3], []], (2, 2), [30, 71])]
    silent = pipeline.with_second_stage(SecondStageRanker(ranker, weight=0.0, num_candidates=500)).recommend(
        history, 10
    )
    assert [one.items_C.tolist() for one in silent] == [one.items_C.tolist() for one in plain]


def test_a_ranker_scores_a_batch_as_single_histories(pipeline):
    """Histories of a batch get the lists that they get alone, with any number of candidates."""
    histories = Sequences.from_lists(ROWS, [[100 + i for i in range(len(row))] for row in ROWS])
    whole = pipeline.with_second_stage(SecondStageRanker(Contrary(9), weight=0.3, num_candidates=4))
    together = whole.recommend(histories, 10)
    for b in range(len(ROWS)):
        alone = whole.recommend(histories.take([b]), 10)[0]
        assert together[b].items_C.tolist() == alone.items_C.tolist()


def test_cold_items_are_found_by_their_features():
    """The last item has no events; by its words it is similar to the first, and the sentence states it."""
    split = split_of(100)
    names = [f"common{n // 2} word{n % 5}" for n in range(1, SIZE)]
    names[-1] = "rare teapot"
    names[0] = "rare other thing"
    facts = read_items(pl.DataFrame({"item_id": split.catalog.ids, "title": names})).item_features(split.catalog)
    values = {"source": [{"model": "content-knn", "settings": {"columns": ["title"]}}], "rank": {"method": "none"}}
    fitted = fit_pipeline(replace(split, item_features=facts), decode_pipeline(values), refit=True)
    histories = Sequences.from_lists([[1], [7]])
    assert SIZE - 1 in top_k(fitted.scorer.scores(histories), 10)[0][0].tolist()
    near, far = fitted.scorer.probabilities(histories, Sequences.from_lists([[SIZE - 1]] * 2))
    assert near[0] > 3 * far[0]
    with pytest.raises(ValueError, match="give an items table"):
        fit_pipeline(split, decode_pipeline(values))
