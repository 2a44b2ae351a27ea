"""Foreign models: each fault is refused in one sentence, within limits of time and memory, once, and the old version
goes on."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.support import foreign_models
from tests.support.cli import run
from tests.support.foreign_models import Mutation
from tests.support.live_server import live_client
from tests.support.ring import split_of

from segue.models import artifact
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.neural.onnx_checks import check_graph
from segue.models.zoo import find_model
from segue.serving.administration.admin_service import AdminService
from segue.serving.config import ExaminationConfig, ServingConfig
from segue.serving.deployment import candidate_examination
from segue.serving.deployment.candidate_examination import CandidateExaminer
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.model_source import model_source
from segue.serving.deployment.self_test import run_self_test
from segue.serving.http.app import App
from segue.serving.http.handlers import AppState
from segue.serving.inference.served_model import ServedModel
from segue.serving.server import open_services
from segue.workflows.fit_model import fit_model

DIM = 4


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sound artifacts: counted, recurrent, of neighbors, and one whose encoder is a small ONNX graph."""
    folder, split = tmp_path_factory.mktemp("bases"), split_of(60)
    settings: dict[str, dict[str, object]] = {"gru4rec": {"epochs": 1, "embedding_dim": 8, "covisitation_weight": 0.0}}
    items = {split.catalog.ids[0]: {"title": "The first", "price": 2.5}}
    for name in ("markov", "popularity", "vsknn", "gru4rec"):
        fitted = fit_model(name, split, settings.get(name, {}))
        saved = artifact.Artifact(name, fitted.settings, split.catalog, fitted.scorer.arrays(), items, {})
        artifact.save(saved, folder / name)
    graph = np.frombuffer(foreign_models.last_event_graph(DIM), np.uint8)
    table = np.random.default_rng(0).normal(size=(split.catalog.size, DIM)).astype(np.float32)
    arrays = {"table": table, "start": np.zeros(len(table), np.float32), "encoder.onnx": graph}
    config = {"embedding_dim": DIM, "num_heads": 1}
    assert find_model("sasrec").config is SASRecConfig
    artifact.save(artifact.Artifact("sasrec", config, split.catalog, arrays, items, {}), folder / "sasrec")
    return {path.name: path for path in folder.iterdir()}


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        work()
    return str(error.value)


def mutations(base: Path) -> list[Mutation]:
    """Return all faults of an artifact but the giant, which needs the limits of an examination."""
    made = [*foreign_models.tensor_faults(base, base.name)]
    if base.name == "sasrec":
        made += [one for one in foreign_models.onnx_faults(base) if "terabyte" not in one.name]
    if base.name == "markov":
        made += [*foreign_models.damages(base), *foreign_models.links(base), *foreign_models.json_faults(base)]
        made += [one for one in foreign_models.header_faults() if "sparse" not in one.name]
    return made


@pytest.mark.parametrize("name", ["markov", "vsknn", "gru4rec", "sasrec"])
def test_each_fault_is_refused_in_one_sentence(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The same checks as in an examination, in this process: hundreds of candidates in a second."""
    run_self_test(ServedModel.open(bases[name]))
    accepted = []
    for number, mutation in enumerate(mutations(bases[name])):
        folder = foreign_models.make(bases[name], tmp_path / str(number), mutation)
        try:
            run_self_test(ServedModel.open(folder))
            accepted.append(mutation.name)
        except ValueError as error:
            assert str(error) and "\n" not in str(error), mutation.name
    assert accepted == []


def test_a_graph_of_standard_operators_is_accepted() -> None:
    check_graph(foreign_models.last_event_graph(DIM))


@pytest.mark.parametrize("fault", ["that needs a terabyte", "a sparse file of 4 TB", "takes long"])
def test_giants_end_at_the_limits(bases: dict[str, Path], tmp_path: Path, fault: str) -> None:
    base, limits = bases["sasrec"], ExaminationConfig(memory_mb=1500)
    made = [*foreign_models.onnx_faults(base), *foreign_models.header_faults(), foreign_models.slow_graph(DIM)]
    mutation = next(one for one in made if one.name.endswith(fault))
    if fault == "takes long":
        limits = ExaminationConfig(time_s=2.0)
    folder = foreign_models.make(base, tmp_path / "candidate", mutation)
    started = time.monotonic()
    message = refusal(lambda: CandidateExaminer(limits).examine(folder))
    assert {"that needs a terabyte": "memory", "a sparse file of 4 TB": "memory", "takes long": "took longer than"}[
        fault
    ] in message or "alloc" in message
    assert time.monotonic() - started < 60


def test_an_examination_ends_with_its_caller(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = foreign_models.make(bases["sasrec"], tmp_path / "candidate", foreign_models.slow_graph(DIM))
    examiner = CandidateExaminer()
    ends = threading.Timer(0.5, examiner.close)
    ends.start()
    assert refusal(lambda: examiner.examine(folder)) == f"The examination of {folder} was stopped."


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Path], "contextmanager[AdminService]"]]:
    """Open the parts of a server on a folder; its checks are made by ``reload``."""

    @contextmanager
    def opener(folder: Path) -> Iterator[tuple[AdminService, list[str]]]:
        (tmp_path / "data").mkdir(exist_ok=True)
        messages: list[str] = []
        with ExitStack() as stack:
            config = ServingConfig(reload_interval_s=3600)
            yield open_services(tmp_path / "data", model_source(folder), config, messages.append, stack), messages

    yield opener


def place(folder: Path, target: Path) -> None:
    """Put a copy of a folder in the place of another one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)


def test_a_server_refuses_candidates_and_goes_on(bases, opened, tmp_path, monkeypatch) -> None:
    """Each is examined once, requests are answered meanwhile, and a sound version is deployed afterwards."""
    examined, failed, served = [], [], set()
    examine = CandidateExaminer._run

    def counted(self, folder, *arguments):
        examined.append(folder)
        return examine(self, folder, *arguments)

    monkeypatch.setattr(CandidateExaminer, "_run", counted)
    place(bases["popularity"], tmp_path / "run")
    chosen = ["backoff: NaN last", "columns: too large", "items.json with NaN", "weights.safetensors is a pipe"]
    chosen += ["header of 90 MB", "manifest too deep", "manifest.json is a link", "offsets missing"]
    everything = {one.name: one for one in mutations(bases["markov"])}
    with ExitStack() as stack:
        admin, _ = stack.enter_context(opened(tmp_path / "run"))
        state = AppState(admin.router, admin=admin)
        state.loop_lag.limit_ms = 10_000  # a slow test machine is no overload
        web = stack.enter_context(live_client(App(state)))
        live = admin.router.deployment.live.version
        stop = threading.Event()

        def request() -> None:
            while not stop.is_set():
                response = web.post("/v1/recommend", json={"k": 3})
                if response.status_code != 200:
                    failed.append(response.text)
                served.add(response.json().get("model_version"))

        client = threading.Thread(target=request)
        client.start()
        for name in chosen:
            shutil.rmtree(tmp_path / "run")
            foreign_models.make(bases["markov"], tmp_path / "run", everything[name])
            before = len(examined)
            for _ in range(3):
                try:
                    assert "stay" in admin.reloader.reload()
                except ValueError as error:  # no manifest to be read
                    assert "manifest" in str(error)
            assert len(examined) <= before + 1, name
        stop.set()
        client.join()
        assert (failed, served) == ([], {live})
        place(bases["markov"], tmp_path / "run")
        assert admin.reloader.reload() == f"Version {artifact.version(bases['markov'])} is live."


def test_a_changed_candidate_is_tried_again(bases, opened, tmp_path) -> None:
    """A copy whose last file is still being written is refused, and deployed when it is whole."""
    place(bases["popularity"], tmp_path / "run")
    with opened(tmp_path / "run") as (admin, _):
        place(bases["markov"], tmp_path / "run")
        weights = (tmp_path / "run" / "weights.safetensors").read_bytes()
        (tmp_path / "run" / "weights.safetensors").write_bytes(weights[:100])
        assert "bytes instead of" in admin.reloader.reload()
        assert admin.reloader.reload() == "The pointer names a deployment that failed; the loaded one stays."
        (tmp_path / "run" / "weights.safetensors").write_bytes(weights)
        assert admin.reloader.reload().endswith("is live.")


@pytest.mark.parametrize("writable", [True, False])
def test_a_start_on_a_damaged_version_falls_back(bases, opened, tmp_path, monkeypatch, writable) -> None:
    registry = ModelRegistry(tmp_path / "models")
    one, two = (registry.add(bases[name]) for name in ("popularity", "markov"))
    registry.promote(one)
    registry.promote(two)
    path = registry.path(two) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    candidate_examination._passed.clear()
    if not writable:
        monkeypatch.setattr(ModelRegistry, "_write", lambda *arguments: os.stat("/no such folder"))
    with opened(registry.folder) as (admin, messages):
        assert admin.router.deployment.live.version == one
        assert "bytes instead of" in messages[-1] and messages[-1].endswith(
            "The previous deployment is served instead."
        )
        assert admin.models().message == messages[-1]
        assert b"segue_deployment_fell_back 1.0" in admin.router.metrics.text()
        assert registry.pointer().current.live == (one if writable else two)
        assert [row.problem != "" for row in registry.versions()] == [False, True]


def test_commands_end_with_a_sentence(bases, tmp_path) -> None:
    """Exit code 2, no traceback; and a start with nothing to fall back to."""
    everything = {one.name: one for one in mutations(bases["markov"])}
    registry = tmp_path / "models"
    run("promote", registry, bases["popularity"])
    for number, name in enumerate(["columns: too large", "the folder is a link", "items.json is deep"]):
        candidate = foreign_models.make(bases["markov"], tmp_path / str(number), everything[name])
        for command in (["promote", registry, candidate], ["serve", candidate, "--data", tmp_path / "data"]):
            done = run(*command, code=2)
            assert done.stderr.startswith("segue: ") and "Traceback" not in done.stderr, name
    assert len(ModelRegistry(registry).versions()) == 1


def test_a_second_training_into_one_folder_is_refused(tmp_path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\n" + "".join(f"u{i % 20},i{i % 7},{1_700_000_000 + i}\n" for i in range(400)))
    target = (tmp_path / "run").resolve()
    from segue.cli.commands import train

    with train._only_training(target, resumed=False):
        done = run("train", log, "--model", "popularity", "--out", target, code=2)
        assert done.stderr == (
            f"segue: Another training into {target} is running: wait for its end, or choose another --out.\n"
        )
    run("train", log, "--model", "popularity", "--out", target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "run"]
