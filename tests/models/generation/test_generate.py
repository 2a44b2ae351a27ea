"""Lists that are written: each strategy against its definition, continuations against reading anew."""

import numpy as np
import pytest

from segue.data.catalog import PAD
from segue.data.sequences import NO_TIME, Sequences
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.decoder_state import FullRescore, initial_state
from segue.models.generation.generate import generate
from segue.models.generation.sampling import CounterBasedUniform, sample_items
from segue.models.generation.strategy import Strategy, find_strategy
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.top_k import top_k

SIZE = 15
KINDS = ["top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"]
HISTORIES = [[3], [1, 2, 3], [7, 8, 9, 10], [], [5, 5, 5], [12, 1, 2, 3, 4, 5, 6, 7]]


class Table:
    """A scorer that looks at the newest item alone: its row of logits."""

    name = "table"
    size = SIZE

    def __init__(self, seed: int = 0) -> None:
        self.logits_VV = np.random.default_rng(seed).normal(0, 2, (SIZE, SIZE)).astype(np.float32)

    def scores(self, histories: Sequences) -> np.ndarray:
        return self.logits_VV[[int(row[-1]) if len(row) else 0 for row in histories]]

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@pytest.fixture(scope="module")
def table() -> Table:
    return Table()


@pytest.fixture(scope="module")
def ring() -> Sequences:
    rng = np.random.default_rng(4)
    return Sequences.from_lists([[(s + i) % 14 + 1 for i in range(8)] for s in rng.integers(0, 14, 80).tolist()])


def lists(scorer, rows, k, how, seed=0, **options):
    return generate(scorer, Sequences.from_lists(rows), k, how, rng=np.random.default_rng(seed), **options)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def open_scores(table, list_, shut):
    x = table.logits_VV[list_[-1] if list_ else 0].astype(np.float64)
    x[[0, *shut]] = -np.inf
    return x


def test_greedy_takes_the_best_each_time(table):
    items, scores = lists(table, HISTORIES, 5, "greedy")
    for row, history in enumerate(HISTORIES):
        written = []
        for step in range(5):
            x = open_scores(table, [*history, *written], written)
            written.append(int(x.argmax()))
            assert scores[row, step] == pytest.approx(np.log(softmax(x)[written[-1]]), rel=1e-4)
        assert items[row].tolist() == written


def test_top_k_is_the_scorers_own(table):
    rows = Sequences.from_lists(HISTORIES)
    items, scores = lists(table, HISTORIES, 5, "top-k", exclude=rows)
    wanted = top_k(table.scores(rows), 5, exclude=rows)
    np.testing.assert_array_equal(items, wanted[0])
    np.testing.assert_array_equal(scores, wanted[1])


@pytest.mark.parametrize("width", [1, 3, 200])
def test_beam_equals_a_beam_of_plain_lists(table, width):
    """A width of 200 keeps every list of two steps of 14 items: the likeliest of all."""
    steps = 2 if width == 200 else 4
    items, scores = lists(table, HISTORIES, steps, Strategy("beam", beam_width=width))
    for row, history in enumerate(HISTORIES):
        beam = [(0.0, [])]
        for _ in range(steps):
            grown = []
            for total, written in beam:
                p = softmax(open_scores(table, [*history, *written], written))
                grown += [(total + np.log(p[i]), [*written, i]) for i in range(1, SIZE) if i not in written]
            beam = sorted(grown, key=lambda entry: -entry[0])[:width]
        assert items[row].tolist() == beam[0][1]
        assert scores[row].sum() == pytest.approx(beam[0][0], rel=1e-4)


def test_samples_come_as_often_as_the_softmax_says(table):
    rng = np.random.default_rng(0)
    uniform = rng.random((2, 40_000))
    scores_RV = table.logits_VV[[1, 2]].copy()
    scores_RV[:, 0] = -np.inf
    for temperature, top, mass in [
        (1.0, None, None),
        (0.5, None, None),
        (1.0, 3, None),
        (1.0, None, 0.7),
        (2.0, 5, 0.9),
    ]:
        drawn = sample_items(scores_RV, uniform, temperature=temperature, top=top, mass=mass)
        for row in range(2):
            p = softmax(scores_RV[row].astype(np.float64) / temperature)
            order = np.argsort(-p)
            kept = order[: top or SIZE]
            if mass is not None:
                share = p[kept] / p[kept].sum()
                kept = kept[np.concatenate([[0.0], np.cumsum(share)])[:-1] < mass]
            wanted = np.zeros(SIZE)
            wanted[kept] = p[kept] / p[kept].sum()
            found = np.bincount(drawn[row], minlength=SIZE) / 40_000
            np.testing.assert_allclose(found, wanted, atol=0.012)
            assert set(np.flatnonzero(found)) <= set(kept)


def test_draws_are_uniform_and_belong_to_their_history():
    rows = Sequences.from_lists([[1, 2, 3], [3, 2, 1], [], [1, 2], [1, 2, 3]])
    draws = CounterBasedUniform.of(np.random.default_rng(1), rows)
    u = draws.uniform(0, 4000)
    np.testing.assert_allclose(u.mean(axis=1), 0.5, atol=0.03)
    np.testing.assert_allclose(u.std(axis=1), 12**-0.5, atol=0.02)
    assert abs(np.corrcoef(u[:4])[np.triu_indices(4, 1)]).max() < 0.06
    assert abs(np.corrcoef(u[0], draws.uniform(1, 4000)[0])[0, 1]) < 0.06
    np.testing.assert_array_equal(u[0], u[4])
    alone = CounterBasedUniform.of(np.random.default_rng(1), Sequences.from_lists([[3, 2, 1]])).uniform(0, 4000)
    np.testing.assert_array_equal(alone[0], u[1])
    assert (CounterBasedUniform.of(np.random.default_rng(2), rows).uniform(0, 5) != u[:, :5]).all()


def drawn_lists(table, history, k, how, seed):
    """The lists that an aggregation draws, one at a time with the same numbers."""
    rows = Sequences.from_lists([history])
    draws = CounterBasedUniform.of(np.random.default_rng(seed), rows)
    out = []
    for c in range(how.num_samples):
        written = []
        for step in range(k):
            x = open_scores(table, [*history, *written], written).astype(np.float32)[None]
            uniform = draws.uniform(step, how.num_samples)[:, c : c + 1]
            written.append(int(how.draw(x, uniform)[0, 0]))
        out.append(written)
    return out


@pytest.mark.parametrize("discount", [1.0, 0.0, 2.0])
def test_reciprocal_rank_adds_up_its_lists(table, discount):
    how = find_strategy("reciprocal-rank", num_samples=7, temperature=1.5, discount=discount)
    assert find_strategy("reciprocal-rank") == Strategy("reciprocal-rank", 30, 10, 0.6, 20, None, 1.0)
    items, scores = lists(table, HISTORIES, 4, how, seed=3)
    for row, history in enumerate(HISTORIES):
        total = 1e-9 * softmax(open_scores(table, history, []))
        for written in drawn_lists(table, history, 4, how, 3):
            for rank, item in enumerate(written, start=1):
                total[item] += 1 / rank**discount
        wanted = np.argsort(-total, kind="stable")[:4]
        assert items[row].tolist() == wanted.tolist()
        np.testing.assert_allclose(scores[row], total[wanted], rtol=1e-5)


@pytest.mark.parametrize("discount", [0.0, 2.0])
def test_relevance_adds_up_the_probabilities(table, discount):
    how = find_strategy("relevance", num_samples=6, discount=discount)
    assert find_strategy("relevance") == Strategy("relevance", 30, 10, 0.7, None, None, 0.0)
    items, scores = lists(table, HISTORIES, 4, how, seed=3)
    for row, history in enumerate(HISTORIES):
        total = np.zeros(SIZE)
        for written in drawn_lists(table, history, 4, how, 3):
            for step in range(4):
                p = softmax(open_scores(table, [*history, *written[:step]], written[:step]))
                total += p / (step + 1) ** discount / 6
        wanted = np.argsort(-total, kind="stable")[:4]
        np.testing.assert_allclose(scores[row], total[wanted], rtol=1e-4)
        assert items[row].tolist() == wanted.tolist()


def test_relevance_is_what_endless_reciprocal_ranks_come_to(table):
    ranks = lists(table, [[3]], 5, find_strategy("reciprocal-rank", temperature=1.0, top_k=None, num_samples=60_000))
    chances = lists(table, [[3]], 5, find_strategy("relevance", temperature=1.0, discount=1.0, num_samples=20_000))
    assert ranks[0].tolist() == chances[0].tolist()
    np.testing.assert_allclose(ranks[1] / 60_000, chances[1], rtol=0.02)


def test_a_hot_discount_leaves_the_first_softmax(table):
    rows = [h for h in HISTORIES if h]
    steep = lists(table, rows, 5, find_strategy("relevance", discount=60.0))[0]
    assert steep.tolist() == lists(table, rows, 5, "top-k")[0].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_one_by_one(table, kind):
    items, scores = lists(table, HISTORIES, 5, kind, seed=9)
    for row, history in enumerate(HISTORIES):
        alone = lists(table, [history], 5, kind, seed=9)
        assert items[row].tolist() == alone[0][0].tolist()
        np.testing.assert_allclose(scores[row], alone[1][0], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_change_nothing(table, kind, monkeypatch):
    whole = lists(table, HISTORIES, 5, kind, seed=9)
    monkeypatch.setattr("segue.models.generation.generate.BLOCK_BYTES", 4 * SIZE * 40)
    np.testing.assert_array_equal(lists(table, HISTORIES, 5, kind, seed=9)[0], whole[0])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_twice_nothing_excluded_nothing_unasked(table, kind):
    rows = Sequences.from_lists(HISTORIES)
    allowed = np.ones(SIZE, dtype=bool)
    allowed[[2, 6]] = False
    items, scores = lists(table, HISTORIES, 14, kind, exclude=rows, allowed_V=allowed)
    for row, history in enumerate(HISTORIES):
        shown = [i for i in items[row].tolist() if i != PAD]
        assert sorted(shown) == sorted(set(range(1, SIZE)) - set(history) - {2, 6}), "all that is left, once each"
        assert items[row].tolist() == shown + [PAD] * (14 - len(shown))
        assert (np.isneginf(scores[row]) == (items[row] == PAD)).all()


def test_repeats_only_when_asked(table):
    """Item 1 follows every item; without repeats it can come once."""
    loop = Table()
    loop.logits_VV[:, 1] = 50.0
    for kind in ("greedy", "beam", "sample"):
        assert lists(loop, [[3]], 4, find_strategy(kind, allow_repeats=True))[0].tolist() == [[1, 1, 1, 1]]
        assert lists(loop, [[3]], 4, kind)[0][0].tolist().count(1) == 1


@pytest.mark.parametrize("kind", ["sample", "reciprocal-rank", "relevance"])
def test_drawn_lists_repeat_with_the_generator(table, kind):
    hot = find_strategy(kind, temperature=3.0, top_k=None, **({} if kind == "sample" else {"num_samples": 2}))
    one, two, other = (lists(table, HISTORIES, 5, hot, seed=s)[0] for s in (4, 4, 5))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_no_histories_no_lists(table):
    assert lists(table, [], 5, "reciprocal-rank")[0].shape == (0, 5)


def test_it_does_not_touch_its_input(table):
    rows = Sequences.from_lists([[1, PAD, 2], [], [3]])
    for array in (rows.items, rows.starts, rows.stops):
        array.flags.writeable = False
    for kind in KINDS:
        generate(table, rows, 3, kind, rng=np.random.default_rng(0), exclude=rows)


@pytest.mark.parametrize("name", ["covisit", "gru4rec", "gru4rec lstm", "seq2seq", "markov"])
def test_a_continuation_equals_reading_anew(name, fit_model, ring):
    """Also behind the co-visit rule, also where lists are spread and reordered. A Seq2Seq writer does not read what it
    wrote a second time, so there only the first step is compared."""
    quick = {} if name in ("covisit", "markov") else {"embedding_dim": 16, "epochs": 1, "max_length": 30}
    if name == "gru4rec lstm":
        name, quick = "gru4rec", quick | {"cell": "lstm", "num_layers": 2, "input_embedding": "one-hot"}
    scorer = fit_model(name, ring, SIZE, **quick)
    if isinstance(scorer, NeuralScorer):
        scorer = WithCovisitationPrior(scorer, CoVisit.fit(ring, SIZE, CoVisitConfig()), 0.5)
    rows = Sequences.from_lists([h for h in HISTORIES if h])
    fast, slow = initial_state(scorer, rows), FullRescore(scorer, rows)
    np.testing.assert_allclose(fast.scores()[:, 1:], scorer.scores(rows)[:, 1:], rtol=1e-4, atol=1e-4)
    if name == "seq2seq":
        return
    rng = np.random.default_rng(0)
    for parents in (np.repeat(np.arange(5), 3), np.arange(15) // 3 * 3 + rng.integers(0, 3, 15)):
        items = rng.integers(1, SIZE, len(parents)).astype(np.int32)
        fast, slow = fast.extend(parents, items), slow.extend(parents, items)
        np.testing.assert_allclose(fast.scores()[:, 1:], slow.scores()[:, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "values"), [("gru4rec", {"time_inputs": ("gap", "daypart")}), ("hstu", {"target_time": True})]
)
def test_a_history_keeps_its_times_while_its_list_is_written(name, values, fit_model):
    """What is written has no time of its own; what was read has, and the moment of asking stays."""
    walks = [[(start + step) % 12 + 1 for step in range(8)] for start in range(12)]
    hours = [[(start + step * step) * 3_600_000_000 for step in range(8)] for start in range(12)]
    scorer = fit_model(name, Sequences.from_lists(walks, hours), SIZE, epochs=3, max_length=30, **values)
    rows = Sequences.from_lists([[1, 2, 3], [7]], [[0, 10**9, 10**13], [5 * 10**12]]).as_of(np.array([10**14, 10**14]))
    fast, slow = initial_state(scorer, rows), FullRescore(scorer, rows)
    wanted = scorer.scores(rows)[:, 1:]
    assert np.abs(wanted - scorer.scores(Sequences.from_lists(rows.to_lists()))[:, 1:]).max() > 1e-3
    np.testing.assert_allclose(fast.scores()[:, 1:], wanted, rtol=1e-4, atol=1e-4)
    parents, items = np.array([0, 0, 1, 1]), np.array([4, 9, 8, 2], np.int32)
    fast, slow = fast.extend(parents, items), slow.extend(parents, items)
    np.testing.assert_allclose(fast.scores()[:, 1:], slow.scores()[:, 1:], rtol=1e-4, atol=1e-4)
    told = Sequences.from_lists([[1, 2, 3, 4]], [[0, 10**9, 10**13, NO_TIME]]).as_of(np.array([10**14]))
    np.testing.assert_allclose(slow.scores()[:1, 1:], scorer.scores(told)[:, 1:], rtol=1e-4, atol=1e-4)


def test_seq2seq_lists_spread_and_reordered_are_those_written_alone(fit_model, ring):
    scorer = fit_model("seq2seq", ring, SIZE, embedding_dim=16, epochs=1)
    for cells in ("gru", "transformer"):
        scorer = fit_model("seq2seq", ring, SIZE, embedding_dim=16, epochs=1, architecture=cells)
        rows = Sequences.from_lists([[1, 2, 3], [7], [5, 6, 7, 8, 9]])
        rng = np.random.default_rng(0)
        first, second = rng.integers(1, SIZE, 6).astype(np.int32), rng.integers(1, SIZE, 6).astype(np.int32)
        parents = np.array([1, 0, 3, 3, 4, 5])
        together = (
            initial_state(scorer, rows).extend(np.repeat(np.arange(3), 2), first).extend(parents, second).scores()
        )
        for r in range(6):
            alone = initial_state(scorer, rows.take(np.array([r // 2])))
            for item in (first[parents[r]], second[r]):
                alone = alone.extend(np.array([0]), np.array([item]))
            np.testing.assert_allclose(together[r, 1:], alone.scores()[0, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_seq2seq_writes_the_ring(fit_model, ring, kind):
    scorer = fit_model("seq2seq", ring, SIZE)
    items, _ = lists(scorer, [[1, 2, 3], [7, 8, 9], []], 3, kind)
    if kind not in ("top-k", "relevance"):
        assert items[:2].tolist() == [[4, 5, 6], [10, 11, 12]]
    assert (items[2] != PAD).all()


def test_markov_writes_the_ring(ring):
    scorer = Markov.fit(ring, SIZE, MarkovConfig())
    assert lists(scorer, [[4]], 4, "greedy")[0].tolist() == [[5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"kind": "gredy"},
            "There is no strategy 'gredy'. Known strategies: top-k, greedy, beam, sample, reciprocal-rank, relevance.",
        ),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0."),
        ({"beam_width": 0}, "beam_width must be at least 1, got 0."),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0."),
        ({"discount": -1.0}, "discount must not be negative, got -1.0."),
        ({"top_k": 0}, "top_k must be at least 1, got 0."),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5."),
    ],
)
def test_a_strategy_that_cannot_be_is_refused(values, sentence):
    with pytest.raises(ValueError) as caught:
        Strategy(**values)
    assert str(caught.value) == sentence


def test_a_broken_model_and_an_empty_list_are_refused(table):
    with pytest.raises(ValueError, match=r"^k must be at least 1, got 0\.$"):
        lists(table, [[1]], 0, "greedy")
    broken = Table()
    broken.logits_VV[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"^A score is NaN: the model is broken, its list would be arbitrary\.$"):
        lists(broken, [[3]], 2, "greedy")
