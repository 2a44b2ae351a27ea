"""Several processes on one port: whoever answers has seen every event, and what is kept is kept once."""

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
def crew(start):
    """A server of three processes, all of which answer."""
    return ready(start(WORKERS=str(WORKERS)))


def ready(server):
    """The server, once every process answers."""
    deadline = time.monotonic() + 20
    while len(answering(server)) < WORKERS:
        assert time.monotonic() < deadline, f"Only {answering(server)} answer."
        time.sleep(0.1)
    return server


def metrics(server):
    server.client().close()
    with urllib.request.urlopen(server.url + "/metrics", timeout=5) as answer:
        return answer.read().decode()


def answering(server):
    """The numbers of the processes whose counters are told."""
    return set(re.findall(r'segue_store_writable\{worker="(\d)"\}|segue_deployed_version\{.*worker="(\d)"\}', metrics(server)))


def requests_by_worker(server):
    """How many lists each process gave."""
    found = re.findall(r'segue_recommendations_total\{variant="live",worker="(\d)"\} (\S+)', metrics(server))
    return {number: float(count) for number, count in found if float(count)}


def branches(server):
    """The process numbers of the branches."""
    found = []
    for children in Path(f"/proc/{server.process.pid}/task").glob("*/children"):
        found += [int(one) for one in children.read_text(encoding="ascii").split()]
    assert len(found) == WORKERS - 1
    return found


def test_an_event_changes_the_very_next_answer_whoever_gives_it(crew):
    """Every call is a connection of its own, which the system hands to any process: each event must be seen by the next
    answer, though another process took it."""
    for n in range(150):
        item, following = RING[n % 12], RING[(n + 1) % 12]
        with crew.client() as client:
            client.events([EventIn(item_id=item, user_id="ann")])
        with crew.client() as client:
            answer = client.recommend(RecommendRequest(user_id="ann", k=1, exclude_seen=False))
        assert [one.id for one in answer.items] == [following], n
    given = requests_by_worker(crew)
    assert len(given) == WORKERS and min(given.values()) > 10, given


def test_events_and_answers_of_many_people_at_once(crew):
    """People step round the ring from several threads, event and answer in one call; nobody ever sees an old answer."""
    wrong: list[str] = []

    def walk(person: int) -> None:
        for n in range(40):
            event = EventIn(item_id=RING[(person + n) % 12])
            request = RecommendRequest(session_id=f"s{person}", k=1, event=event, exclude_seen=False)
            with crew.client() as client:
                if client.recommend(request).items[0].id != RING[(person + n + 1) % 12]:
                    wrong.append(f"{person} at {n}")

    threads = [threading.Thread(target=walk, args=(person,)) for person in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_event_sent_twice_to_different_processes_is_stored_once(crew):
    receipts = []
    for _ in range(12):
        with crew.client() as client:
            receipts.append(client.events([EventIn(item_id="a", user_id="bo", event_id="once")]))
    assert sum(one.accepted for one in receipts) == 1
    assert sum(one.duplicates for one in receipts) == 11
    with crew.client() as client, pytest.raises(Problem, match="already stored with another body"):
        client.events([EventIn(item_id="b", user_id="bo", event_id="once")])


def test_what_is_wrong_with_an_event_every_process_says_alike(crew):
    said = Counter()
    for _ in range(12):
        with crew.client() as client:
            try:
                client.events([EventIn(item_id="a", user_id="bo", timestamp="yesterday")])
            except Problem as problem:
                said[problem.status, problem.detail] += 1
    assert sum(said.values()) == 12 and len(said) == 1


def test_people_reports_and_erasure_are_the_keepers_and_every_process_forgets(crew):
    for n in range(20):
        with crew.client() as client:
            client.events([EventIn(item_id=RING[n % 12], user_id="cy")])
        with crew.client() as client:
            client.recommend(RecommendRequest(user_id="cy", k=3))
    with crew.client() as client:
        assert len(client.user("cy").events) == 20
        assert sum(cell.lists for cell in client.report().cells) == 20
        receipt = client.erase("cy")
    assert receipt.events == 20
    popular = None
    for _ in range(12):
        with crew.client() as client:
            got = [one.id for one in client.recommend(RecommendRequest(user_id="cy", k=3)).items]
            popular = popular or [one.id for one in client.recommend(RecommendRequest(user_id="nobody", k=3)).items]
        assert got == popular


def test_another_version_is_at_work_everywhere(save, ring, tmp_path, start):
    models = ModelRegistry(tmp_path / "models")
    versions = [models.add(save(tmp_path / name, name, ring)) for name in ("markov", "covisit")]
    models.promote(versions[0])
    server = ready(start(models.folder, WORKERS=str(WORKERS)))
    for wanted in (versions[1], versions[0]):
        with server.client() as client:
            client._ask("POST", "/v1/admin/promote", ModelsResponse, {"version": wanted})
        time.sleep(1.5)
        seen = Counter()
        for _ in range(30):
            with server.client() as client:
                seen[client.recommend(RecommendRequest(history=["a"], k=1)).model_version] += 1
        assert set(seen) == {wanted}


def test_a_branch_that_is_killed_is_replaced_and_loses_nothing(crew):
    stored, took = 0, []
    for n in range(60):
        if n == 20:
            os.kill(branches(crew)[0], signal.SIGKILL)
        took.append(time.monotonic())
        try:
            with crew.client() as client:
                stored += client.events([EventIn(item_id="a", user_id="di", event_id=f"e{n}")]).accepted
        except OSError:
            pass  # it was under way in the process that died: not acknowledged
    took.append(time.monotonic())
    assert max(after - before for before, after in itertools.pairwise(took)) < 3, "nobody waits for the dead"
    ready(crew)
    assert stored >= 55
    with crew.client() as client:
        assert len(client.user("di").events) >= stored


def test_branches_end_with_a_keeper_that_is_killed(crew):
    beside = branches(crew)
    crew.end(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{one}") for one in beside):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigterm_ends_all_of_them_and_fails_nobody(crew):
    failed, answered, ending = [], [0], threading.Event()

    def ask() -> None:
        while not ending.is_set():
            try:
                with crew.client() as client:
                    client.recommend(RecommendRequest(history=["a"], k=1))
                answered[0] += 1
            except (OSError, Problem, AssertionError) as error:
                if crew.process.poll() is None and not ending.is_set():
                    failed.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    beside = branches(crew)
    crew.process.send_signal(signal.SIGTERM)
    time.sleep(0.7)  # the servers still answer
    ending.set()
    for thread in threads:
        thread.join()
    crew.process.communicate(timeout=15)
    assert crew.process.returncode == 0
    assert not any(os.path.exists(f"/proc/{one}") for one in beside)
    assert answered[0] > 20 and not failed


def test_counters_of_several_processes():
    one = b'# HELP n_total Things.\n# TYPE n_total counter\nn_total{kind="a"} 2.0\n'
    assert merge_metrics(one, []) == one
    both = merge_metrics(one, [("1", one.replace(b"2.0", b"5.0"))]).decode()
    assert 'n_total{kind="a",worker="0"} 2.0' in both
    assert 'n_total{kind="a",worker="1"} 5.0' in both
    assert both.count("# TYPE n_total counter") == 1


def test_how_many_is_a_number_from_one():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        ServingConfig(workers=0)
