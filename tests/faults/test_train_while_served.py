"""A training does not replace the model that a server follows, unless it is meant to."""

import json
from pathlib import Path

from tests.support.cli import run
from tests.support.server_process import ServerProcess, wait_until


def test_train_into_a_served_folder(tmp_path: Path) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "run"
    log.write_text("user,item,time\n" + "".join(f"u{i % 20},i{i % 7},{1_700_000_000 + i}\n" for i in range(400)))
    train = ["train", log, "--model", "popularity", "--out", out]
    run(*train)
    manifest = (out / "manifest.json").read_bytes()
    server = ServerProcess(out, tmp_path / "data").wait_ready()

    def version() -> str:
        status, body = server.request("POST", "/v1/recommend", {"history": ["i0"], "k": 1})
        assert status == 200, body
        return str(json.loads(body)["model_version"])

    try:
        before = version()
        done = run(*train, code=2)
        assert "is being served, and the server would deploy what is written there" in done.stderr
        assert (out / "manifest.json").read_bytes() == manifest
        run(*train, "--replace", "--seed", "5")
        wait_until(lambda: version() != before)
        run(*train, code=2)
    finally:
        server.kill()
    run(*train)  # the mark of a killed server means nothing
