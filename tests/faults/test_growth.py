"""Growth under input without end: memory, files, metric series, log lines and attribution rows stay bounded."""

import re
from collections.abc import Iterator

import pytest
from tests.support import growth, power_cut_workloads
from tests.support.growth import MAX_HISTORIES, MAX_LISTS, Grown

pytestmark = pytest.mark.timeout(400)

EVENTS = 20_000
"""Events of new users in each half, and half as many of one session."""
LISTS = 550
"""Lists of new users in each half, and as many of one user."""
MAX_SERIES = 500
FED = re.compile(r"(user|session|item|type|source|placement|field|key|METHOD)-?\d")
"""Words of the input, which no metric may have as a label."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    folder = tmp_path_factory.mktemp("growth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(power_cut_workloads.MODELS, "")
        power_cut_workloads.save_models(folder / "models")
        with growth.growing(folder, folder / "models" / "a") as running:
            yield running


def test_nothing_but_the_event_log_grows_with_the_input(server: Grown) -> None:
    growth.feed(server, 0, EVENTS, LISTS)
    half = server.state()
    growth.feed(server, EVENTS, EVENTS, LISTS)
    whole = server.state()
    assert whole["series"] < MAX_SERIES
    assert not [line for line in server.send("GET", "/metrics")[1].decode().splitlines() if FED.search(line)]
    assert whole["descriptors"] <= half["descriptors"] + 2
    # 20,000 users, items, sessions, types and sources of at least 100 bytes each would be 10 MB.
    assert whole["memory_mb"] < half["memory_mb"] + 8, (half, whole)
    assert whole["log_bytes"] < half["log_bytes"] + 5_000, server.printed.read_text()[-2000:]
    assert server.gauge("segue_cached_histories") <= MAX_HISTORIES


def test_attribution_keeps_its_number_of_lists(server: Grown) -> None:
    assert server.send("GET", "/v1/admin/report")[0] == 200  # writes the queue
    assert MAX_LISTS / 2 < server.rows("impressions") <= 1.2 * MAX_LISTS
    assert server.rows("outcomes") <= 2 * 3 * 1.2 * MAX_LISTS


def test_a_session_of_many_events_and_a_user_of_many_lists_are_served_and_erased(server: Grown) -> None:
    assert server.send("POST", "/v1/recommend", {"session_id": "the one session", "k": 3})[0] == 200
    assert server.send("POST", "/v1/recommend", {"user_id": "the one user", "k": 3})[0] == 200
    assert server.send("DELETE", "/v1/users/the%20one%20user")[0] == 200
    assert server.send("GET", "/v1/users/the%20one%20user")[0] == 404


def test_the_log_of_a_flood_of_refusals_is_bounded(server: Grown) -> None:
    before = server.printed.stat().st_size
    for n in range(500):
        server.send("POST", "/v1/events", {"user_id": f"user-{n}"})
        server.send("GET", "/v1/items", key=f"wrong-key-of-nobody-{n}")
    assert server.printed.stat().st_size - before < 5_000
