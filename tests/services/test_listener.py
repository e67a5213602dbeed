"""Where services listen, why they can't, and what they say on standard output."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

import porttunnel
from porttunnel.errors import ConfigurationError
from porttunnel.services import agent, broker, server
from porttunnel.services.listener import ServiceOptions, listen_on, print_line

EXAMPLE = "tcp:4663"


class FullReactor(MemoryReactorClock):
    """Lets nobody listen.

    :param error: why.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.listenTCP = self.refuse

    def refuse(self, *arguments: Any, **options: Any) -> Any:
        raise self.error


def why_not(description: str, reactor: Any) -> str:
    listening = listen_on(reactor, description, Factory(), EXAMPLE)
    failures: list[Any] = []
    Deferred.fromCoroutine(listening).addErrback(failures.append)
    (failure,) = failures
    assert isinstance(failure.value, ConfigurationError)
    return str(failure.value)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (CannotListenError("", 80, OSError(errno.EADDRINUSE, "in use")), "Stop the program"),
        (CannotListenError("", 80, OSError(errno.EACCES, "denied")), "from 1024 on"),
        (CannotListenError("x", 80, OSError(errno.EADDRNOTAVAIL, "not here")), "Choose another"),
        (OverflowError("port must be 0-65535."), "Choose another"),
    ],
)
def test_why_nobody_can_listen_there(error: Exception, advice: str) -> None:
    said = why_not("tcp:80", FullReactor(error))
    assert "can't listen on tcp:80" in said
    assert advice in said


def test_the_files_of_a_certificate(tmp_path: Path) -> None:
    reactor = MemoryReactorClock()
    said = why_not(f"ssl:443:privateKey={tmp_path}/none", reactor)
    assert f"{tmp_path}/none can't be read (No such file" in said
    (tmp_path / "nonsense").write_text("nonsense")
    said = why_not(f"ssl:443:privateKey={tmp_path}/nonsense", reactor)
    assert "is no endpoint to listen on (" in said
    assert said.endswith(f"write for instance {EXAMPLE}")


@pytest.mark.parametrize("options", [server.Options, agent.Options, broker.Options])
def test_the_version_is_ours(
    options: type[ServiceOptions[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options().parseOptions(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"porttunnel {porttunnel.__version__}, Twisted ")


def test_a_line_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    print_line("listening tcp:4663")
    assert capfd.readouterr().out == "listening tcp:4663\n"


def test_who_reads_no_more_lines_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # Without a buffer, which would be written once more when it is closed.
    with io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True) as output:
        monkeypatch.setattr(sys, "__stdout__", output)
        with capturedLogs() as logged:
            print_line("listening tcp:4663")
    assert [event["line"] for event in logged] == ["listening tcp:4663"]
