"""The server runs where torch, polars and scipy are not installed."""

import subprocess
import sys

import pytest

from segue.models.zoo import ZOO
from segue.serving.inference.served_model import ServedModel

PROGRAM = """
import sys
for name in ("torch", "polars", "scipy", "pandas", "typer", "rich"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
from pathlib import Path
import segue.serving.server, segue.serving.client.client
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter
model = ServedModel.open(Path(sys.argv[1]))
store = EventStore(Path(sys.argv[2]))
sessions = SessionCache(store, model.catalog)
writer = GroupCommitWriter(store, sessions.add)
engine = Engine(model, sessions, writer)
engine.store([EventIn(item_id="e", user_id="ann")])[0].result(10)
print(engine.recommend(RecommendRequest(user_id="ann", k=1)).items[0].id)
writer.close()
"""


@pytest.mark.parametrize("name", ZOO)
def test_an_answer_needs_neither_torch_nor_polars_nor_scipy(name, save, ring, tmp_path):
    run = save(tmp_path / "run", name, ring)
    command = [sys.executable, "-c", PROGRAM, str(run), str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ServedModel.open(run).top_k([5], 1, exclude=[5])[0].id + "\n"
