"""The server runs where torch, polars and scipy are not installed."""

import subprocess
import sys

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
for run in sys.argv[2:]:
    model = ServedModel.open(Path(run))
    store = EventStore(Path(sys.argv[1]) / Path(run).name)
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    engine = Engine(model, sessions, writer)
    engine.store([EventIn(item_id="i4", user_id="ann")])[0].result(10)
    print(Path(run).name, engine.recommend(RecommendRequest(user_id="ann", k=1)).items[0].id)
    writer.close()
"""


def test_every_model_is_served_without_torch_polars_and_scipy(save, replay_log, replay_items, tmp_path):
    runs = {name: save(tmp_path / name, name, replay_log, replay_items) for name in ZOO}
    stores = tmp_path / "stores"
    stores.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(stores), *map(str, runs.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    expected = [f"{name} {ServedModel.open(run).top_k([5], 1, exclude=[5])[0].id}" for name, run in runs.items()]
    assert done.stdout.splitlines() == expected
