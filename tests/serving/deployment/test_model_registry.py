"""Model registry: promotion, refusal, rollback, and concurrent promotions."""

import itertools
import json
import os
import shutil
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from tests.support import forks

from segue.data.catalog import Catalog
from segue.models import artifact
from segue.serving.deployment.candidate_examination import CandidateExaminer
from segue.serving.deployment.golden_requests import UNKNOWN_ITEM, golden_histories, record_golden
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.pointer import POINTER, DeploymentSpec, Pointer
from segue.system import staged_folder


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


def test_the_first_promotion_creates_the_registry(registry, runs):
    assert ModelRegistry.at(registry.folder) is None
    version = registry.add(runs[0])
    pointer = registry.promote(version)
    assert pointer == Pointer(2, 1, DeploymentSpec(version), [], "")
    assert ModelRegistry.at(registry.folder) is not None
    assert registry.pointer() == pointer
    assert registry.open(version).version == version == artifact.load(runs[0]).version
    assert registry.add(runs[0]) == version, "adding it again changes nothing"
    assert [one.role for one in registry.versions()] == ["live"]


def test_changes_are_rolled_back_one_by_one(registry, runs):
    one, two, three = (registry.add(run) for run in runs)
    registry.promote(one)
    states = [registry.promote(two, canary=0.25, interleave=0.5), registry.promote(three, shadow=True)]
    assert states[-1].current == DeploymentSpec(one, two, 0.25, 0.5, three)
    states.append(registry.promote(two))
    assert states[-1].current == DeploymentSpec(two, shadow=three)
    assert registry.rollback().current == states[-2].current
    assert registry.rollback(generation=1).current == states[-2].current, "another generation: nothing happens"
    assert registry.rollback().current == states[0].current
    assert registry.rollback("why").current == DeploymentSpec(one)
    assert registry.pointer().note == "why"
    assert registry.pointer().generation == 7
    with pytest.raises(ValueError) as error:
        registry.rollback()
    assert str(error.value) == f"{registry.folder} has had only one deployment: there is nothing to roll back to."


def test_contradictory_promotions_are_refused(registry, runs):
    one, two = registry.add(runs[0]), registry.add(runs[1])
    with pytest.raises(ValueError) as error:
        registry.promote(one, canary=0.1)
    assert str(error.value) == f"{registry.folder} has no live version yet: promote one for all users first."
    registry.promote(one)
    for options, sentence in [
        ({"canary": 1.5}, "Shares lie between 0 and 1 together, got canary 1.5 and interleave 0.0."),
        ({"canary": 0.6, "interleave": 0.6}, "Shares lie between 0 and 1 together, got canary 0.6 and interleave 0.6."),
        (
            {"canary": 0.1, "shadow": True},
            "A version is sent to users (canary, interleave) or not (shadow), not both at once.",
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
    assert registry.pointer().generation == 1


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
    assert registry.pointer().generation == 1


def test_other_lists_than_the_recorded_ones_are_refused(registry, runs):
    version = registry.add(runs[0])
    path = registry.folder / "versions" / f"{version}.golden.json"
    golden = json.loads(path.read_text())["requests"]
    other = [dict(one) for one in golden]
    other[2]["items"] = other[2]["items"][::-1]
    other[2]["scores"] = [score + 1 for score in other[2]["scores"]]
    path.write_text(json.dumps({"version": version, "requests": other}))
    with pytest.raises(ValueError) as error:
        registry.promote(version)
    assert str(error.value) == (
        f"Version {version} failed its self-test: after {golden[2]['history'][:5]} it returns "
        f"{golden[2]['items'][:5]}, but {other[2]['items'][:5]} was recorded when it was added."
    )
    path.write_text(json.dumps({"version": "0123456789ab", "requests": golden}))
    with pytest.raises(ValueError) as error:
        registry.promote(version)
    assert str(error.value) == f"{path} was recorded of version 0123456789ab: promote it again."
    path.unlink()
    with pytest.raises(ValueError) as error:
        registry.promote(version)
    assert str(error.value) == f"{path} is missing or damaged: promote the model again."


def test_the_operators_golden_requests_are_checked(registry, runs):
    version = registry.add(runs[0])
    expectations = registry.folder / "golden.json"
    expectations.write_text('[{"history": ["c"], "expect": ["d"], "k": 1}]')
    registry.promote(version)
    expectations.write_text('[{"history": ["c"], "expect": ["h"], "k": 1}]')
    with pytest.raises(ValueError) as error:
        registry.promote(version)
    assert str(error.value) == (
        f"Version {version} failed its self-test: after ['c'] the best 1 should hold 'h', and do not."
    )
    expectations.write_text("[{]")
    with pytest.raises(ValueError, match="is no list of golden requests"):
        registry.promote(version)


def test_a_model_with_nan_scores_is_not_added(registry, runs):
    saved = artifact.load(runs[0])
    arrays = {
        name: np.full_like(values, np.nan) if values.dtype.kind == "f" else values
        for name, values in saved.arrays.items()
    }
    shutil.rmtree(runs[0])
    artifact.save(artifact.Artifact(saved.model, saved.settings, saved.catalog, arrays, {}, {}), runs[0])
    with pytest.raises(ValueError, match="The tensor 'backoff' holds NaN"):
        registry.add(runs[0])
    assert list((registry.folder / "versions").iterdir()) == []


def test_golden_requests_cover_the_catalog(registry, runs):
    model = registry.open(registry.add(runs[2]))
    requested = golden_histories(model.catalog)
    assert requested[:2] == [[], [UNKNOWN_ITEM]]
    met = {item for history in requested for item in history}
    assert len(met & set(model.catalog.ids)) == 20
    assert [one.history for one in record_golden(model)] == requested


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2}', '{"format": 2, "generation": 1, "current": {"dead": 1}}']
)
def test_a_damaged_pointer_is_refused(registry, text):
    registry.folder.mkdir()
    (registry.folder / POINTER).write_text(text)
    with pytest.raises(ValueError, match="is not a registry's pointer"):
        registry.pointer()


def test_a_pointer_of_another_format_is_refused_with_the_remedy(registry):
    path = registry.folder / POINTER
    registry.folder.mkdir()
    for text, remedy in [
        (
            '{"format": 1, "turn": 1, "now": {"live": "a"}}',
            f"delete the file and promote again ('segue promote {registry.folder} RUN')",
        ),
        ('{"format": 3}', "update Segue"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError) as error:
            registry.pointer()
        number = json.loads(text)["format"]
        assert str(error.value) == f"{path} has format {number}; this version of Segue reads format 2: {remedy}."


def promote_often(folder, version, times):
    for _ in range(times):
        ModelRegistry(folder).promote(version)


def test_concurrent_promotions_take_turns(registry, runs):
    versions = [registry.add(run) for run in runs]
    registry.promote(versions[0])
    children = [forks.start(lambda v=v: promote_often(registry.folder, v, 5)) for v in versions]
    assert [forks.exit_code(child) for child in children] == [0] * 3
    assert registry.pointer().generation == 16
    deployed = [spec.live for spec in [*registry.pointer().previous, registry.pointer().current]]
    assert all(one != other for one, other in itertools.pairwise(deployed))


def test_eight_add_and_promote_at_once(registry, runs):
    """Most of them the same version: each used to fail on the other's temporary names."""
    for run in runs:
        registry.examiner.examine(run)  # the children inherit the result

    def add_and_promote(run):
        own = ModelRegistry(registry.folder)
        own.promote(own.add(run))

    children = [forks.start(lambda run=runs[i % 3 if i < 3 else 0]: add_and_promote(run)) for i in range(8)]
    assert [forks.exit_code(child) for child in children] == [0] * 8
    assert registry.pointer().generation == 8
    names = {path.name for path in (registry.folder / "versions").iterdir()}
    added = {artifact.version(run) for run in runs}
    assert names == added | {f"{one}.golden.json" for one in added}


def test_promoting_twice_keeps_the_rollback(registry, runs):
    one, two = registry.add(runs[0]), registry.add(runs[1])
    registry.promote(one)
    registry.promote(two)
    again = registry.promote(two)
    assert (again.generation, again.current.live, [spec.live for spec in again.previous]) == (3, two, [one])
    assert registry.rollback().current.live == one


def test_a_rollback_leads_to_another_deployment(registry, runs):
    """Also in a registry of an older version, whose pointer repeats a deployment."""
    one, two = registry.add(runs[0]), registry.add(runs[1])
    registry.promote(one)
    pointer = registry.promote(two)
    repeated = replace(pointer, previous=[*pointer.previous, pointer.current, pointer.current])
    (registry.folder / POINTER).write_bytes(msgspec.json.encode(repeated))
    assert registry.rollback().current.live == one


def test_a_damaged_version_is_repaired_by_adding_it_again(registry, runs):
    one = registry.add(runs[0])
    registry.promote(one)
    damage(registry.path(one), "flipped")
    (listed,) = registry.versions()
    assert (listed.version, listed.role) == (one, "live")
    assert listed.problem.endswith("is not the file the model was saved with: its SHA-256 differs.")
    assert registry.promote(registry.add(runs[0])).generation == 2
    assert [row.problem for row in registry.versions()] == [""]


def test_remains_of_killed_processes_are_removed(registry, runs):
    one = registry.add(runs[0])
    registry.promote(one)
    versions = registry.folder / "versions"
    dead, alive = (versions / f".{name * 12}-{'0' * 32}" for name in "ab")
    for folder in (dead, alive):
        shutil.copytree(runs[1], folder)
    writing = versions / f"{one}.golden.json.writing"
    writing.write_text("{")
    handle = staged_folder.lock_folder(alive)
    registry.clean()
    assert (dead.exists(), alive.exists(), writing.exists()) == (False, True, False)
    os.close(handle)
    registry.clean()
    assert not alive.exists()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_links_are_not_followed(registry, runs, tmp_path, what):
    folder = tmp_path / "linked"
    if what == "folder":
        folder.symlink_to(runs[0])
    else:
        folder.mkdir()
        for path in runs[0].iterdir():
            (folder / path.name).symlink_to(path)
    with pytest.raises(ValueError, match="is a link: "):
        registry.add(folder)


def test_all_files_are_readable_by_other_users(registry, runs):
    registry.promote(registry.add(runs[0]))
    modes = {path.name: path.stat().st_mode & 0o044 for path in registry.folder.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o044}, modes


def refusal(work, *arguments, **options):
    with pytest.raises(ValueError) as error:
        work(*arguments, **options)
    return str(error.value)


def put(registry, name, *, settings=None, created="2026-01-01", count=3):
    """Write a version under a name of our own, which an examination would refuse."""
    made = artifact.Artifact("markov", settings or {}, Catalog("abcdef"[:count]), {}, {}, {"created": created})
    return artifact.save(made, registry.folder / "versions" / name)


def test_a_run_that_changes_while_it_is_copied_is_refused(registry, runs, monkeypatch):
    real = artifact.copy

    def copied(run, staged):
        shutil.copy(runs[1] / "manifest.json", run / "manifest.json")
        real(run, staged)

    monkeypatch.setattr(artifact, "copy", copied)
    assert refusal(registry.add, runs[0]) == f"{runs[0]} changed while it was copied: promote it again."
    assert list((registry.folder / "versions").iterdir()) == []


def test_a_run_that_is_damaged_is_refused_although_its_version_passed_before(registry, runs):
    """The examination of a version is not repeated; its files are compared again."""
    registry.add(runs[0])
    shutil.rmtree(registry.folder)
    damage(runs[0], "flipped")
    version = artifact.version(runs[0])
    assert refusal(registry.add, runs[0]) == f"{runs[0]} is damaged: its files are not those of version {version}."
    assert list((registry.folder / "versions").iterdir()) == []


def test_a_run_that_does_not_fit_on_the_disk_is_refused(registry, runs, tmp_path, monkeypatch):
    size, asked = artifact.num_bytes(runs[0]), []

    def usage(folder):
        asked.append(folder)
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    free = size - 1
    assert refusal(registry.add, runs[0]) == (f"{runs[0]} has 0 MB, and the disk of {tmp_path} has 0 MB left.")
    assert asked == [tmp_path], "the registry does not exist yet"
    free = size
    registry.add(runs[0])
    monkeypatch.setattr(artifact, "num_bytes", lambda run: 3_456_000_000)
    free = 1_234_000_000
    assert refusal(registry.add, runs[1]) == (
        f"{runs[1]} has 3,456 MB, and the disk of {registry.folder} has 1,234 MB left."
    )


def test_a_version_under_another_name_is_refused_and_listed_with_the_reason(registry, runs):
    version = registry.add(runs[0])
    registry.promote(version)
    other = registry.folder / "versions" / "abc123"
    shutil.copytree(registry.path(version), other)
    sentence = f"{other} holds version {version}: promote the model again."
    assert refusal(registry.open, "abc123") == sentence
    assert [(row.version, row.problem) for row in registry.versions()] == [(version, ""), ("abc123", sentence)]


def test_versions_are_listed_newest_first_with_their_roles(registry):
    names = [put(registry, name, created=f"2026-01-0{day}", count=day) for day, name in ((2, "x"), (3, "y"), (1, "z"))]
    for name, version in zip("xyz", names, strict=True):
        (registry.folder / "versions" / name).rename(registry.folder / "versions" / version)
    (registry.folder / "versions" / "file").write_text("x")
    (registry.folder / "versions" / ".hidden").mkdir()
    (registry.folder / "versions" / "0empty").mkdir()
    pointer = Pointer(2, 1, DeploymentSpec(names[0], names[1], 0.1, 0.0, names[2]))
    (registry.folder / POINTER).write_bytes(msgspec.json.encode(pointer))
    listed = registry.versions()
    assert [(row.version, row.role, row.items, row.created) for row in listed] == [
        (names[1], "canary", 3, "2026-01-03"),
        (names[0], "live", 2, "2026-01-02"),
        (names[2], "shadow", 1, "2026-01-01"),
        ("0empty", "", 0, ""),
    ]
    assert [row.model for row in listed] == ["markov", "markov", "markov", ""]
    assert listed[3].problem.endswith("0empty is not a Segue model: it has no manifest.json.")


def test_a_canary_without_a_placement_of_the_live_version_is_refused(registry, monkeypatch):
    monkeypatch.setattr(ModelRegistry, "open", lambda self, version: self.path(version))
    placements = [{"name": "home"}, {"name": "cart"}]
    put(registry, "live", settings={"pipeline": {"placement": placements}})
    put(registry, "less", settings={"pipeline": {"placement": placements[:1]}})
    put(registry, "more", settings={"pipeline": {"placement": [*placements, {"name": "mail"}]}})
    put(registry, "none", settings={"pipeline": {}})
    registry.promote("live")
    assert [registry.missing_placements(name) for name in ("live", "less", "more", "none", "unknown")] == [
        [], ["cart"], [], ["home", "cart"], [],
    ]  # fmt: skip
    for shares in ({"canary": 0.1}, {"interleave": 0.1}):
        assert refusal(registry.promote, "less", **shares) == (
            "Version less has no placement 'cart', which the live version live has: its users would get lists without "
            "these rules."
        )
    assert registry.promote("more", interleave=0.2).current == DeploymentSpec("live", "more", 0.0, 0.2)
    assert registry.promote("less", shadow=True).current == DeploymentSpec("live", "more", 0.0, 0.2, "less")
    assert registry.promote("less").current == DeploymentSpec("less"), "no shadow of itself"
    assert registry.pointer().generation == 4


def test_edges_of_the_shares(registry, monkeypatch):
    monkeypatch.setattr(ModelRegistry, "open", lambda self, version: self.path(version))
    put(registry, "a")
    put(registry, "b")
    for shares in ({"canary": 0.1}, {"interleave": 0.1}, {"shadow": True}):
        assert refusal(registry.promote, "a", **shares) == (
            f"{registry.folder} has no live version yet: promote one for all users first."
        )
    assert not (registry.folder / POINTER).exists()
    registry.promote("a", note="first")
    assert registry.pointer().note == "first"
    assert registry.promote("b", canary=1.0).current == DeploymentSpec("a", "b", 1.0)
    assert registry.promote("b", interleave=1.0, note="all").current == DeploymentSpec("a", "b", 0.0, 1.0)
    assert registry.pointer().note == "all"
    assert registry.promote("b", canary=0.5, interleave=0.5).generation == 4
    for shares in ({"canary": -0.1}, {"interleave": -0.1}, {"interleave": 1.1}, {"canary": float("nan")}):
        assert refusal(registry.promote, "b", **shares).startswith("Shares lie between 0 and 1 together, got ")
    assert refusal(registry.promote, "b", interleave=0.1, shadow=True).startswith("A version is sent to users")


def test_the_pointer_keeps_the_newest_deployments(registry, monkeypatch):
    monkeypatch.setattr(ModelRegistry, "open", lambda self, version: self.path(version))
    monkeypatch.setattr("segue.serving.deployment.model_registry._MAX_PREVIOUS", 2)
    for name in "abcd":
        put(registry, name)
        registry.promote(name)
    assert [spec.live for spec in registry.pointer().previous] == ["b", "c"]
    pointer = registry.rollback(generation=4)
    assert (pointer.current.live, [spec.live for spec in pointer.previous], pointer.note) == ("c", ["b"], "")
    assert registry.rollback("why", generation=4) == pointer == registry.pointer()


def test_remains_in_a_folder_without_permission_are_left(registry, monkeypatch):
    registry.folder.mkdir()
    (registry.folder / "pointer.json.writing").write_text("{")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        registry.clean()
    assert (registry.folder / "pointer.json.writing").exists()
    registry.clean()
    assert os.listdir(registry.folder) == ["lock"]


def test_closing_ends_the_examination(registry, runs):
    registry.close()
    save_version = artifact.Artifact("markov", {"smoothing": 0.123}, Catalog("ab"), {}, {}, {})
    artifact.save(save_version, runs[0])
    assert refusal(registry.add, runs[0]) == f"The examination of {runs[0]} was stopped."
    assert registry.file_states() is None


def test_the_examiner_of_a_registry(registry, runs):
    own = CandidateExaminer()
    registry.promote(registry.add(runs[0]))
    found = ModelRegistry.at(str(registry.folder), own)
    assert (found.folder, found.examiner) == (registry.folder, own)
    assert ModelRegistry(registry.folder).examiner is not own
