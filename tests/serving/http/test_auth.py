"""Keys and what each opens; how often they may ask."""

import pytest

from segue.serving.http.auth import OPEN, ROLES, VARIABLES, Caller, Keys, RateLimit
from segue.serving.schemas.problems import Problem

INGEST, SERVE = "ingest-key-of-some-length", "serve-key-of-some-length"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example"])
def test_an_open_door_needs_a_key(host):
    with pytest.raises(ValueError) as error:
        Keys.read({}, host)
    assert str(error.value) == (
        f"Host {host} can be reached from other machines: set SEGUE_API_KEY first, or serve on 127.0.0.1."
    )
    assert len(Keys.read({"SEGUE_SERVE_KEY": "k" * 16}, host)) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_loopback_needs_none(host):
    assert Keys.read({}, host).caller("") is OPEN


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(
    "key", ["", "short", "k" * 15, "k" * 20 + "\n", "schlüssel-schlüssel", "two words are too many"]
)
def test_a_weak_key_is_refused(name, key):
    with pytest.raises(ValueError) as error:
        Keys.read({name: key}, "127.0.0.1")
    assert str(error.value) == f"{name} must be at least 16 printable ASCII characters without spaces."


def test_each_key_opens_what_is_its_own():
    keys = Keys({"SEGUE_INGEST_KEY": INGEST, "SEGUE_SERVE_KEY": SERVE})
    assert keys.caller(f"Bearer {INGEST}").roles == {"ingest"}
    assert keys.caller(f"bearer {SERVE}").roles == {"serve"}
    with pytest.raises(Problem) as refused:
        keys.caller(f"Bearer {INGEST}").need("erase")
    assert (refused.value.status, refused.value.detail) == (
        403,
        "This key has the roles ingest; the request needs a key for erase.",
    )
    for header in ("", INGEST, f"Basic {INGEST}", "Bearer ", f"Bearer {INGEST}x", "Bearer é"):
        with pytest.raises(Problem) as refused:
            keys.caller(header)
        assert refused.value.status == 401


def test_one_key_under_two_names_opens_both():
    keys = Keys({"SEGUE_INGEST_KEY": SERVE, "SEGUE_SERVE_KEY": SERVE})
    assert keys.caller(f"Bearer {SERVE}").roles == {"ingest", "serve"}
    assert Keys({"SEGUE_API_KEY": SERVE}).caller(f"Bearer {SERVE}").roles == set(ROLES)


def test_a_key_may_lie_in_a_file(tmp_path):
    (tmp_path / "key").write_text(SERVE + "\n")
    keys = Keys.read({"SEGUE_SERVE_KEY_FILE": str(tmp_path / "key")}, "0.0.0.0")
    assert keys.caller(f"Bearer {SERVE}").roles == {"serve"}
    with pytest.raises(ValueError) as error:
        Keys.read({"SEGUE_SERVE_KEY_FILE": "nowhere"}, "0.0.0.0")
    assert str(error.value) == "SEGUE_SERVE_KEY_FILE names nowhere, which cannot be read as a key."


def test_every_key_is_compared_whichever_is_right(monkeypatch):
    """The time of an answer must not say which key came close."""
    compared = []
    monkeypatch.setattr("segue.serving.http.auth.hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    Keys({"SEGUE_INGEST_KEY": INGEST, "SEGUE_SERVE_KEY": SERVE}).caller(f"Bearer {INGEST}")
    assert compared == [INGEST.encode(), SERVE.encode()]


def test_a_key_may_ask_so_often_and_no_more():
    limit, one, other = RateLimit(10), Caller("one", frozenset()), Caller("other", frozenset())
    for _ in range(20):
        limit.take(one, 100.0)
    with pytest.raises(Problem) as refused:
        limit.take(one, 100.0)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    assert refused.value.detail == "This key may send 10 requests a second: try again in 1 s."
    limit.take(other, 100.0)
    passed = 0
    for step in range(1000):
        try:
            limit.take(one, 100.0 + step / 100)
            passed += 1
        except Problem:
            pass
    assert 98 <= passed <= 101, "ten seconds let a hundred through"
    for _ in range(1000):
        RateLimit(None).take(one, 0.0)


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_of_nothing_is_refused(rate):
    with pytest.raises(ValueError) as error:
        RateLimit(rate)
    assert str(error.value) == f"A rate limit is a number of requests a second above 0, got {rate}."


def test_a_refusal_without_a_key_says_how_to_send_one():
    keys = Keys({"SEGUE_SERVE_KEY": SERVE})
    for header in ("", f"Bearer {SERVE} {SERVE}", f"Bearer x {SERVE}"):
        with pytest.raises(Problem) as refused:
            keys.caller(header)
        assert refused.value.headers == {"WWW-Authenticate": "Bearer"}
        assert refused.value.detail == "The key is missing or wrong: send it as 'Authorization: Bearer KEY'."


def test_a_caller_is_named_by_the_variable_of_its_key():
    keys = Keys({"SEGUE_INGEST_KEY": INGEST, "SEGUE_SERVE_KEY": SERVE, "SEGUE_ADMIN_KEY": SERVE})
    assert keys.caller(f"Bearer {INGEST}").name == "SEGUE_INGEST_KEY"
    caller = keys.caller(f"Bearer {SERVE}")
    assert caller.name == "SEGUE_SERVE_KEY"
    with pytest.raises(Problem) as refused:
        caller.need("erase")
    assert refused.value.detail == "This key has the roles serve, admin; the request needs a key for erase."


def test_a_rate_below_one_a_second_lets_one_through_and_names_the_wait():
    limit, one = RateLimit(0.25), Caller("one", frozenset())
    limit.take(one, 100.0)
    for now_s, wait_s in ((100.0, "4"), (101.0, "3"), (102.5, "2")):
        with pytest.raises(Problem) as refused:
            limit.take(one, now_s)
        assert refused.value.headers == {"Retry-After": wait_s}
    limit.take(one, 104.0)
    with pytest.raises(Problem):
        limit.take(one, 104.0)  # a pause gives no credit beyond the one
    by_clock = RateLimit(1000.0)
    by_clock.take(one)
