"""States that are advanced event by event equal the encoding of the whole history, whatever happened between."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.serving.config import SessionsConfig
from segue.serving.inference.recurrent_states import recurrent_states
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_store import EventStore

LENGTH, DIM = 5, 4
CATALOG = Catalog("abcdef")


def network(layers=2):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    shapes = {"input": (3 * DIM, DIM), "state": (3 * DIM, DIM), "input_bias": (3 * DIM,), "state_bias": (3 * DIM,)}
    gru = NumpyGRU([{name: draw(*shape) for name, shape in shapes.items()} for _ in range(layers)], LENGTH)
    return NeuralScorer("gru4rec", gru, draw(CATALOG.size, DIM), np.ones(CATALOG.size, np.float32), temperature=0.1)


class Counted(NumpyGRU):
    """Encoder that counts the events it reads."""

    stepped = 0

    def encode(self, histories, vectors_ND):
        self.stepped += len(vectors_ND)
        return super().encode(histories, vectors_ND)

    def step(self, state_LBD, vectors_BD):
        self.stepped += len(vectors_BD)
        return super().step(state_LBD, vectors_BD)


def from_scratch(scorer, items):
    known = Sequences.from_lists([[item for item in items if item != PAD]])
    if not known.lengths[0]:
        return np.zeros(DIM, np.float32)
    return scorer.encoder.encode(*scorer.encode(known))[0]


STEP = st.tuples(st.sampled_from("abcdefz"), st.sampled_from("xyz"), st.integers(0, 6), st.sampled_from("xyz?"))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=30), st.sampled_from([3, 8, 50]), st.integers(1, 3), st.integers(1, 2))
def test_stepped_states_equal_encoding_the_whole_history(tmp_path_factory, event, steps, length, keys, layers):
    """Unknown items, late events, events that leave a full history, evictions, histories longer than the encoder's
    length: the state is always that of the history in the log."""
    store = EventStore(tmp_path_factory.mktemp("log") / "log")
    scorer = network(layers)
    sessions = SessionCache(store, CATALOG, SessionsConfig(max_length=length, max_histories=keys))
    live = recurrent_states(Retriever(scorer), sessions)
    for item, user, second, requested in steps:
        sessions.add(store.append([[event(item, user, timestamp=second)]], force=False)[1])
        if requested != "?":
            rows = [sessions.view(("user_id", one)) for one in dict.fromkeys([requested, user])]
            hidden_BD = live.hidden([*rows, [1, 2, PAD, 3]])
            for row, hidden in zip([*(one.items for one in rows), [1, 2, 3]], hidden_BD, strict=True):
                np.testing.assert_allclose(hidden, from_scratch(scorer, row), atol=1e-5)
    store.close()


def test_each_event_of_a_short_history_is_encoded_once(store, event):
    scorer = network()
    scorer.encoder = Counted(scorer.encoder.layers, LENGTH)
    sessions = SessionCache(store, CATALOG)
    live = recurrent_states(Retriever(scorer), sessions)
    for number in range(LENGTH):
        sessions.add(store.append([[event("abcdef"[number], timestamp=number)]])[1])
        live.hidden([sessions.view(("user_id", "ann"))])
        assert scorer.encoder.stepped == number + 1
    live.hidden([sessions.view(("user_id", "ann"))])
    assert scorer.encoder.stepped == LENGTH, "asking again reads nothing"
    for number in (1, 2):
        sessions.add(store.append([[event("a", timestamp=90 + number)]])[1])
        live.hidden([sessions.view(("user_id", "ann"))])
        assert scorer.encoder.stepped == LENGTH + number * LENGTH, "the window moves, so it is read anew"


def test_a_state_of_a_changed_history_is_not_kept(store, event):
    """A late event arrives between reading the history and saving its state."""
    sessions = SessionCache(store, CATALOG)
    sessions.add(store.append([[event("b", timestamp=20)]])[1])
    before = sessions.view(("user_id", "ann"))
    sessions.add(store.append([[event("a", timestamp=10)]])[1])
    sessions.save_state(before, np.ones((1, DIM), np.float32))
    assert sessions.view(("user_id", "ann")).state is None
    now = sessions.view(("user_id", "ann"))
    sessions.add(store.append([[event("c", timestamp=30)]])[1])
    sessions.save_state(now, np.ones((1, DIM), np.float32))
    kept = sessions.view(("user_id", "ann"))
    assert (kept.items, kept.num_read) == ([1, 2, 3], 2), "an event behind it does not hurt: it is stepped next"
    assert kept.state is not None


def test_a_state_that_is_not_finite_is_not_kept(store, event):
    """An event whose embedding is broken: the state before it stays, and other users' states are untouched."""
    scorer = network()
    scorer.input_embeddings_VD[6] = np.nan
    sessions = SessionCache(store, CATALOG)
    live = recurrent_states(Retriever(scorer), sessions)
    keys = [("user_id", "ann"), ("user_id", "bob")]
    for second, items in enumerate(("aa", "fb", "cc")):
        for (_, user), item in zip(keys, items, strict=True):
            sessions.add(store.append([[event(item, user, timestamp=second)]])[1])
        hidden_BD = live.hidden([sessions.view(key) for key in keys])
        assert np.isfinite(hidden_BD[1]).all() and np.isfinite(hidden_BD[0]).all() == (second == 0)
    kept, other = (sessions.view(key) for key in keys)
    assert (kept.num_read, other.num_read) == (1, 3)
    assert np.isfinite(kept.state).all()
    with pytest.raises(ValueError, match="A score is NaN"):
        Retriever(scorer).top_k([RetrievalQuery(kept.items)], 2, hidden_BD[:1])


def test_states_are_equal_after_a_restart(tmp_path, event):
    scorer, path = network(), tmp_path / "log"
    store = EventStore(path)
    sessions = SessionCache(store, CATALOG)
    live = recurrent_states(Retriever(scorer), sessions)
    for number, item in enumerate("abcab"):
        sessions.add(store.append([[event(item, timestamp=number)]])[1])
        before = live.hidden([sessions.view(("user_id", "ann"))])
    store.close()
    again = EventStore(path)
    sessions = SessionCache(again, CATALOG)
    after = recurrent_states(Retriever(scorer), sessions).hidden([sessions.view(("user_id", "ann"))])
    np.testing.assert_allclose(after, before, atol=1e-6)
    again.close()


def test_only_a_recurrent_network_steps(store):
    counts = Markov.fit(Sequences.from_lists([[1, 2]]), CATALOG.size, MarkovConfig())
    assert recurrent_states(Retriever(counts), SessionCache(store, CATALOG)) is None
    with pytest.raises(AssertionError):
        Retriever(counts).encode(Sequences.from_lists([[1]]))
