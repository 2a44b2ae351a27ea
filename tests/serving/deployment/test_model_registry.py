"""Versions in a folder: promotion, refusal, the way back, and promoters at once."""

import json
import multiprocessing
import shutil

import numpy as np
import pytest

from segue.models import artifact
from segue.serving.deployment.golden_requests import UNKNOWN_ITEM, golden_histories, record_golden
from segue.serving.deployment.model_registry import POINTER, DeploymentSpec, ModelRegistry


@pytest.fixture
def runs(save, ring, tmp_path):
    """Three models: two of one catalog, one of another."""
    return [
        save(tmp_path / "one", "markov", ring),
        save(tmp_path / "two", "covisit", ring),
        save(tmp_path / "three", "markov", ring, 20),
    ]


@pytest.fixture
def registry(tmp_path):
    return ModelRegistry(tmp_path / "models")


def test_the_first_version_makes_the_registry(registry, runs):
    assert ModelRegistry.at(registry.folder) is None
    version = registry.add(runs[0])
    pointer = registry.promote(version)
    assert (pointer.turn, pointer.now, pointer.before) == (1, DeploymentSpec(version), [])
    assert ModelRegistry.at(registry.folder) is not None
    assert registry.pointer() == pointer
    assert registry.open(version).version == version == artifact.load(runs[0]).version
    assert registry.add(runs[0]) == version, "adding it again changes nothing"
    assert [one.role for one in registry.known()] == ["live"]


def test_changes_are_taken_back_one_by_one(registry, runs):
    one, two, three = (registry.add(run) for run in runs)
    registry.promote(one)
    states = [registry.promote(two, canary=0.25, interleave=0.5), registry.promote(three, shadow=True)]
    assert states[-1].now == DeploymentSpec(one, two, 0.25, 0.5, three)
    states.append(registry.promote(two))
    assert states[-1].now == DeploymentSpec(two, shadow=three)
    assert registry.rollback().now == states[-2].now
    assert registry.rollback(turn=1).now == states[-2].now, "somebody else's turn: nothing happens"
    assert registry.rollback().now == states[0].now
    assert registry.rollback("why").now == DeploymentSpec(one)
    assert registry.pointer().note == "why"
    assert registry.pointer().turn == 7
    with pytest.raises(ValueError) as error:
        registry.rollback()
    assert str(error.value) == f"{registry.folder} has had only one state: there is nothing to go back to."


def test_what_makes_no_sense_is_refused(registry, runs):
    one, two = registry.add(runs[0]), registry.add(runs[1])
    with pytest.raises(ValueError) as error:
        registry.promote(one, canary=0.1)
    assert str(error.value) == f"{registry.folder} has no live version yet: promote one for everybody first."
    registry.promote(one)
    for options, sentence in [
        ({"canary": 1.5}, "Shares lie between 0 and 1 together, got canary 1.5 and interleave 0.0."),
        ({"canary": 0.6, "interleave": 0.6}, "Shares lie between 0 and 1 together, got canary 0.6 and interleave 0.6."),
        (
            {"canary": 0.1, "shadow": True},
            "A version answers people (canary, interleave) or nobody (shadow), not both at once.",
        ),
    ]:
        with pytest.raises(ValueError) as error:
            registry.promote(two, **options)
        assert str(error.value) == sentence
    with pytest.raises(ValueError) as error:
        registry.promote(one, canary=0.1)
    assert str(error.value) == f"Version {one} is the live one: there is nothing to compare it with."
    for wrong in ("nope", "../one", ""):
        with pytest.raises(ValueError) as error:
            registry.promote(wrong)
        assert str(error.value) == (
            f"{registry.folder} has no version '{wrong}': 'segue models {registry.folder}' lists them."
        )
    assert registry.pointer().turn == 1


def damage(path, how):
    if how == "missing":
        (path / "weights.safetensors").unlink()
    elif how == "flipped":
        raw = bytearray((path / "weights.safetensors").read_bytes())
        raw[-5] ^= 1
        (path / "weights.safetensors").write_bytes(raw)
    elif how == "truncated":
        raw = (path / "catalog.json").read_bytes()
        (path / "catalog.json").write_bytes(raw[: len(raw) // 2])
    elif how == "linked":
        (path / "items.json").rename(path / "elsewhere.json")
        (path / "items.json").symlink_to(path / "elsewhere.json")
    elif how == "unmanifested":
        (path / "manifest.json").write_text("{}")


@pytest.mark.parametrize("how", ["missing", "flipped", "truncated", "linked", "unmanifested"])
def test_a_damaged_version_is_never_promoted(registry, runs, how):
    registry.promote(registry.add(runs[0]))
    two = registry.add(runs[1])
    damage(registry.path(two), how)
    with pytest.raises(ValueError):
        registry.promote(two)
    damage(runs[2], how)
    with pytest.raises(ValueError):
        registry.add(runs[2])
    assert registry.pointer().turn == 1


def test_other_answers_than_where_it_was_added_are_refused(registry, runs):
    version = registry.add(runs[0])
    path = registry.folder / "versions" / f"{version}.golden.json"
    golden = json.loads(path.read_text())
    other = [dict(one) for one in golden]
    other[2]["items"] = other[2]["items"][::-1]
    other[2]["scores"] = [score + 1 for score in other[2]["scores"]]
    path.write_text(json.dumps(other))
    with pytest.raises(ValueError) as error:
        registry.promote(version)
    assert str(error.value) == (
        f"Version {version} failed its self-test: after {golden[2]['history'][:5]} it answers "
        f"{golden[2]['items'][:5]}, where it was added it answered {other[2]['items'][:5]}."
    )
    path.unlink()
    with pytest.raises(ValueError) as error:
        registry.promote(version)
    assert str(error.value) == f"{path} is missing or damaged: promote the model again."


def test_the_shops_own_golden_requests_are_asked(registry, runs):
    version = registry.add(runs[0])
    wishes = registry.folder / "golden.json"
    wishes.write_text('[{"history": ["c"], "expect": ["d"], "k": 1}]')
    registry.promote(version)
    wishes.write_text('[{"history": ["c"], "expect": ["h"], "k": 1}]')
    with pytest.raises(ValueError) as error:
        registry.promote(version)
    assert str(error.value) == (
        f"Version {version} failed its self-test: after ['c'] the best 1 should hold 'h', and do not."
    )
    wishes.write_text("[{]")
    with pytest.raises(ValueError, match="is no list of golden requests"):
        registry.promote(version)


def test_a_model_whose_answers_are_none_is_not_added(registry, runs):
    saved = artifact.load(runs[0])
    arrays = {
        name: np.full_like(values, np.nan) if values.dtype.kind == "f" else values
        for name, values in saved.arrays.items()
    }
    shutil.rmtree(runs[0])
    artifact.save(artifact.Artifact(saved.model, saved.settings, saved.catalog, arrays, {}, {}), runs[0])
    with pytest.raises(ValueError, match="A score is NaN"):
        registry.add(runs[0])
    assert not (registry.folder / "versions").exists()


def test_golden_requests_reach_all_of_the_catalog(registry, runs):
    model = registry.open(registry.add(runs[2]))
    asked = golden_histories(model.catalog)
    assert asked[:2] == [[], [UNKNOWN_ITEM]]
    met = {item for history in asked for item in history}
    assert len(met & set(model.catalog.ids)) == 20
    assert [one.history for one in record_golden(model)] == asked


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "turn": 1, "now": {"dead": 1}}'])
def test_a_damaged_pointer_is_told(registry, text):
    registry.folder.mkdir()
    (registry.folder / POINTER).write_text(text)
    with pytest.raises(ValueError, match="is not a registry's pointer"):
        registry.pointer()
    (registry.folder / POINTER).write_text('{"format": 2, "turn": 1, "now": {"live": "a"}}')
    with pytest.raises(ValueError, match="has format 2; this version of Segue reads format 1"):
        registry.pointer()


def promote_often(folder, version, times):
    for _ in range(times):
        ModelRegistry(folder).promote(version)


def test_promoters_take_turns(registry, runs):
    versions = [registry.add(run) for run in runs]
    registry.promote(versions[0])
    context = multiprocessing.get_context("spawn")
    racers = [context.Process(target=promote_often, args=(registry.folder, v, 5)) for v in versions]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert registry.pointer().turn == 16
    assert len(registry.pointer().before) == 15
