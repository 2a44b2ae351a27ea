"""Catalog: exact ids, dense indices, PAD for unknown ids."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.data.catalog import PAD, Catalog

ODD = ("1", "01", "1.0", "true", "\u00e9", "e\u0301", " a", "a ", "a", "A", "商品", "🧦", "ÄPFEL")


def test_index_zero_is_no_item():
    catalog = Catalog(["a", "b"])
    assert (PAD, catalog.size, len(catalog)) == (0, 3, 2)
    assert catalog.to_indices(["b", "x", "a", ""]).tolist() == [2, PAD, 1, PAD]
    assert catalog.to_ids([2, PAD, 1]) == ["b", "a"]
    assert catalog.to_ids(np.array([PAD, PAD])) == []


def test_indices_are_int32():
    assert Catalog(["a"]).to_indices(["a"]).dtype == np.int32
    assert Catalog([]).to_indices([]).tolist() == []


def test_no_two_spellings_merge():
    catalog = Catalog(ODD)
    assert catalog.to_indices(ODD).tolist() == list(range(1, len(ODD) + 1))
    assert catalog.to_ids(catalog.to_indices(ODD)) == list(ODD)


def test_membership_is_by_exact_string():
    catalog = Catalog(["1"])
    assert "1" in catalog
    assert 1 not in catalog
    assert "1.0" not in catalog


def test_an_id_that_occurs_twice_is_named():
    with pytest.raises(ValueError) as error:
        Catalog(["a", "b", "c", "b", "a"])
    assert str(error.value) == "A catalog needs each id once, but 'b' occurs twice."


@given(st.lists(st.text(), unique=True))
def test_every_id_finds_its_way_there_and_back(ids):
    catalog = Catalog(ids)
    assert catalog.to_ids(catalog.to_indices(ids)) == ids
    assert sorted(catalog.to_indices(ids).tolist()) == list(range(1, len(ids) + 1))


def test_different_catalogs_have_different_fingerprints():
    prints = {
        Catalog(ids).fingerprint
        for ids in ([], [""], ["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["\u00e9"], ["e\u0301"])
    }
    assert len(prints) == 8
    assert Catalog(["a", "b"]).fingerprint == Catalog(iter(["a", "b"])).fingerprint
    assert len(Catalog([]).fingerprint) == 64


def test_catalogs_are_equal_when_their_ids_are():
    assert Catalog(["a", "b"]) == Catalog(["a", "b"])
    assert Catalog(["a", "b"]) != Catalog(["b", "a"])
    assert Catalog(["a"]) != ("a",)
    with pytest.raises(TypeError):
        hash(Catalog(["a"]))


def test_odd_ids_survive_the_disk(tmp_path):
    path = tmp_path / "catalog.json"
    Catalog(ODD).save(path)
    assert Catalog.decode(json.loads(path.read_text()), path) == Catalog(ODD)


@pytest.mark.parametrize("value", [{"a": 1}, ["a", 1], "a", None])
def test_json_of_another_shape_is_refused(tmp_path, value):
    with pytest.raises(ValueError) as error:
        Catalog.decode(value, tmp_path)
    assert str(error.value) == f"{tmp_path} is not a catalog: it must be a JSON list of strings."


@pytest.mark.parametrize("item", ["", "\x00", "a\n", "\x7f", "\ud800", "a\udfff"])
def test_an_id_that_no_log_can_hold_is_refused(tmp_path, item):
    with pytest.raises(ValueError) as error:
        Catalog.decode(["a", item], tmp_path)
    assert str(error.value) == f"{tmp_path} is not a catalog: an id is empty, or holds a control character."
