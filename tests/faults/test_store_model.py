"""Event log against a dictionary: sends, repeats, batches, crashes, restarts, swaps and erasures in any order.

The same machine runs on three levels: the event store with its writer, all services of a server without HTTP, and a
server over HTTP. Each level that costs more gets fewer examples.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.serving.conftest import opened
from tests.support import power_cut_workloads
from tests.support.power_cut_workloads import serving

from segue.data.catalog import Catalog
from segue.data.erasure_list import KEY, LIST
from segue.models import artifact
from segue.serving.administration.back_up import back_up
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event import validate_event
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

pytestmark = pytest.mark.timeout(400)

MEMORY = Path("/dev/shm")
USERS = ("ann", "bob", None)
SESSIONS = ("s1", "s2")
CONFLICT = 409
Answer = tuple[int, int]
"""(accepted, duplicates), or (409, 0)."""


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fit the two small models once, and a registry of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(power_cut_workloads.MODELS, "")
        folder = tmp_path_factory.mktemp("models")
        power_cut_workloads.save_models(folder)
        registry = ModelRegistry(folder / "registry")
        versions = [registry.add(folder / name) for name in "ab"]
        registry.promote(versions[0])
        yield


class StoreWorld:
    """Event store with its group commit writer."""

    has_erasures = False
    """Whether users can be erased: the erasure list lies above the event store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.life = 0
        self.data = folder / "data-0"
        self.data.mkdir()
        self.open()

    def open(self) -> None:
        self.store = EventStore(self.data / "events.sqlite")
        self.writer = GroupCommitWriter(self.store, lambda stored: None)

    def close(self) -> None:
        self.writer.close()
        self.store.close()

    def copy_data(self) -> None:
        """Go on with a copy of the files as they are now: what a killed process leaves."""
        self.life += 1
        self.data = Path(shutil.copytree(self.data, self.folder / f"data-{self.life}"))

    def crash(self) -> None:
        self.copy_data()
        self.close()
        self.open()

    def restart(self) -> None:
        self.close()
        self.open()

    def send(self, events: list[EventIn]) -> Answer:
        now_us = 1_700_000_000_000_000
        try:
            stored = self.writer.submit([validate_event(event, now_us) for event in events]).result(30)
        except Problem as refused:
            return refused.status, 0
        return stored.accepted, stored.duplicates

    def erase(self, user: str) -> None:
        """Erase a user."""

    def swap(self) -> None:
        """Nothing to swap here."""

    def back_up(self) -> None:
        """Make a backup, in place of an older one."""

    def restore(self) -> None:
        """Go on with the backup's events and today's list of erased users."""

    def history(self, key: str, value: str) -> list[str]:
        return [row.event.event_id for row in self.store.newest(key, value, 10_000)]

    def count(self) -> int:
        return self.store.count()


class ServicesWorld(StoreWorld):
    """All services of a server, with a registry of two models, without HTTP."""

    has_erasures = True

    def open_registry(self) -> None:
        self.registry = ModelRegistry(self.folder / "models")
        if not self.registry.folder.exists():
            shutil.copytree(power_cut_workloads.models() / "registry", self.registry.folder)
            self.versions = [artifact.version(power_cut_workloads.models() / name) for name in "ab"]

    def open(self) -> None:
        self.open_registry()
        self.services = serving(self.data, self.registry.folder)
        self.admin = self.services.__enter__()
        self.store = self.admin.store

    def close(self) -> None:
        self.services.close()

    def send(self, events: list[EventIn]) -> Answer:
        try:
            stored = self.admin.router.store(events)[0].result(30)
        except Problem as refused:
            return refused.status, 0
        return stored.accepted, stored.duplicates

    def erase(self, user: str) -> None:
        self.admin.erase(user)

    def back_up(self) -> None:
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        back_up(self.data, self.folder / "backup")

    def restore(self) -> None:
        self.close()
        self.life += 1
        today, self.data = self.data, Path(shutil.copytree(self.folder / "backup", self.folder / f"data-{self.life}"))
        for name in (LIST, KEY):
            if (today / name).exists():
                shutil.copy(today / name, self.data / name)
        self.open()

    def swap(self) -> None:
        self.versions.reverse()
        self.registry.promote(self.versions[0])
        self.admin.reloader.reload()
        assert self.admin.router.deployment.live.version == self.versions[0]


class HttpWorld(ServicesWorld):
    """A server in this process, over HTTP."""

    def open(self) -> None:
        self.open_registry()
        self.stack = ExitStack()
        self.server = self.stack.enter_context(opened(self.data, self.registry.folder))
        self.store = self.server.admin.store

    def close(self) -> None:
        self.stack.close()

    def send(self, events: list[EventIn]) -> Answer:
        bodies = [{key: getattr(event, key) for key in event.__struct_fields__} for event in events]
        bodies = [{key: value for key, value in body.items() if value is not None} for body in bodies]
        answer = self.server.web.post("/v1/events", json={"events": bodies})
        if answer.status_code != 200:
            return answer.status_code, 0
        return answer.json()["accepted"], answer.json()["duplicates"]

    def erase(self, user: str) -> None:
        assert self.server.web.delete(f"/v1/users/{user}").status_code == 200

    def swap(self) -> None:
        self.versions.reverse()
        answer = self.server.web.post("/v1/admin/promote", json={"version": self.versions[0]})
        assert answer.json()["roles"]["live"] == self.versions[0], answer.text


events = st.builds(
    dict,
    user=st.sampled_from(USERS),
    session=st.sampled_from(SESSIONS),
    number=st.integers(0, 3),
    item=st.sampled_from("abc"),
    old=st.booleans(),
)


class LogMachine(RuleBasedStateMachine):
    """The log, and a dictionary with the same promises."""

    world_type: type[StoreWorld] = StoreWorld

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="store-model-", dir=MEMORY if MEMORY.is_dir() else None))
        self.stored: dict[str, dict[str, Any]] = {}
        """Event id -> event with its order of arrival."""
        self.erased: dict[tuple[str, str], int] = {}
        """("user" or "session", id) -> number of arrivals at the erasure."""
        self.backed_up: dict[str, dict[str, Any]] | None = None
        self.arrivals = 0
        self.world: StoreWorld | None = None

    @initialize()
    def begin(self) -> None:
        self.world = self.world_type(self.folder)

    def teardown(self) -> None:
        if self.world is not None:
            self.world.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @rule(batch=st.lists(events, min_size=1, max_size=5))
    def send(self, batch: list[dict[str, Any]]) -> None:
        self._send(batch)

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def resend_unchanged(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.stored)))
        assert self._send([self.stored[name]["sent"]]) in ((0, 1), (0, 0))  # an erased event counts as neither

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def resend_with_another_body(self, data: st.DataObject) -> None:
        sent = self.stored[data.draw(st.sampled_from(sorted(self.stored)))]["sent"]
        if not self._is_late(sent):
            assert self._send([{**sent, "item": "other"}]) == (CONFLICT, 0)

    @rule(event=events, times=st.integers(2, 4))
    def repeat_an_item_with_new_ids(self, event: dict[str, Any], times: int) -> None:
        batch = [{**event, "number": 1000 + self.arrivals * 10 + n, "old": False} for n in range(times)]
        assert self._send(batch) == (times, 0)

    @rule()
    def crash(self) -> None:
        assert self.world is not None
        self.world.crash()

    @rule()
    def restart(self) -> None:
        assert self.world is not None
        self.world.restart()

    @rule()
    def swap(self) -> None:
        assert self.world is not None
        self.world.swap()

    @precondition(lambda self: self.world is not None and self.world.has_erasures)
    @rule(user=st.sampled_from([user for user in USERS if user is not None]))
    def erase(self, user: str) -> None:
        assert self.world is not None
        self.world.erase(user)
        mine = [one["sent"] for one in self.stored.values() if one["sent"]["user"] == user]
        keys = {("user", user)} | {("session", sent["session"]) for sent in mine}
        self.stored = {name: one for name, one in self.stored.items() if not _belongs(one["sent"], keys)}
        self.erased |= dict.fromkeys(keys, self.arrivals)

    @precondition(lambda self: self.world is not None and self.world.has_erasures)
    @rule()
    def back_up(self) -> None:
        assert self.world is not None
        self.world.back_up()
        self.backed_up = dict(self.stored)

    @precondition(lambda self: self.backed_up is not None)
    @rule()
    def restore(self) -> None:
        assert self.world is not None and self.backed_up is not None
        self.world.restore()
        self.stored = dict(self.backed_up)
        self._link_sessions([one["sent"] for one in self.stored.values() if self._was_erased(one)])
        self._drop_erased()

    def _link_sessions(self, early: list[dict[str, Any]]) -> None:
        """Erase the sessions that events from before the erasure of their users name."""
        for sent in early:
            if ("user", sent["user"]) in self.erased:
                key = ("session", sent["session"])
                self.erased[key] = max(self.erased[("user", sent["user"])], self.erased.get(key, -1))

    def _drop_erased(self) -> None:
        self.stored = {name: one for name, one in self.stored.items() if not self._was_erased(one)}

    def _was_erased(self, one: dict[str, Any]) -> bool:
        sent, arrival = one["sent"], one["arrival"]
        return any(_belongs(sent, {key}) and (sent["old"] or arrival <= at) for key, at in self.erased.items())

    def _send(self, batch: list[dict[str, Any]]) -> Answer:
        assert self.world is not None
        answer = self.world.send([_event(sent) for sent in batch])
        self._link_sessions([sent for sent in batch if self._is_late(sent)])
        self._drop_erased()
        kept = [sent for sent in batch if not self._is_late(sent)]
        new: dict[str, dict[str, Any]] = {}
        conflicts = False
        for sent in kept:
            before = new.get(_id(sent), self.stored.get(_id(sent), {}).get("sent"))
            conflicts |= before is not None and before != sent
            if before is None:
                new[_id(sent)] = sent
        if conflicts:
            assert answer == (CONFLICT, 0)
            return answer
        assert answer[0] == len(new) and answer[1] <= len(batch) - len(new)
        for name, sent in new.items():
            self.arrivals += 1
            self.stored[name] = {"sent": sent, "arrival": self.arrivals}
        return answer

    def _is_late(self, sent: dict[str, Any]) -> bool:
        """Return whether an event from before an erasure arrives after it: it is left out."""
        assert self.world is not None
        return self.world.has_erasures and sent["old"] and _belongs(sent, self.erased)

    @invariant()
    def histories_are_equal(self) -> None:
        if self.world is None:
            return
        assert self.world.count() == len(self.stored)
        for key, values in (("user", [user for user in USERS if user is not None]), ("session", SESSIONS)):
            for value in values:
                mine = [(name, one) for name, one in self.stored.items() if one["sent"][key] == value]
                mine.sort(key=lambda pair: (not pair[1]["sent"]["old"], _time_s(pair[1]["sent"]), pair[1]["arrival"]))
                assert self.world.history(f"{key}_id", value) == [name for name, _ in mine]


def _id(sent: dict[str, Any]) -> str:
    return f"{sent['user']}-{sent['number']}"


def _time_s(sent: dict[str, Any]) -> float:
    return 1_000_000_000.0 + sent["number"] if sent["old"] else 0.0


def _event(sent: dict[str, Any]) -> EventIn:
    return EventIn(
        item_id=sent["item"],
        user_id=sent["user"],
        session_id=sent["session"],
        event_id=_id(sent),
        timestamp=_time_s(sent) if sent["old"] else None,
    )


def _belongs(sent: dict[str, Any], keys: Container[tuple[str, str]]) -> bool:
    """Return whether an event belongs to a user, or without a user to a session, of the keys."""
    if sent["user"] is not None:
        return ("user", sent["user"]) in keys
    return ("session", sent["session"]) in keys


@pytest.mark.parametrize(
    ("world", "examples", "steps"),
    [
        pytest.param(StoreWorld, 50, 20, id="store and writer"),
        pytest.param(ServicesWorld, 5, 14, id="services"),
        pytest.param(HttpWorld, 2, 12, id="HTTP"),
    ],
)
def test_any_order_of_operations_gives_the_log_of_the_dictionary(
    world: type[StoreWorld], examples: int, steps: int
) -> None:
    class Machine(LogMachine):
        world_type = world

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
            phases=(Phase.generate,),  # twenty steps can be read; to shorten them takes minutes
        ),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(order=st.permutations(range(8)), cached_after=st.integers(0, 8))
def test_any_order_of_arrival_gives_the_same_history(order: list[int], cached_after: int) -> None:
    catalog = Catalog([f"i{n}" for n in range(8)])
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        store = EventStore(Path(folder) / "events.sqlite")
        cache = SessionCache(store, catalog)
        for n, number in enumerate(order):
            if n == cached_after:
                cache.history(("user_id", "ann"))  # from here on the history is in memory
            sent = EventIn(item_id=f"i{number}", user_id="ann", event_id=f"e{number}", timestamp=1e9 + number)
            _, stored = store.append([[validate_event(sent, 1_700_000_000_000_000)]])
            cache.add(stored)
        expected = catalog.to_indices(f"i{n}" for n in range(8)).tolist()
        assert cache.history(("user_id", "ann")) == expected
        assert SessionCache(store, catalog).history(("user_id", "ann")) == expected
        assert [row.event.event_id for row in store.user_events("ann")] == [f"e{n}" for n in range(8)]
        store.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("server")
    with opened(folder / "data", power_cut_workloads.models() / "a") as running:
        yield running


def test_eight_threads_find_each_acknowledged_event_in_the_next_list(server: Any) -> None:
    """All write to one session; after an acknowledgement the item is never recommended again."""
    items = "abcdefghijkl"
    stale: list[str] = []
    sent: list[str] = []

    def write(number: int) -> None:
        with httpx.Client(base_url=server.web.base_url, timeout=30) as client:
            own = [items[number], items[(number + 4) % len(items)]] * 5
            for turn, item in enumerate(own):
                event = {"session_id": "shared", "item_id": item, "event_id": f"{number}-{turn}"}
                assert client.post("/v1/events", json=event).status_code == 200
                sent.append(event["event_id"])
                answer = client.post("/v1/recommend", json={"session_id": "shared", "k": 12, "exclude_seen": True})
                listed = {one["id"] for one in answer.json()["items"]}
                stale.extend(listed & set(own[: turn + 1]))

    run_threads(write, 8)
    assert not stale
    history = [row.event.event_id for row in server.admin.store.newest("session_id", "shared", 1000)]
    assert sorted(history) == sorted(sent) and len(sent) == 80


def run_threads(work: Callable[[int], None], count: int) -> None:
    """Run a function in threads, and raise the first error."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


BAD_EVENTS = (
    {"item_id": "", "user_id": "u"},
    {"item_id": "a"},
    {"item_id": "a", "user_id": "u\x00"},
    {"item_id": "a", "user_id": "u", "timestamp": -5},
    {"item_id": "a", "user_id": "u", "timestamp": "yesterday"},
    {"item_id": "a", "user_id": "u", "unknown": 1},
    {"item_id": 5, "user_id": "u"},
    {"item_id": "a", "user_id": "u", "event_id": "taken"},
)


@pytest.mark.parametrize("size", [1, 2, 17, 1000])
def test_a_batch_is_stored_as_a_whole_or_not_at_all(server: Any, size: int) -> None:
    web, store = server.web, server.admin.store
    taken = {"item_id": "b", "user_id": "first", "event_id": "taken"}
    assert web.post("/v1/events", json=taken).status_code == 200
    for n, bad in enumerate(BAD_EVENTS):
        before = store.count()
        place = (n * 7919) % size
        batch: list[dict[str, Any]] = [
            {"item_id": "a", "user_id": f"whole-{size}", "event_id": f"{size}-{n}-{i}"} for i in range(size)
        ]
        refused = web.post("/v1/events", json={"events": [*batch[:place], bad, *batch[place + 1 :]]})
        assert refused.status_code in (400, 409, 422), refused.text
        assert store.count() == before
        accepted = web.post("/v1/events", json={"events": batch})
        assert accepted.json()["accepted"] == size
        assert store.count() == before + size
