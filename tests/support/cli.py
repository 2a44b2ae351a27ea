"""Command runner: a ``segue`` command as it is typed, in the test's own process (an interpreter start costs 0.5 s)."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from segue.cli.main import main

SEGUE = [sys.executable, "-m", "segue.cli.main"]
"""The command line of a process of its own, for tests of signals, servers and start-up time."""


def run(*arguments: object, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
    """Run a command and return its exit code, standard output and standard error.

    Args:
        arguments: the command and its options; each is turned into text.
        code: expected exit code; any other one fails the test with the standard error. None: any code.
    """
    out, err, status = io.StringIO(), io.StringIO(), 0
    command = ["segue", *map(str, arguments)]
    with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "argv", command):
        try:
            main()
        except SystemExit as done:
            status = int(done.code or 0)
    assert code is None or status == code, err.getvalue()
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())
