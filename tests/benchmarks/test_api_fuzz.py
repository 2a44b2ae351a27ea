"""The server answers as its document says, whatever is asked: a short run of the fuzzing benchmark."""

from pathlib import Path

import pytest

pytest.importorskip("schemathesis", reason="Schemathesis, which asks the server everything, is not installed.")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_some_hundred_requests_meet_no_server_error_and_no_undocumented_answer(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import api_fuzz

    with api_fuzz.server(tmp_path) as url:
        found = api_fuzz.summary(api_fuzz.fuzz(url, tmp_path, 8, 0, phases="examples,fuzzing"))
    assert found["cases"] >= 80, "one request of each operation, and some more"
    assert found["operations"]["tested"] == found["operations"]["total"] == 16
    assert (found["server_errors"], found["failures"], found["errors"]) == (0, [], [])
    statuses = {status for counts in found["answers_by_operation_and_status"].values() for status in counts}
    assert {"200", "404", "422"} <= statuses, "good requests and bad ones"
