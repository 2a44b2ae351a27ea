"""Fuzzing benchmark in a short run: responses are those of the OpenAPI document."""

from pathlib import Path

import pytest

pytest.importorskip("schemathesis", reason="Schemathesis, which generates requests, is not installed.")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_some_hundred_requests_get_no_server_error_and_no_undocumented_response(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import api_fuzz

    with api_fuzz.server(tmp_path) as url:
        report = api_fuzz.summary(api_fuzz.fuzz(url, tmp_path, 8, 0, phases="examples,fuzzing"))
    assert report["cases"] >= 80, "one request per operation, and some more"
    assert report["operations"]["tested"] == report["operations"]["total"] == 24
    assert (report["server_errors"], report["failures"], report["errors"]) == (0, [], [])
    statuses = {status for counts in report["answers_by_operation_and_status"].values() for status in counts}
    assert {"200", "404", "422"} <= statuses, "good requests and bad ones"
