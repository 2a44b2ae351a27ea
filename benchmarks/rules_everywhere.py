"""Rules on every path: 10,000 random (rules, history, path), each list checked item by item by a naive checker.

Paths: HTTP with one process and with workers, generated sequences and similar items over HTTP, fallback lists, the
batch command, the command line, and Python. Run ``python benchmarks/rules_everywhere.py``; about 8 minutes on an idle
core. Writes ``results/rules-everywhere.json``.
"""

import asyncio
import contextlib
import csv
import http.client
import json
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import machine
from machine import ROOT
from rule_worlds import Dice
from rules_world import (
    EVENT_TYPES,
    UNKNOWN,
    History,
    RandomRequest,
    Rule,
    Shop,
    list_errors,
    make_request,
    make_shop,
    save_models,
)

sys.path.insert(0, str(ROOT))

from tests.support.cli import run as segue
from tests.support.server_process import ServerProcess

from segue.estimators.trained_model import TrainedModel, load
from segue.serving.inference.engine import Engine
from segue.serving.inference.recent_lists import MAX_ITEMS
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, NextRequest, RecommendRequest, SimilarRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

SHARES = {
    "http": 0.2,
    "http workers": 0.15,
    "next": 0.12,
    "similar": 0.1,
    "fallback": 0.12,
    "batch": 0.13,
    "cli": 0.03,
    "python": 0.15,
}
"""Share of the lists that each path makes."""
STRATEGIES = ("top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance")


class Server:
    """A running server with the shop's events, and the naive record of what its users did and were shown."""

    def __init__(self, shop: Shop, folder: Path, data: Path, workers: int) -> None:
        """Start a server and send it the shop's events.

        Args:
            shop: the shop.
            folder: folder of the model.
            data: data directory.
            workers: number of processes.
        """
        self.shop, self.keeps_shown = shop, workers == 1
        self.process = ServerProcess(folder, data, "--workers", str(workers))
        try:
            self.process.wait_ready(workers - 1)
            self.histories = {user: list(events) for user, events in shop.histories.items()}
            self.shown: dict[str, deque[str]] = {}
            now = time.time()
            events = [
                {"user_id": user, "item_id": item, "event": kind, "timestamp": now - 60 * (len(rows) - step)}
                for user, rows in shop.histories.items()
                for step, (item, kind) in enumerate(rows)
            ]
            self.post("/v1/events", {"events": events})
        except BaseException:
            self.process.kill()
            raise

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the response to a request; a new connection each time, so that every process gets some."""
        connection = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=60)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = json.loads(response.read())
        connection.close()
        if response.status != 200:
            raise ValueError(f"{response.status}: {content.get('detail')}")
        return dict(content)

    def hidden(self, user: str | None, rule: Rule) -> list[str]:
        """Return the recently recommended items that a list of a user must not hold."""
        leaves_out = rule.exclude_shown and self.keeps_shown and user is not None
        return list(self.shown.get(user or "", ())) if leaves_out else []

    def record(self, user: str | None, items: list[str]) -> None:
        """Record a list."""
        if user is not None:
            self.shown.setdefault(user, deque(maxlen=MAX_ITEMS)).extend(items)

    def close(self) -> None:
        """End the server."""
        self.process.end()
        self.process.kill()


class Paths:
    """Every path to a list of one shop."""

    def __init__(self, shop: Shop, folder: Path, *, workers: int = 2) -> None:
        """Save the models and start the servers.

        Args:
            shop: the shop.
            folder: folder of models, logs and events.
            workers: processes of the second server; 1: there is none.
        """
        self.shop, self.runs, self.folder = shop, save_models(shop, folder), folder
        self.log = folder / "log.csv"
        shop.write_log(self.log)
        self.models: dict[str, TrainedModel] = {name: load(path) for name, path in self.runs.items()}
        self._stack = contextlib.ExitStack()
        self.server = Server(shop, self.runs["pipeline"], folder / "one", 1)
        self._stack.callback(self.server.close)
        self.workers = self.server
        if workers > 1:
            self.workers = Server(shop, self.runs["shared"], folder / "many", workers)
            self._stack.callback(self.workers.close)
        self.engines = {name: self._engine(self.runs[name], folder / f"{name}.sqlite") for name in ("shared", "single")}

    def _engine(self, run: Path, path: Path) -> Engine:
        store = EventStore(path)
        writer = GroupCommitWriter(store, lambda rows: None)
        model = ServedModel.open(run)
        engine = Engine(model, SessionCache(store, model.catalog), writer)
        for close in (store.close, writer.close, engine.close):
            self._stack.callback(close)
        now = time.time()
        events = [
            EventIn(item_id=item, user_id=user, event=str(kind), timestamp=now - 60 * (len(rows) - step))
            for user, rows in self.shop.histories.items()
            for step, (item, kind) in enumerate(rows)
        ]
        engine.store(events)[0].result(60)
        return engine

    def close(self) -> None:
        """End the servers and engines."""
        self._stack.close()

    def history(self, dice: Dice, histories: dict[str, History]) -> tuple[dict[str, Any], History, str | None]:
        """Return (fields of a request, its history, user): a stored user's, a new one's, or a given one.

        Args:
            dice: generator.
            histories: events of each user.
        """
        choice = dice.rng.random()
        if choice < 0.6:
            user = dice.pick(sorted(histories))
            return {"user_id": user}, histories[user], user
        if choice < 0.65:
            return {}, [], None
        ids = [*self.shop.ids, UNKNOWN]
        given = [dice.pick(ids) for _ in range(int(dice.rng.integers(0, 12)))]
        return {"history": given}, [(item, None) for item in given], None

    def http(self, dice: Dice, server: Server) -> list[str]:
        """Return the errors of a recommendation over HTTP, sometimes with an event of the user."""
        request = make_request(dice, self.shop)
        fields, history, user = self.history(dice, server.histories)
        if dice.rng.random() < 0.25:
            event = {"item_id": dice.pick(self.shop.ids), "event": dice.pick(EVENT_TYPES)}
            if user is None and "history" not in fields:
                fields["history"] = []
            fields["event"] = event if user is not None else {**event, "user_id": "somebody else"}
            history = [*history, (event["item_id"], event["event"])]
            if user is not None:
                server.histories[user] = history
        rule = self.shop.rule_of(request.placement)
        hidden = server.hidden(user, rule)
        body = request.fields() | fields | {"explain": bool(dice.rng.random() < 0.1)}
        items = [item["id"] for item in server.post("/v1/recommend", body)["items"]]
        server.record(user, items)
        return list_errors(self.shop, request, history, items, hidden=hidden)

    def next(self, dice: Dice) -> list[str]:
        """Return the errors of a generated sequence over HTTP."""
        server, request = self.server, make_request(dice, self.shop)
        fields, history, user = self.history(dice, server.histories)
        rule = self.shop.rule_of(request.placement)
        hidden = server.hidden(user, rule)
        body = request.fields() | fields | {"strategy": dice.pick(STRATEGIES), "steps": request.k}
        del body["k"]
        items = [item["id"] for item in server.post("/v1/next", body)["items"]]
        server.record(user, items)
        return list_errors(self.shop, request, history, items, hidden=hidden)

    def similar(self, dice: Dice) -> list[str]:
        """Return the errors of similar items over HTTP."""
        request, item = make_request(dice, self.shop), dice.pick(self.shop.ids)
        body = request.fields() | {"item_id": item}
        body.pop("exclude_seen", None)
        items = [one["id"] for one in dice.pick([self.server, self.workers]).post("/v1/similar", body)["items"]]
        request = RandomRequest(**{**vars(request), "exclude_seen": None})
        return list_errors(self.shop, request, [(item, None)], items, hidden=[item])

    def fallback(self, dice: Dice) -> list[str]:
        """Return the errors of a list without scoring, of a pipeline or of a single model."""
        single = bool(dice.rng.random() < 0.3)
        engine = self.engines["single" if single else "shared"]
        request = make_request(dice, self.shop, single=single)
        fields, history, _ = self.history(dice, self.shop.histories)
        wanted: RecommendRequest | SimilarRequest = RecommendRequest(**request.fields(), **fields)
        kind, hidden = dice.rng.random(), []
        if kind < 0.2:
            item = dice.pick(self.shop.ids)
            request = RandomRequest(**{**vars(request), "exclude_seen": None})
            values = {name: value for name, value in request.fields().items() if name != "exclude_seen"}
            wanted, history, hidden = SimilarRequest(item, **values), [(item, None)], [item]
        if kind < 0.6:
            response = asyncio.run(engine.respond_without_scoring(wanted, read_history=True))
        elif kind < 0.8:
            engine.recommend(wanted)  # a cached list of the user, under other rules
            response = asyncio.run(engine.respond_without_scoring(wanted, read_history=True))
        else:
            values = {name: value for name, value in request.fields().items() if name != "k"}
            sequence = NextRequest(**values, **fields, steps=request.k)
            engine.recommend(wanted)
            response = engine.scorer.next_without_scoring(sequence)
        rule = _single_rule(self.shop) if single else None
        return list_errors(self.shop, request, history, [item.id for item in response.items], hidden=hidden, rule=rule)

    def batch(self, dice: Dice) -> Iterator[list[str]]:
        """Yield the errors of each user's list of ``segue recommend --all-users``."""
        run, request, rule = self._offline_request(dice)
        out = self.folder / "lists.csv"
        out.unlink(missing_ok=True)
        segue("recommend", run, "--all-users", "--log", self.log, "--out", out, *_options(request))
        lists: dict[str, list[str]] = {user: [] for user in self.shop.histories}
        with out.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                lists[row["user_id"]].append(row["item_id"])
        for user, items in lists.items():
            yield list_errors(self.shop, request, self.shop.histories[user], items, rule=rule)

    def cli(self, dice: Dice) -> list[str]:
        """Return the errors of one call of ``segue recommend``: a user of the log, a history, steps, or ``similar``."""
        run, request, rule = self._offline_request(dice)
        kind, hidden = dice.rng.random(), []
        if kind < 0.15:
            item = dice.pick(self.shop.ids)
            request = RandomRequest(**{**vars(request), "exclude": (), "exclude_seen": None})
            command, history, hidden = ["similar", run, "--item", item], [(item, None)], [item]
        elif kind < 0.6:
            user = dice.pick(sorted(self.shop.histories))
            history = self.shop.histories[user]
            command = ["recommend", run, "--user", user, "--log", self.log]
        else:
            given = [dice.pick(self.shop.ids) for _ in range(int(dice.rng.integers(1, 10)))]
            history = [(item, None) for item in given]
            command = ["recommend", run, *(part for item in given for part in ("--history", item))]
        options = _options(request)
        if kind > 0.8:
            options[options.index("--k")] = "--steps"
            options += ["--strategy", dice.pick(STRATEGIES)]
        result = json.loads(segue(*command, *options, "--json").stdout)
        items = [item["item_id"] for item in result["items"]]
        return list_errors(self.shop, request, history, items, hidden=hidden, rule=rule)

    def python(self, dice: Dice) -> list[str]:
        """Return the errors of a list of a loaded model."""
        single = bool(dice.rng.random() < 0.3)
        model = self.models["single" if single else "pipeline"]
        request = make_request(dice, self.shop, single=single)
        _, history, _ = self.history(dice, self.shop.histories)
        rules = {"exclude": request.exclude, "filter": request.filter, "placement": request.placement}
        options: dict[str, Any] = {"items": request.allow, **rules}
        rule, hidden = _single_rule(self.shop) if single else None, []
        ids, contexts = [item for item, _ in history], [[{"event": kind} for _, kind in history]]
        kind = dice.rng.random()
        if kind < 0.2:
            item = dice.pick(self.shop.ids)
            request = RandomRequest(**{**vars(request), "allow": None, "exclude_seen": None})
            lists, history, hidden = [model.similar(item, k=request.k, **rules)], [(item, None)], [item]
        elif kind < 0.4:
            options |= {"steps": request.k, "strategy": dice.pick(STRATEGIES), "contexts": contexts}
            lists = model.generate([ids], exclude_seen=request.exclude_seen, **options)
        else:
            options["contexts"] = None if single else contexts
            lists = model.recommend([ids], k=request.k, exclude_seen=request.exclude_seen, **options)
        return list_errors(self.shop, request, history, [item for item, _ in lists[0]], hidden=hidden, rule=rule)

    def _offline_request(self, dice: Dice) -> tuple[Path, RandomRequest, Rule | None]:
        """Return (folder of a model, request without ``allow``, which the command line lacks, rules)."""
        single = bool(dice.rng.random() < 0.3)
        request = make_request(dice, self.shop, single=single)
        request = RandomRequest(**{**vars(request), "allow": None})
        return self.runs["single" if single else "pipeline"], request, _single_rule(self.shop) if single else None


def _single_rule(shop: Shop) -> Rule:
    return Rule(None, True if shop.excluded_in_evaluation else "last")


def _options(request: RandomRequest) -> list[str]:
    """Return the options of a request on the command line."""
    options = ["--k", str(request.k)]
    options += [] if request.placement is None else ["--placement", request.placement]
    options += ["--filter", request.filter] if request.filter else []
    options += [part for item in request.exclude for part in ("--exclude", item)]
    if request.exclude_seen is not None:
        options.append("--exclude-seen" if request.exclude_seen else "--include-seen")
    return options


def check_lists(paths: Paths, seed: tuple[int, ...], lists: int) -> dict[str, Any]:
    """Make lists of one shop on every path, and return their number by path, and their errors.

    Args:
        paths: the paths of the shop.
        seed: seed of the requests.
        lists: number of lists, about.
    """
    counts: Counter[str] = Counter()
    violations: list[dict[str, Any]] = []

    def note(path: str, errors: list[str], number: int) -> None:
        counts[path] += 1
        if errors:
            violations.append({"path": path, "number": number, "errors": errors[:3]})

    single: dict[str, Callable[[Dice], list[str]]] = {
        "http": lambda dice: paths.http(dice, paths.server),
        "http workers": lambda dice: paths.http(dice, paths.workers),
        "next": paths.next,
        "similar": paths.similar,
        "fallback": paths.fallback,
        "cli": paths.cli,
        "python": paths.python,
    }
    for p, (path, share) in enumerate(SHARES.items()):
        number = 0
        while counts[path] < round(share * lists):
            dice = Dice(np.random.default_rng((*seed, p, number)))
            if path == "batch":
                for errors in paths.batch(dice):
                    note(path, errors, number)
            else:
                note(path, single[path](dice), number)
            number += 1
    return {"lists": dict(counts), "violations": violations}


def run(seed: int = 0, lists: int = 10_000, shops: int = 12) -> dict[str, Any]:
    """Check random shops, and return the number of lists and violations (there must be none) by path.

    Args:
        seed: random seed.
        lists: number of lists, about.
        shops: number of shops.
    """
    counts: Counter[str] = Counter()
    violations: list[dict[str, Any]] = []
    placements, started = 0, time.perf_counter()
    for number in range(shops):
        with tempfile.TemporaryDirectory() as folder:
            shop = make_shop(seed, number)
            paths = Paths(shop, Path(folder))
            try:
                found = check_lists(paths, (seed, number), -(-lists // shops))
            finally:
                paths.close()
        counts.update(found["lists"])
        placements += len(shop.rules)
        violations += [{"shop": number, **violation} for violation in found["violations"]]
        print(f"shop {number + 1} of {shops}: {sum(counts.values()):,} lists, {len(violations)} violations", flush=True)
    return {
        "lists": sum(counts.values()),
        "by path": dict(counts),
        "shops": shops,
        "placements": placements,
        "violations": len(violations),
        "first violations": violations[:20],
        "seconds": round(time.perf_counter() - started, 1),
    }


if __name__ == "__main__":
    SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    RESULT = {"about": machine.about(SEED), **run(SEED)}
    path = machine.RESULTS / "rules-everywhere.json"
    path.write_text(json.dumps(RESULT, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in RESULT.items() if key != "about"}, indent=1, ensure_ascii=False))
    sys.exit(bool(RESULT["violations"]))
