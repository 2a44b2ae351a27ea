"""Spelling of names: case, spaces around them and '_' for '-' do not count."""

import pytest

from segue.config.names import normalize_name


@pytest.mark.parametrize("name", ["session-knn", "session_knn", " Session-KNN ", "SESSION_KNN"])
def test_spellings_of_a_name_are_one_name(name: str) -> None:
    assert normalize_name(name) == "session-knn"
