"""What was evaluated is what is served: the server's lists equal the scorer's, item by item and score by score."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.restore import restore
from segue.models.scorer import top_k
from segue.models.zoo import ZOO
from segue.serving.api import Door, build
from segue.serving.engine import Engine, Model
from segue.serving.fleet import Fleet
from segue.serving.schema import EventIn
from segue.serving.sessions import Sessions
from segue.serving.writer import Writer

SIZE = 60


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(11)
    return Sequences.from_lists([rng.zipf(1.4, 9).clip(1, SIZE).tolist() for _ in range(200)])


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("name", ZOO)
def test_served_lists_equal_evaluated_lists(name, exclude_seen, log, save, store, tmp_path):
    run = save(tmp_path / "run", name, log, SIZE)
    saved = artifact.load(run)
    rng = np.random.default_rng(5)
    histories = Sequences.from_lists([rng.integers(1, SIZE + 1, rng.integers(0, 12)).tolist() for _ in range(40)])
    exclude = histories if exclude_seen else None
    scorer = restore(saved)
    _, together_BK = top_k(scorer.scores(histories), 20, exclude=exclude)

    model = Model.open(run)
    sessions = Sessions(store, model.catalog)
    writer = Writer(store, sessions.add)
    engine = Engine(model, sessions, writer)
    with TestClient(build(Door(Fleet.of(engine, sessions)))) as web:
        for row, history in enumerate(histories.lists()):
            alone = histories.take(slice(row, row + 1))
            items, scores = top_k(scorer.scores(alone), 20, exclude=alone if exclude_seen else None)
            wanted = list(zip(saved.catalog.names(items[0]), scores[0].tolist(), strict=False))
            # A matrix product rounds its last bit by the batch's size, so a whole batch is equal only up to that.
            np.testing.assert_allclose(scores[0], together_BK[row], rtol=1e-5, atol=1e-5)
            raw = [saved.catalog.ids[item - 1] for item in history]
            asked = {"k": 20, "exclude_seen": exclude_seen}
            answer = web.post("/v1/recommend", json={**asked, "history": raw}).json()
            assert [(one["id"], one["score"]) for one in answer["items"]] == wanted
            if raw:
                events = [EventIn(item_id=item, user_id=f"u{row}", timestamp=t) for t, item in enumerate(raw)]
                engine.store(events)[0].result(10)
                answer = web.post("/v1/recommend", json={**asked, "user_id": f"u{row}"}).json()
                assert [(one["id"], one["score"]) for one in answer["items"]] == wanted, "from the event log too"
    writer.close()
