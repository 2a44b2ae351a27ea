"""Browsers: what pages of other sites can reach on a server without keys, and the CORS protocol."""

import pytest
from tests.serving.http.raw_client import talk
from tests.support.live_server import live_server

from segue.serving.http.app import App
from segue.serving.http.auth import Keys
from segue.serving.http.cors import CorsPolicy, is_local
from segue.serving.http.exchange import Request
from segue.serving.http.handlers import AppState
from segue.serving.schemas.problems import Problem

BODY = b'{"item_id": "a"}'
SHOP = "https://shop.example"


@pytest.fixture(scope="module")
def opened(tmp_path_factory, run, open_server):
    with open_server(tmp_path_factory.mktemp("cors") / "server", run) as running:
        yield running


@pytest.fixture
def state(opened):
    return AppState(opened.admin.router, admin=opened.admin)


@pytest.fixture(scope="module")
def port(opened):
    """Port of a server without keys and origins."""
    with live_server(App(AppState(opened.admin.router, admin=opened.admin))) as number:
        yield number


def send(port, *headers, method="POST", target="/v1/similar", host="localhost", version="1.1", body=BODY):
    """Return (status, head, body) of one request on a connection of its own."""
    lines = [f"{method} {target} HTTP/{version}", f"Content-Length: {len(body)}", *headers]
    if host is not None:
        lines.append(f"Host: {host}")
    if body and not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")

    async def conversation(client):
        return await client.response()

    return talk(port, conversation, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


LOCAL = [
    *("localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.9.1", "[::1]:8000", "[::1]"),
    *("segue", "segue:8000", "2130706433", "0x7f000001", ""),
]
"""A browser writes an address of numbers as 127.0.0.1 before it sends it; a name without a dot is of no other site."""
FOREIGN = [
    *("evil.example", "evil.example:8000", "10.0.0.1", "localhost.evil.example", "[2001:db8::1]:80", "evil."),
    *("localhost.", "127.0.0.1.evil.example", "127.0.0.1.", "0.0.0.0", "0.0.0.0:8000", "[::]", "[::ffff:10.0.0.1]"),
    *("user@localhost", "localhost@evil.example", "localhost:80:evil", "localhost/evil.example", "evil localhost"),
    *("localhost,evil.example", "127.1", "0177.0.0.1", "169.254.169.254", "a" * 64, "xn--", "[localhost]x", "\xe9"),
]


@pytest.mark.parametrize("host", LOCAL)
def test_loopback_names_are_answered_without_a_key(port, host):
    assert is_local(host)
    assert send(port, host=host)[0] == 200


@pytest.mark.parametrize("host", [name for name in FOREIGN if name != "xn--"])
def test_other_names_are_refused_without_a_key(port, host):
    """A page of another site whose name leads to this machine (DNS rebinding) could read and erase."""
    assert not is_local(host)
    status, _, body = send(port, host=host)
    assert status in (400, 403)
    if status == 403:
        shown = host.encode("latin-1").decode("latin-1")
        detail = f"Without a key this server answers for loopback names only, not for '{shown}': set SEGUE_API_KEY."
        assert detail.encode() in body or "\\u" in detail or not host.isascii()


def test_the_host_of_a_whole_url_counts_and_not_the_header(port):
    """RFC 9112, section 3.2.2."""
    assert send(port, target="http://evil.example/v1/similar")[0] == 403
    assert send(port, target="http://127.0.0.1:99/v1/similar", host="evil.example")[0] == 200
    assert send(port, target="http://[::1]:99/v1/similar", host="evil.example")[0] == 200
    assert send(port, target="http://user@evil.example/v1/similar")[0] in (400, 403)
    assert send(port, target="http:///v1/similar")[0] == 400


def test_http_1_0_needs_no_host(port):
    assert send(port, version="1.0", host=None)[0] == 200
    assert send(port, version="1.0", host="evil.example")[0] == 403


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Origin: http://localhost:3000", 200),
        ("Origin: http://127.0.0.1", 200),
        ("Origin: http://evil.example", 403),
        ("Origin: https://localhost.evil.example", 403),
        ("Origin: null", 403),
        ("Origin:", 403),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Sec-Fetch-Site: same-origin", 200),
        ("Sec-Fetch-Site: none", 200),
        ("Content-Type: text/plain", 415),
        ("Content-Type: multipart/form-data", 415),
        ("Content-Type: application/x-www-form-urlencoded", 415),
        ("Content-Type:", 415),
    ],
)
def test_pages_of_other_sites_send_nothing_to_a_server_without_a_key(port, header, status):
    assert send(port, header)[0] == status


def test_an_upgrade_to_a_web_socket_is_no_way_around(port):
    offer = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    offer += ("Sec-WebSocket-Version: 13",)
    for origin, status in (("http://evil.example", 403), ("http://localhost:3000", 404)):
        answer = send(port, *offer, f"Origin: {origin}", method="GET", target="/v1/items/zz", body=b"")
        assert answer[0] == status and b"upgrade" not in answer[1]


def test_origins_and_keys_open_the_server(state):
    state.keys = Keys({"SEGUE_API_KEY": "k" * 20})
    key = f"Authorization: Bearer {'k' * 20}"
    with live_server(App(state)) as number:
        assert send(number, key, host="shop.example")[0] == 200
        assert send(number, key, "Origin: https://other.example", "Sec-Fetch-Site: cross-site")[0] == 200
    state.keys, state.origins = Keys(), (SHOP,)
    with live_server(App(state)) as number:
        status, head, _ = send(number, f"Origin: {SHOP}", "Sec-Fetch-Site: cross-site")
        assert status == 200 and f"access-control-allow-origin: {SHOP}".encode() in head
        assert send(number, "Origin: https://evil.example")[0] == 403
        script = send(number, "Sec-Fetch-Site: cross-site", method="GET", target="/health/live", body=b"")
        assert script[0] == 200, "a script element of a page sends no Origin"


SHOP = "https://shop.example"


def preflight_request(origin: str, method: str = "OPTIONS", wanted: bytes = b"POST") -> Request:
    return Request(method, "/v1/events", {b"origin": origin.encode(), b"access-control-request-method": wanted})


def test_a_preflight_request_of_an_origin_is_answered_in_full() -> None:
    response = CorsPolicy([SHOP]).preflight(preflight_request(SHOP))
    assert response is not None and (response.status, response.body) == (204, b"")
    assert response.headers == {
        "Access-Control-Allow-Origin": SHOP,
        "Vary": "Origin",
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "Authorization, Content-Type",
        "Access-Control-Max-Age": "600",
    }


def test_a_preflight_request_of_another_origin_is_refused_and_others_are_no_preflight() -> None:
    policy = CorsPolicy([SHOP])
    with pytest.raises(Problem) as refused:
        policy.preflight(preflight_request("https://other.example"))
    assert (refused.value.status, refused.value.detail) == (
        403,
        "Pages of 'https://other.example' may not send requests here: start the server with --origin.",
    )
    assert policy.preflight(preflight_request(SHOP, method="POST")) is None
    assert policy.preflight(preflight_request(SHOP, wanted=b"")) is None
    assert CorsPolicy([]).preflight(preflight_request(SHOP)) is None


def test_headers_name_the_origin_only_if_it_is_one() -> None:
    policy = CorsPolicy([SHOP])
    assert policy.headers(preflight_request(SHOP)) == {"Access-Control-Allow-Origin": SHOP, "Vary": "Origin"}
    assert policy.headers(preflight_request("https://other.example")) == {"Vary": "Origin"}
    assert CorsPolicy([]).headers(preflight_request(SHOP)) == {}
