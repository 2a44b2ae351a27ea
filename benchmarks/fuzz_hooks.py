"""For benchmarks/api_fuzz.py: a check that what the schema lets through is refused for known reasons only, and a count
of the answers."""

import atexit
import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

import schemathesis

KNOWN = (
    r"timestamp .* (lies in the future: .*|lies before 1970\.|is not ISO 8601: .*)",
    r"The event's (user_id|session_id) is not the request's: .*",
    r"Filters and reasons need a pipeline; this is a single model\.",
    r"The body is larger than \d+ bytes: .*",
)
"""Sentences about what JSON Schema cannot express."""


@schemathesis.check
def refused_for_a_known_reason(ctx, response, case) -> None:  # type: ignore[no-untyped-def]
    """A body that is true to the schema has no fault of shape."""
    told = case.meta is not None and case.meta.generation.mode.is_positive and response.status_code in (413, 422)
    if told and not any(re.match(one, response.json()["detail"]) for one in KNOWN):
        raise AssertionError(f"A request that is true to the schema was refused: {response.json()['detail']}")


_statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)


@schemathesis.hook
def after_call(context, case, response) -> None:  # type: ignore[no-untyped-def]
    """Counts what was answered."""
    _statuses[case.operation.label][response.status_code] += 1


@atexit.register
def _write() -> None:
    if path := os.environ.get("SEGUE_FUZZ_STATUSES"):
        Path(path).write_text(json.dumps(_statuses, sort_keys=True), encoding="utf-8")
