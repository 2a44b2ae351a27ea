"""The artifact: contents are restored bit for bit, and every damage is refused in one sentence that names the file."""

import json
import os
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file

from segue.data.catalog import Catalog
from segue.models.artifact import FORMAT, Artifact, load, save
from segue.system import staged_folder

FILES = ["catalog.json", "items.json", "weights.safetensors"]


def make(ids="abc", weight=1.0):
    return Artifact(
        model="markov",
        settings={"smoothing": 0.5, "window_days": None},
        catalog=Catalog(ids),
        arrays={"values": np.full((2, 3), weight, np.float32), "offsets": np.arange(4), "empty": np.empty(0, np.int32)},
        items={"a": {"title": "Ätherische 商品 🧦", "price": 2.5}},
        about={"metrics": {"ndcg@10": 0.25}, "seed": 3},
    )


@pytest.fixture
def folder(tmp_path):
    save(make(), tmp_path / "run")
    return tmp_path / "run"


def refusal(folder):
    with pytest.raises(ValueError) as error:
        load(folder)
    return str(error.value)


def edit(folder, **changes):
    """Rewrites the manifest; a change to None takes the key out."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))
    return path


def test_all_contents_are_restored(folder):
    loaded, made = load(folder), make()
    assert (loaded.model, loaded.settings, loaded.items) == (made.model, made.settings, made.items)
    assert loaded.catalog == made.catalog
    assert loaded.about.items() >= made.about.items()
    assert loaded.about["created"].endswith("+00:00")
    assert loaded.arrays.keys() == made.arrays.keys()
    for name, array in made.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == array.dtype


def test_arrays_that_are_not_contiguous_are_saved(tmp_path):
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save(
        Artifact("markov", {}, Catalog("ab"), {"transposed": transposed, "every_second": transposed[::2]}, {}, {}),
        tmp_path / "run",
    )
    arrays = load(tmp_path / "run").arrays
    np.testing.assert_array_equal(arrays["transposed"], transposed)
    np.testing.assert_array_equal(arrays["every_second"], transposed[::2])


def test_different_models_have_different_versions(tmp_path):
    first = save(make(), tmp_path / "one")
    second = save(make(weight=2.0), tmp_path / "two")
    assert load(tmp_path / "one").version == first
    assert len(first) == 12
    assert first != second


def test_an_artifact_is_replaced_without_remains(folder):
    save(make(weight=7.0), folder)
    assert load(folder).arrays["values"][0, 0] == 7.0
    assert os.listdir(folder.parent) == ["run"]
    assert sorted(os.listdir(folder)) == sorted([*FILES, "manifest.json"])


def test_missing_parents_are_created_and_an_empty_folder_is_used(tmp_path):
    (tmp_path / "deep" / "run").mkdir(parents=True)
    save(make(), tmp_path / "deep" / "run")
    save(make(), tmp_path / "other" / "deep" / "run")
    assert load(tmp_path / "deep" / "run").catalog == load(tmp_path / "other" / "deep" / "run").catalog


def test_other_users_may_read_the_folder(folder):
    """Temporary folders are readable by their owner alone; the saved model used to be one."""
    (folder.parent / "plain").mkdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder.parent / "plain").stat().st_mode)


@pytest.mark.parametrize("target", ["folder", "file"])
def test_other_files_are_not_overwritten(tmp_path, target):
    path = tmp_path / "precious"
    file = path / "thesis.txt" if target == "folder" else path
    file.parent.mkdir(exist_ok=True)
    file.write_text("years of work")
    with pytest.raises(ValueError) as error:
        save(make(), path)
    assert str(error.value) == f"{path} exists and is not a Segue model: choose another folder, or empty this one."
    assert file.read_text() == "years of work"
    assert os.listdir(tmp_path) == ["precious"]


@pytest.mark.parametrize("before", [True, False])
def test_a_failed_save_leaves_the_old_artifact(tmp_path, before):
    if before:
        save(make(), tmp_path / "run")
    broken = Artifact("markov", {"unwritable": object()}, Catalog("ab"), {}, {}, {})
    with pytest.raises(TypeError):
        save(broken, tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"] * before
    assert not before or load(tmp_path / "run").model == "markov"


def test_a_failed_replacement_restores_the_old_model(folder, monkeypatch):
    """Without an exchange, the last renaming may fail: the old model used to stay under a hidden name."""
    rename, calls = os.rename, []

    def third_fails(source, target):
        calls.append(target)
        if len(calls) == 3:
            raise OSError("no space left")
        rename(source, target)

    monkeypatch.setattr(os, "rename", third_fails)
    monkeypatch.setattr(staged_folder, "exchange", lambda one, other: False)
    with pytest.raises(OSError, match="no space left"):
        save(make(weight=7.0), folder)
    assert load(folder).arrays["values"][0, 0] == 1.0
    assert os.listdir(folder.parent) == ["run"]


def test_a_folder_without_a_manifest_is_refused(folder):
    (folder / "manifest.json").unlink()
    assert refusal(folder) == f"{folder} is not a Segue model: it has no manifest.json."


def test_a_missing_folder_is_refused(tmp_path):
    assert refusal(tmp_path / "no") == f"{tmp_path / 'no'} is not a Segue model: it has no manifest.json."


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    assert refusal(folder) == f"{folder / name} is missing: the model is incomplete, copy it again."


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "one bit", "longer", "emptied"])
def test_a_damaged_file(folder, name, damage):
    path = folder / name
    raw = bytearray(path.read_bytes())
    if damage == "one bit":
        raw[len(raw) // 2] ^= 1
    path.write_bytes({"truncated": raw[:-1], "one bit": raw, "longer": raw + b"\0", "emptied": b""}[damage])
    sizes = json.loads((folder / "manifest.json").read_text())["sizes"]
    reason = "its SHA-256 differs"
    if damage != "one bit":
        reason = f"it has {path.stat().st_size:,} bytes instead of {sizes[name]:,}"
    assert refusal(folder) == f"{path} is not the file the model was saved with: {reason}."
    edit(folder, sizes=None)
    assert refusal(folder) == f"{path} is not the file the model was saved with: its SHA-256 differs."


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_place_of_a_file(folder, name):
    """Even to the same bytes: the target of a link may change."""
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    assert refusal(folder) == f"{folder / name} is a link: copy the model with its files, not with links to them."


def test_a_folder_in_place_of_a_file(folder):
    (folder / "items.json").unlink()
    (folder / "items.json").mkdir()
    assert refusal(folder) == f"{folder / 'items.json'} is no regular file: copy the model again."


def test_a_file_from_another_model(folder):
    """Its own manifest would have accepted it."""
    save(make(ids="abd"), folder.parent / "other")
    (folder / "catalog.json").write_bytes((folder.parent / "other" / "catalog.json").read_bytes())
    assert refusal(folder) == (
        f"{folder / 'catalog.json'} is not the file the model was saved with: its SHA-256 differs."
    )


def test_a_catalog_of_another_model_is_refused(folder):
    save(make(ids="abd"), folder.parent / "other")
    (folder / "catalog.json").write_bytes((folder.parent / "other" / "catalog.json").read_bytes())
    own, other = (json.loads((f / "manifest.json").read_text()) for f in (folder, folder.parent / "other"))
    edit(folder, files={**own["files"], "catalog.json": other["files"]["catalog.json"]})
    assert refusal(folder) == f"{folder / 'catalog.json'} is not the one the model was trained with."


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused(folder, number):
    path = edit(folder, format=number)
    assert refusal(folder) == (
        f"{path} has format {number}, and this version of Segue reads format {FORMAT}: train the model again, or use "
        "the version of Segue that wrote it."
    )


@pytest.mark.parametrize("name", ["../../etc/passwd", "weights.pkl"])
def test_a_manifest_that_lists_another_file(folder, name):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    path = edit(folder, files={**files, name: "0" * 64})
    assert refusal(folder) == (
        f"{path} lists the files {sorted([*FILES, name])}, which is not what a Segue model holds."
    )


def test_a_manifest_that_lists_too_few(folder):
    path = edit(folder, files={"catalog.json": "0" * 64})
    assert refusal(folder) == f"{path} lists the files ['catalog.json'], which is not what a Segue model holds."


def test_a_file_that_is_not_listed_is_refused(folder):
    (folder / "weights.pkl").write_bytes(b"\x80\x04cos\nsystem\n")
    assert refusal(folder) == f"{folder / 'weights.pkl'} is no file of a Segue model: copy the model without it."


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("format", None, "int"),
        ("format", "1", "int"),
        ("format", True, "int"),
        ("model", 3, "str"),
        ("settings", [], "dict"),
        ("catalog", {}, "str"),
        ("about", None, "dict"),
        ("files", ["catalog.json"], "dict"),
    ],
)
def test_a_manifest_of_another_shape(folder, key, value, expected):
    path = edit(folder, **{key: value})
    assert refusal(folder) == f"{path} is not a manifest: '{key}' must be {expected}."


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "'format' must be int"),
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"format": 1', "Expecting ',' delimiter: line 1 column 13 (char 12)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_manifest_that_is_not_valid_json(folder, raw, reason):
    path = folder / "manifest.json"
    path.write_bytes(raw)
    assert refusal(folder) == f"{path} is not a manifest: {reason}."


def test_a_manifest_nested_too_deep(folder):
    path = folder / "manifest.json"
    path.write_text("[" * 1_000_000)
    assert refusal(folder).startswith(f"{path} is not a manifest: ")


def test_nothing_in_the_folder_can_run_code(folder):
    """JSON and safetensors only; the tensors are read by their own library."""
    assert load_file(folder / "weights.safetensors").keys() == make().arrays.keys()
    for name in ("catalog.json", "items.json", "manifest.json"):
        json.loads((folder / name).read_text(encoding="ascii"))
