"""Generation: each strategy against its definition, decoder states against scoring the whole history again."""

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
STRATEGIES = ["top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"]
HISTORIES = [[3], [1, 2, 3], [7, 8, 9, 10], [], [5, 5, 5], [12, 1, 2, 3, 4, 5, 6, 7]]


class Table:
    """A scorer that uses the newest item alone: its row of logits."""

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


def lists(scorer, rows, k, strategy, seed=0, **options):
    return generate(scorer, Sequences.from_lists(rows), k, strategy, rng=np.random.default_rng(seed), **options)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def masked_scores(table, list_, excluded):
    x = table.logits_VV[list_[-1] if list_ else 0].astype(np.float64)
    x[[0, *excluded]] = -np.inf
    return x


def test_greedy_takes_the_best_each_time(table):
    items, scores = lists(table, HISTORIES, 5, "greedy")
    for row, history in enumerate(HISTORIES):
        generated = []
        for step in range(5):
            x = masked_scores(table, [*history, *generated], generated)
            generated.append(int(x.argmax()))
            assert scores[row, step] == pytest.approx(np.log(softmax(x)[generated[-1]]), rel=1e-4)
        assert items[row].tolist() == generated


def test_top_k_is_the_scorers_own(table):
    rows = Sequences.from_lists(HISTORIES)
    items, scores = lists(table, HISTORIES, 5, "top-k", exclude=rows)
    expected = top_k(table.scores(rows), 5, exclude=rows)
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("width", [1, 3, 200])
def test_beam_equals_a_beam_of_plain_lists(table, width):
    """A width of 200 keeps every list of two steps of 14 items: the likeliest of all."""
    steps = 2 if width == 200 else 4
    items, scores = lists(table, HISTORIES, steps, Strategy("beam", beam_width=width))
    for row, history in enumerate(HISTORIES):
        beam = [(0.0, [])]
        for _ in range(steps):
            grown = []
            for total, generated in beam:
                p = softmax(masked_scores(table, [*history, *generated], generated))
                grown += [(total + np.log(p[i]), [*generated, i]) for i in range(1, SIZE) if i not in generated]
            beam = sorted(grown, key=lambda entry: -entry[0])[:width]
        assert items[row].tolist() == beam[0][1]
        assert scores[row].sum() == pytest.approx(beam[0][0], rel=1e-4)


def test_sampled_frequencies_match_the_softmax(table):
    rng = np.random.default_rng(0)
    uniform = rng.random((2, 40_000))
    scores_RV = table.logits_VV[[1, 2]].copy()
    scores_RV[:, 0] = -np.inf
    for temperature, best, top_p in [
        (1.0, None, None),
        (0.5, None, None),
        (1.0, 3, None),
        (1.0, None, 0.7),
        (2.0, 5, 0.9),
    ]:
        sampled, _ = sample_items(scores_RV, uniform, temperature=temperature, top_k=best, top_p=top_p)
        for row in range(2):
            p = softmax(scores_RV[row].astype(np.float64) / temperature)
            order = np.argsort(-p)
            kept = order[: best or SIZE]
            if top_p is not None:
                share = p[kept] / p[kept].sum()
                kept = kept[np.concatenate([[0.0], np.cumsum(share)])[:-1] < top_p]
            expected = np.zeros(SIZE)
            expected[kept] = p[kept] / p[kept].sum()
            frequency = np.bincount(sampled[row], minlength=SIZE) / 40_000
            np.testing.assert_allclose(frequency, expected, atol=0.012)
            assert set(np.flatnonzero(frequency)) <= set(kept)


def test_the_probability_of_a_draw_is_stated():
    """By hand: of the scores log 6, log 3 and log 1 two are kept, halved by the temperature 2."""
    scores = np.log(np.array([[1e-30, 6.0, 3.0, 1.0]], dtype=np.float32))
    uniform = np.array([[0.1, 0.9]])
    items, shares = sample_items(scores, uniform, temperature=1.0, top_k=None, top_p=None)
    assert items.tolist() == [[1, 2]] or items.tolist() == [[1, 3]]
    items, shares = sample_items(scores, uniform, temperature=2.0, top_k=2, top_p=None)
    assert items.tolist() == [[1, 2]]
    first = 6**0.5 / (6**0.5 + 3**0.5)
    np.testing.assert_allclose(shares, [[first, 1 - first]], rtol=1e-6)
    items, shares = sample_items(np.full((1, 4), -np.inf, np.float32), uniform, temperature=1.0, top_k=2, top_p=None)
    assert (items.tolist(), shares.tolist()) == ([[0, 0]], [[0.0, 0.0]])


def test_random_numbers_are_uniform_and_depend_on_the_history():
    rows = Sequences.from_lists([[1, 2, 3], [3, 2, 1], [], [1, 2], [1, 2, 3]])
    uniforms = CounterBasedUniform.for_histories(np.random.default_rng(1), rows)
    u = uniforms.uniform(0, 4000)
    np.testing.assert_allclose(u.mean(axis=1), 0.5, atol=0.03)
    np.testing.assert_allclose(u.std(axis=1), 12**-0.5, atol=0.02)
    assert abs(np.corrcoef(u[:4])[np.triu_indices(4, 1)]).max() < 0.06
    assert abs(np.corrcoef(u[0], uniforms.uniform(1, 4000)[0])[0, 1]) < 0.06
    np.testing.assert_array_equal(u[0], u[4])
    alone = CounterBasedUniform.for_histories(np.random.default_rng(1), Sequences.from_lists([[3, 2, 1]])).uniform(
        0, 4000
    )
    np.testing.assert_array_equal(alone[0], u[1])
    assert (CounterBasedUniform.for_histories(np.random.default_rng(2), rows).uniform(0, 5) != u[:, :5]).all()


def sampled_lists(table, history, k, strategy, seed):
    """The lists that an aggregate samples, one at a time with the same random numbers."""
    rows = Sequences.from_lists([history])
    uniforms = CounterBasedUniform.for_histories(np.random.default_rng(seed), rows)
    out = []
    for c in range(strategy.num_samples):
        generated = []
        for step in range(k):
            x = masked_scores(table, [*history, *generated], generated).astype(np.float32)[None]
            uniform = uniforms.uniform(step, strategy.num_samples)[:, c : c + 1]
            generated.append(int(strategy.sample(x, uniform)[0][0, 0]))
        out.append(generated)
    return out


@pytest.mark.parametrize("discount", [1.0, 0.0, 2.0])
def test_reciprocal_rank_adds_up_its_lists(table, discount):
    strategy = find_strategy("reciprocal-rank", num_samples=7, temperature=1.5, discount=discount)
    assert find_strategy("reciprocal-rank") == Strategy("reciprocal-rank", 30, 10, 0.6, 20, None, 1.0)
    items, scores = lists(table, HISTORIES, 4, strategy, seed=3)
    for row, history in enumerate(HISTORIES):
        total = 1e-9 * softmax(masked_scores(table, history, []))
        for generated in sampled_lists(table, history, 4, strategy, 3):
            for rank, item in enumerate(generated, start=1):
                total[item] += 1 / rank**discount
        expected = np.argsort(-total, kind="stable")[:4]
        assert items[row].tolist() == expected.tolist()
        np.testing.assert_allclose(scores[row], total[expected], rtol=1e-5)


@pytest.mark.parametrize("discount", [0.0, 2.0])
def test_relevance_adds_up_the_probabilities(table, discount):
    strategy = find_strategy("relevance", num_samples=6, discount=discount)
    assert find_strategy("relevance") == Strategy("relevance", 30, 10, 0.7, None, None, 0.0)
    items, scores = lists(table, HISTORIES, 4, strategy, seed=3)
    for row, history in enumerate(HISTORIES):
        total = np.zeros(SIZE)
        for generated in sampled_lists(table, history, 4, strategy, 3):
            for step in range(4):
                p = softmax(masked_scores(table, [*history, *generated[:step]], generated[:step]))
                total += p / (step + 1) ** discount / 6
        expected = np.argsort(-total, kind="stable")[:4]
        np.testing.assert_allclose(scores[row], total[expected], rtol=1e-4)
        assert items[row].tolist() == expected.tolist()


def test_relevance_is_the_limit_of_reciprocal_ranks(table):
    ranks = lists(table, [[3]], 5, find_strategy("reciprocal-rank", temperature=1.0, top_k=None, num_samples=60_000))
    chances = lists(table, [[3]], 5, find_strategy("relevance", temperature=1.0, discount=1.0, num_samples=20_000))
    assert ranks[0].tolist() == chances[0].tolist()
    np.testing.assert_allclose(ranks[1] / 60_000, chances[1], rtol=0.02)


def test_a_hot_discount_leaves_the_first_softmax(table):
    rows = [h for h in HISTORIES if h]
    steep = lists(table, rows, 5, find_strategy("relevance", discount=60.0))[0]
    assert steep.tolist() == lists(table, rows, 5, "top-k")[0].tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_batch_equals_one_by_one(table, strategy):
    items, scores = lists(table, HISTORIES, 5, strategy, seed=9)
    for row, history in enumerate(HISTORIES):
        alone = lists(table, [history], 5, strategy, seed=9)
        assert items[row].tolist() == alone[0][0].tolist()
        np.testing.assert_allclose(scores[row], alone[1][0], rtol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_blocks_change_nothing(table, strategy, monkeypatch):
    whole = lists(table, HISTORIES, 5, strategy, seed=9)
    monkeypatch.setattr("segue.models.generation.generate.BLOCK_BYTES", 4 * SIZE * 40)
    np.testing.assert_array_equal(lists(table, HISTORIES, 5, strategy, seed=9)[0], whole[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_lists_hold_no_item_twice_and_no_excluded_item(table, strategy):
    rows = Sequences.from_lists(HISTORIES)
    allowed = np.ones(SIZE, dtype=bool)
    allowed[[2, 6]] = False
    items, scores = lists(table, HISTORIES, 14, strategy, exclude=rows, allowed_V=allowed)
    for row, history in enumerate(HISTORIES):
        sstrategyn = [i for i in items[row].tolist() if i != PAD]
        assert sorted(sstrategyn) == sorted(set(range(1, SIZE)) - set(history) - {2, 6}), "all that is left, once each"
        assert items[row].tolist() == sstrategyn + [PAD] * (14 - len(sstrategyn))
        assert (np.isneginf(scores[row]) == (items[row] == PAD)).all()


def test_items_repeat_only_if_allowed(table):
    """Item 1 follows every item; without repeats it can come once."""
    loop = Table()
    loop.logits_VV[:, 1] = 50.0
    for name in ("greedy", "beam", "sample"):
        assert lists(loop, [[3]], 4, find_strategy(name, allow_repeats=True))[0].tolist() == [[1, 1, 1, 1]]
        assert lists(loop, [[3]], 4, name)[0][0].tolist().count(1) == 1


@pytest.mark.parametrize("name", ["sample", "reciprocal-rank", "relevance"])
def test_sampled_lists_repeat_with_the_generator(table, name):
    hot = find_strategy(name, temperature=3.0, top_k=None, **({} if name == "sample" else {"num_samples": 2}))
    first, second, other = (lists(table, HISTORIES, 5, hot, seed=s)[0] for s in (4, 4, 5))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_no_histories_no_lists(table):
    assert lists(table, [], 5, "reciprocal-rank")[0].shape == (0, 5)


def test_it_does_not_touch_its_input(table):
    rows = Sequences.from_lists([[1, PAD, 2], [], [3]])
    for array in (rows.items, rows.starts, rows.stops):
        array.flags.writeable = False
    for strategy in STRATEGIES:
        generate(table, rows, 3, strategy, rng=np.random.default_rng(0), exclude=rows)


@pytest.mark.parametrize("name", ["covisit", "gru4rec", "gru4rec lstm", "seq2seq", "markov"])
def test_a_decoder_state_equals_a_full_rescore(name, fit_model, ring):
    """Also with a co-visitation prior, also where lists are spread and reordered. A Seq2Seq decoder does not encode its
    own output again, so there only the first step is compared."""
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
def test_a_history_keeps_its_times_during_generation(name, values, fit_model):
    """Generated items have no time; events of the history keep theirs, and the query time stays."""
    walks = [[(start + step) % 12 + 1 for step in range(8)] for start in range(12)]
    hours = [[(start + step * step) * 3_600_000_000 for step in range(8)] for start in range(12)]
    scorer = fit_model(name, Sequences.from_lists(walks, hours), SIZE, epochs=3, max_length=30, **values)
    rows = Sequences.from_lists([[1, 2, 3], [7]], [[0, 10**9, 10**13], [5 * 10**12]]).as_of(np.array([10**14, 10**14]))
    fast, slow = initial_state(scorer, rows), FullRescore(scorer, rows)
    expected = scorer.scores(rows)[:, 1:]
    assert np.abs(expected - scorer.scores(Sequences.from_lists(rows.to_lists()))[:, 1:]).max() > 1e-3
    np.testing.assert_allclose(fast.scores()[:, 1:], expected, rtol=1e-4, atol=1e-4)
    parents, items = np.array([0, 0, 1, 1]), np.array([4, 9, 8, 2], np.int32)
    fast, slow = fast.extend(parents, items), slow.extend(parents, items)
    np.testing.assert_allclose(fast.scores()[:, 1:], slow.scores()[:, 1:], rtol=1e-4, atol=1e-4)
    timed = Sequences.from_lists([[1, 2, 3, 4]], [[0, 10**9, 10**13, NO_TIME]]).as_of(np.array([10**14]))
    np.testing.assert_allclose(slow.scores()[:1, 1:], scorer.scores(timed)[:, 1:], rtol=1e-4, atol=1e-4)


def test_seq2seq_lists_in_a_batch_equal_lists_alone(fit_model, ring):
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


@pytest.fixture(scope="module")
def seq2seq(fit_model, ring):
    return fit_model("seq2seq", ring, SIZE)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_trained_seq2seq_generates_the_ring(seq2seq, strategy):
    items, _ = lists(seq2seq, [[1, 2, 3], [7, 8, 9], []], 3, strategy)
    if strategy not in ("top-k", "relevance"):
        assert items[:2].tolist() == [[4, 5, 6], [10, 11, 12]]
    assert (items[2] != PAD).all()


def test_markov_generates_the_ring(ring):
    scorer = Markov.fit(ring, SIZE, MarkovConfig())
    assert lists(scorer, [[4]], 4, "greedy")[0].tolist() == [[5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"name": "gredy"},
            "There is no strategy 'gredy'. Known strategies: top-k, greedy, beam, sample, reciprocal-rank, relevance.",
        ),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0."),
        ({"beam_width": 0}, "beam_width must be at least 1, got 0."),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0."),
        ({"discount": -1.0}, "discount must be at least 0, got -1.0."),
        ({"top_k": 0}, "top_k must be at least 1, or none, got 0."),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, or none, got 1.5."),
    ],
)
def test_settings_out_of_range_are_refused(values, sentence):
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
