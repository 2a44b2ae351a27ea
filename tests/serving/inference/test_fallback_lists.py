"""Fallback lists: the cached last list of the user, then popular items, then any item, without excluded items."""

import numpy as np
import pytest

from segue.models.counting.popularity import Popularity
from segue.models.retrieval.retriever import Retriever
from segue.serving.inference import fallback_lists
from segue.serving.inference.fallback_lists import FallbackLists

KEY = ("user_id", "ann")


@pytest.fixture
def lists():
    return FallbackLists(Retriever(Popularity(np.array([0, 5, 9, 7, 1, 3], np.float32))), max_lists=2)


def found(lists, key=KEY, k=3, exclude=(), allow=None):
    fallback = lists.find(key, k, exclude, allow)
    assert len(fallback.items_K) == len(fallback.scores_K)
    return fallback.source, fallback.items_K.tolist()


def test_a_new_user_gets_popular_items(lists):
    assert found(lists) == found(lists, None) == ("popular", [2, 3, 1])
    assert found(lists, exclude=[3, 2]) == ("popular", [1, 5, 4])
    assert found(lists, allow=[4, 5]) == ("popular", [5, 4])


def test_a_user_gets_the_cached_list_without_excluded_items(lists):
    lists.keep(KEY, np.array([5, 4, 1, 0]), np.array([3, 2, 1, -np.inf], np.float32))
    assert found(lists) == ("cached", [5, 4, 1])
    assert found(lists, exclude=[4]) == ("cached", [5, 1, 2]), "popular items follow"
    assert found(lists, exclude=[5, 4, 1]) == ("popular", [2, 3])
    assert found(lists, k=1) == ("cached", [5])
    lists.forget(KEY)
    assert found(lists)[0] == "popular"


def test_a_list_of_a_batch_that_began_before_the_erasure_is_not_kept(lists):
    lists.begin_batch()
    lists.forget(KEY)
    lists.keep(KEY, np.array([5]), np.array([3], np.float32))
    assert found(lists)[0] == "popular", "its history was read before"
    lists.begin_batch()
    lists.keep(KEY, np.array([5]), np.array([3], np.float32))
    assert found(lists)[0] == "cached", "a user who has come back"


def test_a_list_is_full_while_items_are_allowed(monkeypatch):
    """Also where the request leaves out every popular item."""
    monkeypatch.setattr(fallback_lists, "_NUM_POPULAR", 2)
    lists = FallbackLists(Retriever(Popularity(np.array([0, 5, 9, 7, 1, 3], np.float32))))
    assert found(lists, k=9) == ("popular", [2, 3, 1, 4, 5])
    assert found(lists, exclude=[2, 3, 1]) == ("popular", [4, 5])
    assert found(lists, allow=[5, 4, 0]) == ("popular", [5, 4])
    assert found(lists, allow=[]) == ("popular", [])


def test_only_the_newest_lists_are_cached(lists):
    for name in ("a", "b", "a", "c"):
        lists.keep(("user_id", name), np.array([1]), np.array([1], np.float32))
    assert [found(lists, ("user_id", name))[0] for name in "abc"] == ["cached", "popular", "cached"]
