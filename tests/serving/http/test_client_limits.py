"""Limits of each client of a public key: addresses, proxies, bounded memory, refusals that a page can read."""

from types import SimpleNamespace

import pytest
from tests.support.live_server import live_client

from segue.serving.config import AccessConfig, ServingConfig
from segue.serving.http.app import App
from segue.serving.http.auth import INGEST, OPEN, SERVE, Caller, Keys, TokenBuckets
from segue.serving.http.client_limits import ClientLimits, client_key
from segue.serving.http.exchange import Request
from segue.serving.schemas.problems import Problem

PAGE = Caller("SEGUE_SERVE_KEY", frozenset({INGEST, SERVE}))
KEYS = {"SEGUE_API_KEY": "a" * 20, "SEGUE_SERVE_KEY": "p" * 20}


def request(client="198.51.100.7", forwarded=None):
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded.encode()}
    return Request("POST", "/v1/recommend", headers, client=client)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002::"),
        ("[2001:db8:1:2::9]:443", "20010db800010002::"),
        ("2001:db8:1:3::9", "20010db800010003::"),
        ("unknown", ""),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_a_network_of_64_bits(address, key):
    assert client_key(address) == key.lstrip("0")


@pytest.mark.parametrize(
    ("client", "forwarded", "found"),
    [
        ("10.0.0.5", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.5", "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.5", "203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("10.0.0.5", "nonsense, 10.1.1.1", "10.1.1.1"),
        ("10.0.0.5", "nonsense", "10.0.0.5"),
        ("10.0.0.5", None, "10.0.0.5"),
        ("10.0.0.5", "10.2.2.2", "10.2.2.2"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),
        ("::ffff:10.0.0.5", "203.0.113.9", "203.0.113.9"),
    ],
)
def test_only_trusted_proxies_name_the_client(client, forwarded, found):
    """Else every request could name another client, or a victim."""
    limits = ClientLimits(1, trusted_proxies=["10.0.0.0/8"])
    assert limits.client_of(request(client, forwarded)) == found


def test_one_client_is_limited_and_the_others_are_not():
    limits = ClientLimits(2)
    for _ in range(4):
        limits.take(request(), PAGE)
    with pytest.raises(Problem) as refused:
        limits.take(request(), PAGE)
    assert refused.value.status == 429 and refused.value.headers == {"Retry-After": "1"}
    assert refused.value.detail == "This key allows each client 2 requests a second: try again in 1 s."
    limits.take(request("198.51.100.8"), PAGE)
    for _ in range(20):
        limits.take(request(), OPEN)  # the key of a shop's own server is no public one


def test_buckets_fill_again_and_their_number_is_bounded():
    buckets = TokenBuckets(per_s=2, most=4, max_buckets=3)
    assert [buckets.take("a", now_s=0.0) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert buckets.take("a", now_s=0.5) == 0
    for key in "bcd":
        buckets.take(key, now_s=0.5)
    assert len(buckets._buckets) == 3 and "a" not in buckets._buckets
    for n in range(10_000):
        buckets.take(str(n), now_s=1.0)
    assert len(buckets._buckets) == 3


def test_processes_share_the_limit():
    access = AccessConfig(requests_per_s_per_client=8, items_per_h_per_client=3600)
    limits = ClientLimits.of(ServingConfig(access=access, workers=4))
    assert (limits._requests._per_s, limits._items._per_s, limits._items._most) == (2, 0.25, 900)


@pytest.mark.parametrize("proxy", ["", "shop", "10.0.0.0/99"])
def test_a_proxy_is_an_address(proxy):
    with pytest.raises(ValueError, match="is no proxy's address: write it like"):
        AccessConfig(trusted_proxies=(proxy,))


def test_a_proxys_network_may_be_written_by_one_of_its_addresses():
    limits = ClientLimits(1, trusted_proxies=["10.1.2.3/8"])
    assert limits.client_of(request("10.9.9.9", "203.0.113.9")) == "203.0.113.9"


@pytest.mark.parametrize(("cost", "wait_s"), [(4.0, 1), (5.0, 1), (6.0, 2), (10.0, 4), (1000.0, 499)])
def test_the_wait_lasts_until_there_is_a_whole_token(cost, wait_s):
    buckets = TokenBuckets(per_s=2, most=4)
    assert buckets.take("a", cost, 0.0) == 0, "one token is enough for any cost"
    assert buckets.take("a", now_s=0.0) == wait_s
    assert buckets.take("a", now_s=0.0) == wait_s, "a refusal costs nothing"
    assert buckets.take("a", now_s=float(wait_s)) == 0


def test_a_bucket_holds_one_token_at_least_and_is_never_over_full():
    buckets = TokenBuckets(per_s=0.1, most=0.2)
    assert [buckets.take("a", now_s=0.0), buckets.take("a", now_s=0.0)] == [0, 10]
    assert [buckets.take("a", now_s=1000.0), buckets.take("a", now_s=1000.0)] == [0, 10]


def test_items_of_a_public_key_are_counted_by_their_number():
    limits, pages_own = ClientLimits(items_per_h=10), Caller("SEGUE_INGEST_KEY", frozenset({INGEST}))
    assert (limits.counts_items, ClientLimits(5).counts_items) == (True, False)
    ten = SimpleNamespace(items=list(range(10)))
    for caller, response in ((OPEN, ten), (PAGE, SimpleNamespace(items=5)), (PAGE, SimpleNamespace())):
        limits.count_items(request(), caller, response)
    limits.count_items(request(""), PAGE, ten)
    limits.take(request(), PAGE)
    limits.count_items(request(), pages_own, SimpleNamespace(items=[1] * 9))
    limits.take(request(), PAGE)
    limits.count_items(request(), PAGE, SimpleNamespace(items=[1]))
    with pytest.raises(Problem) as refused:
        limits.take(request(), PAGE)
    assert refused.value.detail.startswith("This key allows each client 10 items an hour: try again in 36")
    limits.take(request("198.51.100.8"), PAGE)
    ClientLimits(5).count_items(request(), PAGE, ten)


@pytest.fixture(scope="module")
def opened(tmp_path_factory, run, open_server):
    with open_server(tmp_path_factory.mktemp("limits") / "server", run) as running:
        running.state.keys = Keys(KEYS)
        running.state.origins = ("https://shop.example",)
        yield running


@pytest.fixture
def server(opened):
    opened.state.client_limits = ClientLimits()
    return opened


@pytest.fixture
def page(server):
    """Server with a page's key and an own one, and a client of the page."""
    with live_client(App(server.state)) as web:
        web.headers.update({"Authorization": "Bearer " + "p" * 20, "Origin": "https://shop.example"})
        yield web


def test_a_page_can_read_that_it_sent_too_many(page, server):
    server.state.client_limits = ClientLimits(1, trusted_proxies=["127.0.0.0/8"])
    answers = [page.post("/v1/recommend", json={"k": 1}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].headers["access-control-allow-origin"] == "https://shop.example"
    other = page.post("/v1/recommend", json={"k": 1}, headers={"X-Forwarded-For": "203.0.113.9"})
    assert other.status_code == 200
    own = {"Authorization": "Bearer " + "a" * 20}
    assert all(page.post("/v1/recommend", json={"k": 1}, headers=own).status_code == 200 for _ in range(5))
    assert page.get("/health/live").status_code == 200


def test_a_client_of_a_page_can_copy_a_part_of_the_catalog_only(page, server):
    """Items of lists, pages of the catalog and similar items count alike."""
    server.state.client_limits = ClientLimits(items_per_h=20)
    assert len(page.get("/v1/items", params={"limit": 10}).json()["items"]) == 10
    assert len(page.post("/v1/recommend", json={"k": 7}).json()["items"]) == 7
    assert page.post("/v1/similar", json={"item_id": "a", "k": 5}).status_code == 200
    refused = page.post("/v1/recommend", json={"k": 1})
    assert refused.status_code == 429
    assert 300 < int(refused.headers["retry-after"]) < 1000
    assert refused.json()["detail"].startswith("This key allows each client 20 items an hour: try again in ")
    own = {"Authorization": "Bearer " + "a" * 20}
    assert page.get("/v1/items", headers=own).status_code == 200
