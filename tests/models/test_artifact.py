"""The artifact: contents are restored bit for bit, and every damage is refused in one sentence that names the file."""

import errno
import hashlib
import json
import os
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file

from segue.data.catalog import Catalog
from segue.models import artifact, artifact_files
from segue.models.artifact import FORMAT, Artifact, check_target, load, save
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


def with_file(folder, name, content, **changes):
    """Write other contents of a file, and let the manifest fit them."""
    path = folder / name
    path.write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    manifest["sizes"][name] = len(content)
    edit(folder, files=manifest["files"], sizes=manifest["sizes"], **changes)
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "it must be a JSON object."),
        (b'{"a": 5}', "'a' must have plain values by column."),
        (b'{"ok": {}, "a": {"x": {}}}', "'a' must have plain values by column."),
        (b'{"a": {"x": 1, "y": [1, []]}}', "'a' must have plain values by column."),
        (b'{"' + b"n" * 150 + b'": []}', f"'{'n' * 100}' must have plain values by column."),
    ],
)
def test_an_items_table_of_another_shape(folder, content, reason):
    path = with_file(folder, "items.json", content)
    assert refusal(folder) == f"{path} is no table of items: {reason}"


def test_an_items_table_of_all_plain_values(folder):
    items = {"a": {"s": "x", "i": 1, "f": 1.5, "b": True, "n": None, "l": ["x", 1, None, False]}, "z": {}}
    with_file(folder, "items.json", json.dumps(items).encode())
    assert load(folder).items == items


def test_files_that_are_no_json_are_named(folder):
    path = with_file(folder, "items.json", b"{")
    assert refusal(folder).startswith(f"{path} is not a table of items: Expecting property name")
    path = with_file(folder, "catalog.json", b"{")
    assert refusal(folder).startswith(f"{path} is not a catalog: Expecting property name")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"more": 1, "zz": 2}, "it has the unknown key 'more'."),
        ({"files": {"catalog.json": 5}}, "'files' must hold one str for each file."),
        ({"sizes": []}, "'sizes' must hold one int for each file."),
        ({"sizes": {"catalog.json": "5"}}, "'sizes' must hold one int for each file."),
        ({"sizes": {"catalog.json": True}}, "'sizes' must hold one int for each file."),
    ],
)
def test_a_manifest_with_other_keys_or_values(folder, changes, sentence):
    path = edit(folder, **changes)
    assert refusal(folder) == f"{path} is not a manifest: {sentence}"


def test_a_manifest_has_a_limit(folder, monkeypatch):
    path = folder / "manifest.json"
    size = path.stat().st_size
    monkeypatch.setattr(artifact, "MAX_MANIFEST_BYTES", size)
    assert load(folder).model == "markov"
    monkeypatch.setattr(artifact, "MAX_MANIFEST_BYTES", size - 1)
    assert refusal(folder) == f"{path} has {size:,} bytes, more than the {size - 1:,} that are possible."


@pytest.mark.parametrize("error", [MemoryError, OverflowError])
def test_a_model_that_does_not_fit_into_memory_is_one_sentence(folder, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(artifact_files, "_read_tensor", fail)
    assert refusal(folder) == f"{folder} does not fit into memory."


def test_parts_are_read_without_the_others(folder):
    whole = load(folder)
    (folder / "weights.safetensors").write_bytes(b"damaged")
    assert artifact.version(str(folder)) == whole.version
    assert artifact.read_about(str(folder)) == whole.about
    assert artifact.num_bytes(str(folder)) == sum((folder / name).stat().st_size for name in os.listdir(folder))
    (folder / "items.json").unlink()
    with pytest.raises(ValueError, match=r"items\.json is missing"):
        artifact.num_bytes(folder)


def test_a_copy_has_all_files_on_disk_and_no_others(folder, tmp_path, monkeypatch):
    synced, target, real = [], tmp_path / "copy", os.fsync
    target.mkdir()
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), real(handle))
    )
    artifact.copy(str(folder), target)
    assert sorted(os.listdir(target)) == sorted([*FILES, "manifest.json"])
    assert all((target / name).read_bytes() == (folder / name).read_bytes() for name in os.listdir(folder))
    assert synced == [*(str(target / name) for name in FILES), str(target / "manifest.json"), str(target)]
    with pytest.raises(FileExistsError):
        artifact.copy(folder, target)
    (folder / "more.txt").write_text("x")
    with pytest.raises(ValueError, match="is no file of a Segue model: copy the model without it"):
        artifact.copy(folder, target)


def test_numbers_that_json_lacks_are_saved_as_missing(tmp_path):
    about = {"metrics": {"ndcg": float("nan"), "curve": [1.0, float("inf"), (0.5, float("-inf"))]}, "seed": 3}
    made = Artifact("markov", {}, Catalog("ab"), {}, {"a": {"price": float("nan"), "rank": 2.5}}, about)
    save(made, tmp_path / "run")
    loaded = load(tmp_path / "run")
    assert loaded.about["metrics"] == {"ndcg": None, "curve": [1.0, None, [0.5, None]]}
    assert (loaded.about["seed"], loaded.items) == (3, {"a": {"price": None, "rank": 2.5}})
    text = (tmp_path / "run" / "manifest.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n", "as readable as any other"


def test_the_time_of_a_model_is_kept_in_a_copy_of_its_provenance(folder):
    about = {"created": "2020-01-01T00:00:00+00:00"}
    save(Artifact("markov", {}, Catalog("ab"), {}, {}, about), folder)
    assert load(folder).about == about


def test_targets_are_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file/run", "file/deep/run"):
        with pytest.raises(NotADirectoryError) as error:
            check_target(tmp_path / name)
        assert (error.value.errno, error.value.filename) == (errno.ENOTDIR, str(tmp_path / "file"))
    with pytest.raises(ValueError) as refused:
        check_target(tmp_path / "link")
    assert str(refused.value) == f"{tmp_path / 'link'} is a link: name the folder that it leads to."
    check_target(tmp_path / "deep" / "run")
    assert sorted(os.listdir(tmp_path)) == ["file", "link"], "a check makes nothing"


def test_a_parent_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    with pytest.raises(PermissionError) as error:
        check_target(tmp_path / "deep" / "run")
    assert error.value.filename == str(tmp_path)
