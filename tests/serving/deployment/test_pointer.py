"""Pointer file: the versions to load, and the sentences about a folder without one."""

import pytest

from segue.serving.deployment.pointer import DeploymentSpec, Pointer, read_pointer


def test_the_versions_of_a_deployment_begin_with_the_live_one():
    assert DeploymentSpec("a").versions() == ["a"]
    assert DeploymentSpec("a", shadow="c").versions() == ["a", "c"]
    assert DeploymentSpec("a", "b", 0.1, 0.0, "c").versions() == ["a", "b", "c"]


def test_a_folder_without_a_pointer_is_no_registry(tmp_path):
    with pytest.raises(ValueError) as error:
        read_pointer(tmp_path)
    assert str(error.value) == f"{tmp_path} is not a registry of models: 'segue promote' makes one."


def test_a_pointer_with_unknown_fields_is_refused(tmp_path):
    (tmp_path / "pointer.json").write_text('{"format": 2, "generation": 1, "current": {"live": "a"}, "more": 1}')
    with pytest.raises(ValueError) as error:
        read_pointer(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'pointer.json'} is not a registry's pointer: Object contains unknown field `more`."
    )
    (tmp_path / "pointer.json").write_text('{"format": 2, "generation": 1, "current": {"live": "a"}}')
    assert read_pointer(tmp_path) == Pointer(2, 1, DeploymentSpec("a"))
