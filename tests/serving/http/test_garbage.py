"""Memory of requests that fail: none waits for the collector of cycles, which runs rarely in a server."""

import asyncio
import gc
import time

import pytest
from tests.support.live_server import live_client

from segue.data.erasure_list import ErasureList
from segue.serving.http.app import App
from segue.serving.http.auth import Keys
from segue.serving.http.handlers import AppState
from segue.serving.inference.micro_batcher import BatchingConfig, DeadlineExceeded, MicroBatcher


@pytest.fixture
def garbage():
    """List of the objects that only the collector of cycles has found, filled at the end of ``collect``."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def collect(*names):
        gc.collect()
        found = [entry for entry in gc.garbage if type(entry).__name__ in names]
        gc.garbage.clear()
        return len(found)

    yield collect
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def test_a_request_past_its_deadline_leaves_no_cycle(garbage):
    async def many():
        waiting = [asyncio.create_task(batcher.submit("query")) for _ in range(20)]
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(one, DeadlineExceeded) for one in done) >= 10

    batcher = MicroBatcher(lambda batch: time.sleep(0.2) or batch, BatchingConfig(max_batch_size=1, timeout_ms=10))
    asyncio.run(many())
    batcher.close()
    assert garbage("DeadlineExceeded", "_WaitingQuery") == 0


def test_a_refused_request_leaves_no_cycle(garbage, tmp_path, run, open_server):
    with open_server(tmp_path / "server", run) as opened:
        app = App(AppState(opened.admin.router, Keys({}), opened.admin))
        with live_client(app) as client:
            refusals = [{"item_id": "no item"}, {"item_id": ""}, {"item_id": "no item", "k": 0}]
            statuses = {client.post("/v1/similar", json=body).status_code for body in refusals * 5}
            assert statuses == {404, 422}
            assert garbage("Problem", "_WaitingQuery", "ValidationError") == 0


def test_an_erasure_leaves_no_cycle(garbage, tmp_path):
    erasures = ErasureList.open(tmp_path)
    garbage()
    erasures.add_digests({erasures.digest("user_id", "ann"): 1})
    assert garbage("JSONEncoder", "function", "cell") == 0
