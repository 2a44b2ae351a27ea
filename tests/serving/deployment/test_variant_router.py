"""Several versions behind one door: splits, interleaving, spares, and swaps under load."""

import asyncio
import threading
import time

import pytest

from segue.serving.deployment.deployment import Deployment, ErrorCounter, LoadedModel
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.reloader import ModelFolder, Reloader, initial_deployment
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.group_commit import GroupCommitWriter


@pytest.fixture
def parts(store):
    """What makes members: an audience, a writer, and the function."""
    audience = CommitListeners()
    writer = GroupCommitWriter(store, audience.on_commit)

    def member(model):
        live = SessionCache(store, model.catalog)
        return LoadedModel(Engine(model, live, writer), live)

    yield audience, member
    writer.close()


@pytest.fixture
def models(save, ring, tmp_path):
    return [ServedModel.open(save(tmp_path / name, name, ring)) for name in ("markov", "popularity")]


def ask(fleet, **fields):
    return asyncio.run(fleet.recommend(RecommendRequest(**fields)))


def broken(member, monkeypatch):
    def fail(request):
        raise RuntimeError("broken")

    async def fail_too(request):
        fail(request)

    monkeypatch.setattr(member.engine, "recommend", fail)
    monkeypatch.setattr(member.engine, "respond", fail_too)


def test_people_are_split_by_who_they_are(parts, models):
    audience, member = parts
    live, canary = map(member, models)
    fleet = VariantRouter(Deployment(live, canary, canary_share=0.3, interleave_share=0.2), audience)
    seen = {}
    for i in range(400):
        answer = ask(fleet, user_id=f"p{i}", k=3)
        seen.setdefault(answer.variant, []).append(answer)
        assert ask(fleet, user_id=f"p{i}", k=3).variant == answer.variant
    shares = {name: len(answers) / 400 for name, answers in seen.items()}
    assert abs(shares["canary"] - 0.3) < 0.08 and abs(shares["interleaved"] - 0.2) < 0.07
    assert {a.model_version for a in seen["live"]} == {live.version}
    assert {a.model_version for a in seen["canary"]} == {canary.version}
    assert {a.model_version for a in seen["interleaved"]} == {f"{live.version}+{canary.version}"}
    assert {name: answers[0].propensity for name, answers in seen.items()} == {
        "live": 0.5, "canary": 0.3, "interleaved": 0.2,
    }  # fmt: skip
    nobody = ask(fleet, history=["a"])
    assert (nobody.variant, nobody.propensity) == ("live", 1.0)


def test_an_interleaved_list_is_drawn_from_both(parts, models):
    audience, member = parts
    live, canary = map(member, models)
    fleet = VariantRouter(Deployment(live, canary, interleave_share=1.0), audience)
    answer = ask(fleet, user_id="ann", k=6, event=None)
    lists = {m.version: [i.id for i in m.engine.recommend(RecommendRequest(user_id="ann", k=6)).items]
             for m in (live, canary)}  # fmt: skip
    assert len({item.id for item in answer.items}) == 6
    for item in answer.items:
        assert item.id in lists[item.source]
    assert abs(sum(item.source == live.version for item in answer.items) - 3) <= 1


def test_a_failing_version_is_covered_and_reported(parts, models, monkeypatch):
    audience, member = parts
    live, canary = map(member, models)
    fleet = VariantRouter(Deployment(live, canary, canary_share=1.0), audience)
    told = []
    fleet.on_frequent_failures = lambda version, why: told.append((version, why))
    assert ask(fleet, user_id="ann").variant == "canary"
    broken(canary, monkeypatch)
    for count in range(1, 8):
        answer = ask(fleet, user_id="ann")
        assert (answer.variant, answer.model_version) == ("previous", live.version)
        assert len(told) == max(0, count - 4)
    assert told[0] == (canary.version, "RuntimeError")
    fleet.swap(Deployment(canary, previous=live))
    assert ask(fleet, user_id="ann").variant == "previous"
    fleet.swap(Deployment(canary))
    with pytest.raises(RuntimeError):
        ask(fleet, user_id="ann")
    fleet.swap(Deployment(live, canary, interleave_share=1.0))
    assert ask(fleet, user_id="ann").variant == "live", "half an interleaved list is none"


def test_a_refused_request_is_no_failure_of_the_version(parts, models, monkeypatch):
    audience, member = parts
    live = member(models[0])

    async def refuse(request):
        raise Problem(422, "No.")

    monkeypatch.setattr(live.engine, "respond", refuse)
    fleet = VariantRouter(Deployment(live), audience)
    told = []
    fleet.on_frequent_failures = lambda *what: told.append(what)
    for _ in range(10):
        with pytest.raises(Problem):
            ask(fleet)
    assert told == []


def test_rare_failures_are_no_trouble():
    watch = ErrorCounter()
    assert not any(watch.record("v", i % 100 == 0) for i in range(1, 2_000))
    assert [watch.record("w", True) for _ in range(6)] == [False] * 4 + [True] * 2


def test_a_shadow_is_asked_and_never_seen(parts, models, monkeypatch):
    audience, member = parts
    live, shadow = map(member, models)
    fleet = VariantRouter(Deployment(live, shadow=shadow), audience)
    for _ in range(5):
        assert ask(fleet, user_id="ann").model_version == live.version
        time.sleep(0.02)
    broken(shadow, monkeypatch)
    assert ask(fleet, user_id="ann").variant == "live"
    time.sleep(0.1)
    fleet.close()
    text = fleet.metrics.text().decode()
    assert 'segue_shadow_requests_total{outcome="scored"} 5.0' in text
    assert 'segue_shadow_requests_total{outcome="failed"} 1.0' in text
    assert f'segue_deployed_version{{role="shadow",version="{shadow.version}"}} 1.0' in text


def test_events_reach_every_version_also_one_that_joins(parts, models):
    audience, member = parts
    live, other = map(member, models)
    fleet = VariantRouter(Deployment(live), audience)
    fleet.store([EventIn(item_id="c", user_id="ann")])[0].result(10)
    assert ask(fleet, user_id="ann", k=1).items[0].id == "d"
    fleet.swap(Deployment(other, previous=live))
    fleet.store([EventIn(item_id="g", user_id="ann")])[0].result(10)
    assert other.sessions.history(("user_id", "ann")) == [3, 7]
    fleet.swap(Deployment(live))
    assert ask(fleet, user_id="ann", k=1).items[0].id == "h", "the spare heard of it too"


@pytest.fixture
def registry(save, ring, tmp_path):
    """Versions of catalogs that share no item: a mixed answer could not hide."""
    found = ModelRegistry(tmp_path / "models")
    runs = [save(tmp_path / "one", "markov", ring), save(tmp_path / "two", "markov", ring, 20)]
    return found, [found.add(run) for run in runs]


def test_fifty_swaps_under_load_fail_nobody_and_mix_nothing(registry, parts):
    models, versions = registry
    audience, member = parts
    models.promote(versions[0])
    lineup, turn = initial_deployment(models, member, print)
    fleet = VariantRouter(lineup, audience)
    watch = Reloader(models, fleet, member, turn, interval_s=60)
    catalogs = {version: set(models.open(version).catalog.ids) for version in versions}
    answered, wrong, over = {version: 0 for version in versions}, [], threading.Event()

    async def asker(name):
        count = 0
        while not over.is_set():
            event = EventIn(item_id="abcdefgh"[count % 8], user_id=name)
            await asyncio.wrap_future(fleet.store([event])[0])
            answer = await fleet.recommend(RecommendRequest(user_id=name, k=5))
            answered[answer.model_version] += 1
            if not {item.id for item in answer.items} <= catalogs[answer.model_version] or len(answer.items) < 4:
                wrong.append(answer)
            count += 1

    async def load():
        await asyncio.gather(*(asker(f"p{i}") for i in range(4)))

    loader = threading.Thread(target=lambda: asyncio.run(load()))
    loader.start()
    try:
        for step in range(50):
            models.promote(versions[(step + 1) % 2])
            said = watch.reload()
            assert said == f"Version {versions[(step + 1) % 2]} is live."
    finally:
        over.set()
        loader.join(30)
        watch.close()
    assert wrong == []
    assert min(answered.values()) > 10
    assert len(fleet.deployment.loaded_models()) == 2, "the one before is kept as spare, older ones are let go"


def test_a_candidate_that_fails_its_self_test_changes_nothing(registry, parts):
    models, (one, two) = registry
    audience, member = parts
    models.promote(one)
    lineup, turn = initial_deployment(models, member, print)
    fleet = VariantRouter(lineup, audience)
    watch = Reloader(models, fleet, member, turn, interval_s=60)
    pointer = models.promote(two)
    (models.path(two) / "weights.safetensors").write_bytes(b"broken after it was promoted")
    assert "its SHA-256 differs. The deployment stays as it was." in watch.reload()
    assert fleet.deployment.live.version == one
    assert models.pointer().current.live == one and models.pointer().generation == pointer.generation + 1
    assert "SHA-256 differs" in models.pointer().note
    assert watch.reload() == "Nothing has changed."
    watch.close()


def test_a_version_that_fails_at_work_is_taken_back(registry, parts, monkeypatch):
    models, (one, two) = registry
    audience, member = parts
    models.promote(one)
    lineup, turn = initial_deployment(models, member, print)
    fleet = VariantRouter(lineup, audience)
    watch = Reloader(models, fleet, member, turn, interval_s=60)
    models.promote(two)
    watch.reload()
    broken(fleet.deployment.live, monkeypatch)
    started = time.monotonic()
    while fleet.deployment.live.version == two and time.monotonic() - started < 5:
        assert ask(fleet, user_id="ann").model_version == one, "the spare answers meanwhile"
    assert time.monotonic() - started < 2
    assert models.pointer().current.live == one
    assert models.pointer().note == f"Rolled back: version {two} failed too often (RuntimeError)."
    watch.close()


def test_a_server_begins_with_what_is_sound(registry, parts):
    models, (one, two) = registry
    _, member = parts
    models.promote(one)
    models.promote(two)
    (models.path(two) / "catalog.json").write_text("[]")
    said = []
    lineup, _ = initial_deployment(models, member, said.append)
    assert lineup.live.version == one == models.pointer().current.live
    assert said[0].endswith("The previous deployment is served instead.")
    (models.path(one) / "catalog.json").write_text("[]")
    with pytest.raises(ValueError, match="its SHA-256 differs"):
        initial_deployment(models, member, said.append)


def test_a_plain_folder_is_followed_too(save, ring, tmp_path, parts):
    audience, member = parts
    folder = ModelFolder(save(tmp_path / "run", "markov", ring))
    lineup, turn = initial_deployment(folder, member, print)
    fleet = VariantRouter(lineup, audience)
    watch = Reloader(folder, fleet, member, turn, interval_s=0.05)
    save(tmp_path / "run", "markov", ring, 20)
    deadline = time.monotonic() + 10
    while len(fleet.deployment.live.engine.model.catalog) != 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(fleet.deployment.live.engine.model.catalog) == 20
    good = fleet.deployment.live.version
    (tmp_path / "run" / "manifest.json").write_text("{}")
    assert "is not a manifest" in watch.reload() or watch.reload().startswith("The pointer names a deployment that failed")
    assert fleet.deployment.live.version == good
    watch.close()
