"""Several processes on one port: every process has every event, and each event is stored once."""

import itertools
import os
import re
import signal
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from segue.serving.config import ServingConfig
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.observability.prometheus import merge_metrics
from segue.serving.schemas.admin import ModelsResponse
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, RecommendRequest

WORKERS = 3
RING = "abcdefghijkl"


@pytest.fixture
def server(start):
    """A server of three processes, all of which serve requests."""
    return ready(start(WORKERS=str(WORKERS)))


@pytest.fixture(scope="module")
def shared_server(run, launch, tmp_path_factory):
    """A server of three processes for tests that end none of them; each test has users of its own."""
    server = launch(run, tmp_path_factory.mktemp("workers") / "data", WORKERS=str(WORKERS))
    try:
        yield ready(server)
    finally:
        server.end()


def ready(server):
    """Return the server, once every process serves requests."""
    deadline = time.monotonic() + 30
    while len(serving(server)) < WORKERS:
        assert time.monotonic() < deadline, f"Only {serving(server)} serve requests."
        time.sleep(0.05)
    return server


def metrics(server):
    server.client().close()
    with urllib.request.urlopen(server.url + "/metrics", timeout=5) as response:
        return response.read().decode()


def serving(server):
    """Return the numbers of the processes whose metrics are merged."""
    pattern = r'segue_store_writable\{worker="(\d)"\}|segue_deployed_version\{.*worker="(\d)"\}'
    return set(re.findall(pattern, metrics(server)))


def requests_by_worker(server):
    """Return the number of lists of each process."""
    found = re.findall(r'segue_recommendations_total\{variant="live",worker="(\d)"\} (\S+)', metrics(server))
    return {number: float(count) for number, count in found if float(count)}


def worker_pids(server):
    """Return the process numbers of the workers."""
    pids = []
    for children in Path(f"/proc/{server.process.pid}/task").glob("*/children"):
        pids += [int(pid) for pid in children.read_text(encoding="ascii").split()]
    assert len(pids) == WORKERS - 1
    return pids


def test_an_event_changes_the_next_list_of_every_process(shared_server):
    """Every call is a connection of its own, which the system hands to any process: each event must be in the history
    of the next list, though another process received it."""
    for n in range(150):
        item, following = RING[n % 12], RING[(n + 1) % 12]
        with shared_server.client() as client:
            client.events([EventIn(item_id=item, user_id="ann")])
        with shared_server.client() as client:
            answer = client.recommend(RecommendRequest(user_id="ann", k=1, exclude_seen=False))
        assert [one.id for one in answer.items] == [following], n
    lists = requests_by_worker(shared_server)
    assert len(lists) == WORKERS and min(lists.values()) > 10, lists


def test_events_and_lists_of_many_users_at_once(shared_server):
    """Users walk the ring from several threads, event and list in one request; no list is outdated."""
    wrong: list[str] = []

    def walk(user: int) -> None:
        for n in range(40):
            event = EventIn(item_id=RING[(user + n) % 12])
            request = RecommendRequest(session_id=f"s{user}", k=1, event=event, exclude_seen=False)
            with shared_server.client() as client:
                if client.recommend(request).items[0].id != RING[(user + n + 1) % 12]:
                    wrong.append(f"{user} at {n}")

    threads = [threading.Thread(target=walk, args=(user,)) for user in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_event_sent_twice_to_different_processes_is_stored_once(shared_server):
    receipts = []
    for _ in range(12):
        with shared_server.client() as client:
            receipts.append(client.events([EventIn(item_id="a", user_id="bo", event_id="once")]))
    assert sum(one.accepted for one in receipts) == 1
    assert sum(one.duplicates for one in receipts) == 11
    with shared_server.client() as client, pytest.raises(Problem, match="already stored with another body"):
        client.events([EventIn(item_id="b", user_id="bo", event_id="once")])


def test_every_process_refuses_an_event_with_the_same_sentence(shared_server):
    messages = Counter()
    for _ in range(12):
        with shared_server.client() as client:
            try:
                client.events([EventIn(item_id="a", user_id="bo", timestamp="yesterday")])
            except Problem as problem:
                messages[problem.status, problem.detail] += 1
    assert sum(messages.values()) == 12 and len(messages) == 1


def test_user_data_and_reports_come_from_the_primary_process_and_every_process_forgets(shared_server):
    for n in range(20):
        with shared_server.client() as client:
            client.events([EventIn(item_id=RING[n % 12], user_id="cy")])
        with shared_server.client() as client:
            client.recommend(RecommendRequest(user_id="cy", k=3, placement="cy"))
    with shared_server.client() as client:
        assert len(client.user("cy").events) == 20
        assert sum(cell.lists for cell in client.report().cells if cell.placement == "cy") == 20
        receipt = client.erase("cy")
    assert receipt.events == 20
    popular = None
    for _ in range(12):
        with shared_server.client() as client:
            got = [one.id for one in client.recommend(RecommendRequest(user_id="cy", k=3)).items]
            popular = popular or [one.id for one in client.recommend(RecommendRequest(user_id="nobody", k=3)).items]
        assert got == popular


def test_another_version_is_deployed_in_every_process(save, ring, tmp_path, start):
    models = ModelRegistry(tmp_path / "models")
    versions = [models.add(save(tmp_path / name, name, ring)) for name in ("markov", "covisit")]
    models.promote(versions[0])
    server = ready(start(models.folder, WORKERS=str(WORKERS)))
    for expected in (versions[1], versions[0]):
        with server.client() as client:
            client._request("POST", "/v1/admin/promote", ModelsResponse, {"version": expected})
        deadline = time.monotonic() + 10
        while metrics(server).count(f'role="live",version="{expected}"') < WORKERS:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seen = Counter()
        for _ in range(30):
            with server.client() as client:
                seen[client.recommend(RecommendRequest(history=["a"], k=1)).model_version] += 1
        assert set(seen) == {expected}


def test_a_killed_worker_is_replaced_and_loses_nothing(server):
    stored, took = 0, []
    for n in range(60):
        if n == 20:
            os.kill(worker_pids(server)[0], signal.SIGKILL)
        took.append(time.monotonic())
        try:
            with server.client() as client:
                stored += client.events([EventIn(item_id="a", user_id="di", event_id=f"e{n}")]).accepted
        except OSError:
            pass  # it was open in the killed process: not acknowledged
    took.append(time.monotonic())
    assert max(after - before for before, after in itertools.pairwise(took)) < 3, (
        "no request waits for the killed process"
    )
    ready(server)
    assert stored >= 55
    with server.client() as client:
        assert len(client.user("di").events) >= stored


def test_workers_end_with_a_killed_primary_process(server):
    pids = worker_pids(server)
    server.end(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{one}") for one in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigterm_ends_all_processes_and_fails_no_request(server):
    failed, answered, ending = [], [0], threading.Event()

    def ask() -> None:
        while not ending.is_set():
            try:
                with server.client() as client:
                    client.recommend(RecommendRequest(history=["a"], k=1))
                answered[0] += 1
            except (OSError, Problem, AssertionError) as error:
                if server.process.poll() is None and not ending.is_set():
                    failed.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    pids = worker_pids(server)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.7)  # the processes still respond
    ending.set()
    for thread in threads:
        thread.join()
    server.process.communicate(timeout=15)
    assert server.process.returncode == 0
    assert not any(os.path.exists(f"/proc/{one}") for one in pids)
    assert answered[0] > 20 and not failed


def test_metrics_of_several_processes_are_merged():
    one = b'# HELP n_total Things.\n# TYPE n_total counter\nn_total{kind="a"} 2.0\n'
    assert merge_metrics(one, []) == one
    both = merge_metrics(one, [("1", one.replace(b"2.0", b"5.0"))]).decode()
    assert 'n_total{kind="a",worker="0"} 2.0' in both
    assert 'n_total{kind="a",worker="1"} 5.0' in both
    assert both.count("# TYPE n_total counter") == 1


def test_the_number_of_workers_is_at_least_one():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        ServingConfig(workers=0)
