"""Hooks of benchmarks/api_fuzz.py: a check that valid requests are refused for known reasons only, and counts of
statuses."""

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
    r"Filters and explanations need a pipeline; this is a single model\.",
    r"The body is larger than \d+ bytes: .*",
    r"The items have no column .*",
    r"The body names another (item|placement) than the path: .*",
)
"""Messages about rules that JSON Schema cannot express."""


@schemathesis.check
def refused_for_a_known_reason(ctx, response, case) -> None:  # type: ignore[no-untyped-def]
    """Check that a body that is valid by the schema is not refused for its form."""
    is_refused = case.meta is not None and case.meta.generation.mode.is_positive and response.status_code in (413, 422)
    if is_refused and not any(re.match(pattern, response.json()["detail"]) for pattern in KNOWN):
        raise AssertionError(f"A request that is valid by the schema was refused: {response.json()['detail']}")


_statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)


@schemathesis.hook
def after_call(context, case, response) -> None:  # type: ignore[no-untyped-def]
    """Count the statuses of responses."""
    _statuses[case.operation.label][response.status_code] += 1


@atexit.register
def _write() -> None:
    if path := os.environ.get("SEGUE_FUZZ_STATUSES"):
        Path(path).write_text(json.dumps(_statuses, sort_keys=True), encoding="utf-8")
