"""`python -m tests.soak` in small: a few sessions, a fault every second, nothing goes wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.real.program import ROOT

pytestmark = pytest.mark.real

RUN_SECONDS = 400  # a deadline: it takes a tenth of that
SECONDS = 20


def test_faults_lose_nothing_and_nobody() -> None:
    # Told to stop, not killed, if it hangs: then it stops what it has started.
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-m", "tests.soak"),
            *("--minutes", str(SECONDS / 60), "--sessions", "5"),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        raise
    assert process.returncode == 0, output
    lines = output.splitlines()
    assert lines[-1] == "0 problems, 0 tracebacks in the server's log"
    assert "server kill -9: 2, server SIGTERM: 2" in lines
    seen = dict(line.rsplit(": ", 1) for line in lines if ": " in line)
    complete = int(seen["flows complete"])
    assert complete >= 5
    assert int(seen["bytes checked"].replace(",", "")) > 0
    assert int(seen["links restored: master"].replace(",", "")) >= 5
