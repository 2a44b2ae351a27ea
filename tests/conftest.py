"""A budget for test files: at the end of a whole run, files that take too large a share of its time are named."""

from collections import Counter

import pytest

MAX_SHARE = 0.12
"""Largest share of a whole run's test time that one file may take. A share, because seconds mean nothing on an
unknown machine."""
WHOLE_RUN_FILES = 120
"""A run of fewer files is a part, and has no budget."""
SHOWN = 12
SECONDS: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up setup, call and teardown of each file; with several workers this process hears of all of them."""
    SECONDS[report.nodeid.partition("::")[0]] += report.duration


def over_budget(seconds: Counter[str]) -> list[str]:
    """Sentences about the files above ``MAX_SHARE``; none for a part of the suite."""
    total = sum(seconds.values())
    if len(seconds) < WHOLE_RUN_FILES:
        return []
    return [
        f"{file} takes {spent:.0f} s, {spent / total:.0%} of the run; at most {MAX_SHARE:.0%} is allowed: "
        "share what it trains, or make it smaller."
        for file, spent in seconds.most_common()
        if spent > MAX_SHARE * total
    ]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a whole run in which a file is above the budget."""
    if not hasattr(session.config, "workerinput") and exitstatus == 0 and over_budget(SECONDS):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the slowest files of a whole run, and those above the budget."""
    if len(SECONDS) < WHOLE_RUN_FILES:
        return
    terminalreporter.section("slowest files")
    for file, spent in SECONDS.most_common(SHOWN):
        terminalreporter.line(f"{spent:7.1f} s  {file}")
    for sentence in over_budget(SECONDS):
        terminalreporter.line(sentence, red=True)
