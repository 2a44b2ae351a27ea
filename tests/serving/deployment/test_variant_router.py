"""Router of several versions: splits, interleaving, the previous version after an error, swaps under load."""

import asyncio
import re
import threading
import time

import pytest

from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.model_source import ModelFolder
from segue.serving.deployment.reloader import Reloader, initial_deployment
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
    """Commit listeners, and a function that adds an engine and a session cache to a model."""
    commit_listeners = CommitListeners()
    writer = GroupCommitWriter(store, commit_listeners.on_commit)

    def load(model):
        sessions = SessionCache(store, model.catalog)
        return LoadedModel(Engine(model, sessions, writer), sessions)

    yield commit_listeners, load
    writer.close()


@pytest.fixture
def models(save, ring, tmp_path):
    return [ServedModel.open(save(tmp_path / name, name, ring)) for name in ("markov", "popularity")]


def recommend(router, **fields):
    return asyncio.run(router.recommend(RecommendRequest(**fields)))


class FailingScorer:
    """Scorer that raises for some histories."""

    def __init__(self, scorer, fails):
        self.scorer, self.size, self.fails = scorer, scorer.size, fails

    def scores(self, histories):
        if any(self.fails(history) for history in histories.to_lists()):
            raise RuntimeError("broken")
        return self.scorer.scores(histories)


def break_model(model, fails=lambda history: True):
    """Let a loaded version fail for histories; return a function that mends it."""
    retrieval = model.engine.model.retrieval
    whole = retrieval.scorer
    retrieval.scorer = FailingScorer(whole, fails)
    return lambda: setattr(retrieval, "scorer", whole)


def wait_until(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_users_keep_their_variant_and_the_shares_hold(parts, models):
    commit_listeners, load = parts
    live, canary = map(load, models)
    router = VariantRouter(Deployment(live, canary, canary_share=0.3, interleave_share=0.2), commit_listeners)
    seen = {}
    for i in range(400):
        response = recommend(router, user_id=f"p{i}", k=3)
        seen.setdefault(response.variant, []).append(response)
        assert recommend(router, user_id=f"p{i}", k=3).variant == response.variant
    shares = {name: len(responses) / 400 for name, responses in seen.items()}
    assert abs(shares["canary"] - 0.3) < 0.08 and abs(shares["interleaved"] - 0.2) < 0.07
    assert {a.model_version for a in seen["live"]} == {live.version}
    assert {a.model_version for a in seen["canary"]} == {canary.version}
    assert {a.model_version for a in seen["interleaved"]} == {f"{live.version}+{canary.version}"}
    assert {name: responses[0].propensity for name, responses in seen.items()} == {
        "live": 0.5, "canary": 0.3, "interleaved": 0.2,
    }  # fmt: skip
    without_user = recommend(router, history=["a"])
    assert (without_user.variant, without_user.propensity) == ("live", 1.0)


def test_an_interleaved_list_has_items_of_both_versions(parts, models):
    commit_listeners, load = parts
    live, canary = map(load, models)
    router = VariantRouter(Deployment(live, canary, interleave_share=1.0), commit_listeners)
    response = recommend(router, user_id="ann", k=6, event=None)
    lists = {m.version: [i.id for i in m.engine.recommend(RecommendRequest(user_id="ann", k=6)).items]
             for m in (live, canary)}  # fmt: skip
    assert len({item.id for item in response.items}) == 6
    for item in response.items:
        assert item.id in lists[item.source]
    assert abs(sum(item.source == live.version for item in response.items) - 3) <= 1


def test_a_failing_version_is_replaced_per_request_and_reported(parts, models):
    commit_listeners, load = parts
    live, canary = map(load, models)
    router = VariantRouter(Deployment(live, canary, canary_share=1.0), commit_listeners)
    received = []
    router.on_reproduced_failure = lambda version, reason: received.append((version, reason))
    assert recommend(router, user_id="ann").variant == "canary"
    break_model(canary)
    response = recommend(router, user_id="ann")
    assert (response.variant, response.model_version) == ("previous", live.version)
    wait_until(lambda: received)
    assert received == [(canary.version, "fails its golden request after [] (RuntimeError)")]
    router.swap(Deployment(canary, previous=live))
    assert recommend(router, user_id="ann").variant == "previous"
    router.swap(Deployment(canary))
    alone = recommend(router, user_id="ann")
    assert (alone.variant, alone.fallback, alone.model_version) == ("live", "cached", canary.version)
    router.swap(Deployment(live, canary, interleave_share=1.0))
    assert recommend(router, user_id="ann").variant == "live", "half an interleaved list is none"
    router.close()


def test_a_refused_request_causes_no_examination(parts, models, monkeypatch):
    commit_listeners, load = parts
    live = load(models[0])

    async def refuse(request):
        raise Problem(422, "No.")

    monkeypatch.setattr(live.engine, "respond", refuse)
    router = VariantRouter(Deployment(live), commit_listeners)
    monkeypatch.setattr(router, "_examiner", None)
    for _ in range(10):
        with pytest.raises(Problem):
            recommend(router)


def wait_for_shadow(router, count):
    deadline = time.monotonic() + 10
    pattern = re.compile(r"^segue_shadow_requests_total.* (\S+)$", re.MULTILINE)
    while sum(map(float, pattern.findall(router.metrics.text().decode()))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_shadow_scores_requests_and_sends_no_list(parts, models):
    commit_listeners, load = parts
    live, shadow = map(load, models)
    router = VariantRouter(Deployment(live, shadow=shadow), commit_listeners)
    for _ in range(5):
        assert recommend(router, user_id="ann").model_version == live.version
    wait_for_shadow(router, 5)
    break_model(shadow)
    assert recommend(router, user_id="ann").variant == "live"
    wait_for_shadow(router, 6)
    router.close()
    text = router.metrics.text().decode()
    assert 'segue_shadow_requests_total{outcome="scored"} 5.0' in text
    assert 'segue_shadow_requests_total{outcome="failed"} 1.0' in text
    assert f'segue_deployed_version{{role="shadow",version="{shadow.version}"}} 1.0' in text


def test_events_reach_every_version_also_a_new_one(parts, models):
    commit_listeners, load = parts
    live, other = map(load, models)
    router = VariantRouter(Deployment(live), commit_listeners)
    router.store([EventIn(item_id="c", user_id="ann")])[0].result(10)
    assert recommend(router, user_id="ann", k=1).items[0].id == "d"
    router.swap(Deployment(other, previous=live))
    router.store([EventIn(item_id="g", user_id="ann")])[0].result(10)
    assert other.sessions.history(("user_id", "ann")) == [3, 7]
    router.swap(Deployment(live))
    assert recommend(router, user_id="ann", k=1).items[0].id == "h", "the previous version got the event too"


@pytest.fixture
def registry(save, ring, tmp_path):
    """Versions of catalogs that share no item: a list of mixed versions would be noticed."""
    found = ModelRegistry(tmp_path / "models")
    runs = [save(tmp_path / "one", "markov", ring), save(tmp_path / "two", "markov", ring, 20)]
    return found, [found.add(run) for run in runs]


def test_fifty_swaps_under_load_fail_no_request_and_mix_no_versions(registry, parts):
    models, versions = registry
    commit_listeners, load = parts
    models.promote(versions[0])
    deployment, generation = initial_deployment(models, load, print)
    router = VariantRouter(deployment, commit_listeners)
    reloader = Reloader(models, router, load, generation, interval_s=60)
    catalogs = {version: set(models.open(version).catalog.ids) for version in versions}
    answered, wrong, over = {version: 0 for version in versions}, [], threading.Event()

    async def client(name):
        count = 0
        while not over.is_set():
            event = EventIn(item_id="abcdefgh"[count % 8], user_id=name)
            await asyncio.wrap_future(router.store([event])[0])
            response = await router.recommend(RecommendRequest(user_id=name, k=5))
            answered[response.model_version] += 1
            if not {item.id for item in response.items} <= catalogs[response.model_version] or len(response.items) < 4:
                wrong.append(response)
            count += 1

    async def send_all():
        await asyncio.gather(*(client(f"p{i}") for i in range(4)))

    loader = threading.Thread(target=lambda: asyncio.run(send_all()))
    loader.start()
    try:
        for step in range(50):
            models.promote(versions[(step + 1) % 2])
            message = reloader.reload()
            assert message == f"Version {versions[(step + 1) % 2]} is live."
    finally:
        over.set()
        loader.join(30)
        reloader.close()
    assert wrong == []
    assert min(answered.values()) > 10
    assert len(router.deployment.loaded_models()) == 2, "the previous version is kept, older ones are closed"


def test_a_candidate_that_fails_its_self_test_changes_nothing(registry, parts):
    models, (one, two) = registry
    commit_listeners, load = parts
    models.promote(one)
    deployment, generation = initial_deployment(models, load, print)
    router = VariantRouter(deployment, commit_listeners)
    reloader = Reloader(models, router, load, generation, interval_s=60)
    pointer = models.promote(two)
    (models.path(two) / "weights.safetensors").write_bytes(b"broken after it was promoted")
    assert "The deployment stays as it was." in reloader.reload()
    assert router.deployment.live.version == one
    assert models.pointer().current.live == one and models.pointer().generation == pointer.generation + 1
    assert "is not the file the model was saved with" in models.pointer().note
    assert reloader.reload() == "Nothing has changed."
    reloader.close()


def test_a_deployed_version_that_fails_is_rolled_back(registry, parts):
    models, (one, two) = registry
    commit_listeners, load = parts
    models.promote(one)
    deployment, generation = initial_deployment(models, load, print)
    router = VariantRouter(deployment, commit_listeners)
    reloader = Reloader(models, router, load, generation, interval_s=60)
    models.promote(two)
    reloader.reload()
    mend = break_model(router.deployment.live)
    started = time.monotonic()
    while router.deployment.live.version == two and time.monotonic() - started < 5:
        assert recommend(router, user_id="ann").model_version == one, "the previous version is used meanwhile"
    assert time.monotonic() - started < 2
    assert models.pointer().current.live == one
    assert models.pointer().note == f"Rolled back: version {two} fails its golden request after [] (RuntimeError)."
    assert b'segue_deployment_changes_total{outcome="rolled back"} 1.0' in router.metrics.text()
    mend()
    models.promote(two)
    assert reloader.reload() == f"Version {two} is live.", "the operator may deploy it again"
    assert recommend(router, user_id="ann").model_version == two
    reloader.close()
    router.close()


def test_a_server_starts_with_the_last_sound_deployment(registry, parts):
    models, (one, two) = registry
    _, load = parts
    models.promote(one)
    models.promote(two)
    (models.path(two) / "catalog.json").write_text("[]")
    messages = []
    deployment, _ = initial_deployment(models, load, messages.append)
    assert deployment.live.version == one == models.pointer().current.live
    assert messages[0].endswith("The previous deployment is served instead.")
    (models.path(one) / "catalog.json").write_text("[]")
    with pytest.raises(ValueError, match="is not the file the model was saved with"):
        initial_deployment(models, load, messages.append)


def test_a_plain_folder_is_reloaded_too(save, ring, tmp_path, parts):
    commit_listeners, load = parts
    folder = ModelFolder(save(tmp_path / "run", "markov", ring))
    deployment, generation = initial_deployment(folder, load, print)
    router = VariantRouter(deployment, commit_listeners)
    reloader = Reloader(folder, router, load, generation, interval_s=0.05)
    save(tmp_path / "run", "markov", ring, 20)
    deadline = time.monotonic() + 60
    while len(router.deployment.live.engine.model.catalog) != 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(router.deployment.live.engine.model.catalog) == 20
    good = router.deployment.live.version
    (tmp_path / "run" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a manifest"):
        reloader.reload()
    assert router.deployment.live.version == good
    reloader.close()
