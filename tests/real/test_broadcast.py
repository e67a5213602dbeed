"""`share --broadcast-stdin` and `join --broadcast-stdout`: one pipe in, many out."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from tests.real.meeting import Background
from tests.real.program import PORTTUNNEL, STOP_SECONDS, TunnelServer, clean_environment

pytestmark = pytest.mark.real

MEBIBYTE = 1024 * 1024
SIZE = 64 * MEBIBYTE
PIECE = 4 * MEBIBYTE  # half a window
WAIT_SECONDS = 120.0  # a deadline, not a measure


class Reader:
    """Reads a stream to its end, in the background."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._content = hashlib.sha256()
        self._size = 0
        self._moved = threading.Condition()
        self._reading = Background(self._read)

    def wait_for(self, size: int) -> None:
        with self._moved:
            assert self._moved.wait_for(lambda: self._size >= size, WAIT_SECONDS)

    def result(self) -> tuple[int, str]:
        """Size and SHA-256."""
        self._reading.result()
        return self._size, self._content.hexdigest()

    def _read(self) -> None:
        while data := os.read(self._stream.fileno(), 65_536):
            self._content.update(data)
            with self._moved:
                self._size += len(data)
                self._moved.notify_all()


class Piped:
    """A program whose standard streams are bytes."""

    def __init__(self, command: tuple[str, ...], home: Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(home),
            cwd=home,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout
        self.stderr = self.process.stderr

    def feed(self, source: bytes, readers: Sequence[Reader] = ()) -> Background:
        """Write its input to the end, in the background.

        :param readers: who is not left behind by more than a piece: on a machine with much to do
            one of several may get no turn for so long that it counts as stalled.
        """

        def write() -> None:
            for start in range(0, len(source), PIECE):
                for reader in readers:
                    reader.wait_for(start)
                self.stdin.write(source[start : start + PIECE])
                self.stdin.flush()
            self.stdin.close()

        return Background(write)

    def event(self, lines: Any, kind: str) -> dict[str, Any]:
        """The next event of a kind on one of its streams."""
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind:
                return event
        raise AssertionError(f"ended without {kind!r}")

    def wait(self) -> int:
        return self.process.wait(WAIT_SECONDS)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            try:
                stream.close()
            except BrokenPipeError:
                continue


class Stage:
    """Everybody of one broadcast."""

    def __init__(self, server: TunnelServer, home: Path) -> None:
        self._server = ("--no-direct", "--server", server.address)
        self._home = home
        self.all: list[Piped] = []

    def share(self, *arguments: str) -> Piped:
        return self._start("share", "--broadcast-stdin", "--yes", "--json", *arguments)

    def join(self, master: Piped, *arguments: str) -> Piped:
        """Join with the code that is shown next; it is in."""
        code = master.event(master.stdout, "session")["code"]
        client = self._start("join", "--broadcast-stdout", "--json", "--code", "-", *arguments)
        client.stdin.write(f"{code}\n".encode())
        client.stdin.flush()
        client.event(client.stderr, "joined")
        return client

    def _start(self, command: str, *arguments: str) -> Piped:
        program = Piped((*PORTTUNNEL, command, *self._server, *arguments), self._home)
        self.all.append(program)
        return program


@pytest.fixture
def stage(tunnel_server: TunnelServer, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tunnel_server, tmp_path)
    yield stage
    for program in reversed(stage.all):
        program.stop()


def test_all_get_all_of_it(stage: Stage) -> None:
    master = stage.share()
    clients = [stage.join(master) for _ in range(3)]
    reading = [Reader(client.stdout) for client in clients]
    source = secrets.token_bytes(SIZE)
    feeding = master.feed(source, reading)
    expected = SIZE, hashlib.sha256(source).hexdigest()
    assert [each.result() for each in reading] == [expected] * 3
    feeding.result()
    assert [client.wait() for client in clients] == [0, 0, 0]
    # Nothing else was shared: the end of the broadcast is the end.
    assert master.event(master.stdout, "broadcast")["ended"] is True
    master.event(master.stdout, "done")
    assert master.wait() == 0
    assert master.stderr.read() == b""


def test_one_that_does_not_read_stops_nobody(stage: Stage) -> None:
    master = stage.share()
    stalled = stage.join(master)
    clients = [stage.join(master) for _ in range(2)]
    reading = [Reader(client.stdout) for client in clients]
    source = secrets.token_bytes(SIZE)
    feeding = master.feed(source, reading)
    expected = SIZE, hashlib.sha256(source).hexdigest()
    assert [each.result() for each in reading] == [expected] * 2
    feeding.result()
    assert [client.wait() for client in clients] == [0, 0]
    dropped = master.event(master.stdout, "error")
    assert dropped["code"] == "timed-out"
    assert stalled.event(stalled.stderr, "error")["code"] == "timed-out"
    assert stalled.wait() == 1
    assert master.wait() == 0


def test_a_slow_reader_gets_all_of_it(stage: Stage) -> None:
    """Slower than the source by far, yet moving: then the source is slowed down."""
    master = stage.share()
    client = stage.join(master)
    source = secrets.token_bytes(24 * MEBIBYTE)
    feeding = master.feed(source)
    received = bytearray()
    while data := os.read(client.stdout.fileno(), 4_096):
        received += data
    assert hashlib.sha256(received).digest() == hashlib.sha256(source).digest()
    feeding.result()
    assert client.wait() == 0
    assert master.wait() == 0


def test_an_end_before_the_end_is_an_error(stage: Stage) -> None:
    master = stage.share()
    client = stage.join(master)
    master.stdin.write(b"the beginning")
    master.stdin.flush()
    assert client.stdout.read(13) == b"the beginning"
    master.process.terminate()
    assert client.event(client.stderr, "error")["code"] == "cut-off"
    assert client.stdout.read() == b""
    assert client.wait() == 1
    assert master.wait() == 0


def test_services_are_shared_beside_it_and_outlive_it(stage: Stage, tmp_path: Path) -> None:
    master = stage.share(f"web=dir:{tmp_path}")
    client = stage.join(master)
    assert client.event(client.stderr, "listening")["service"] == "web"
    master.stdin.write(b"all")
    master.stdin.close()
    assert client.stdout.read() == b"all"
    assert client.wait() == 0
    master.event(master.stdout, "left")
    # Somebody else may still come for what is shared.
    assert master.process.poll() is None
    master.process.terminate()
    master.event(master.stdout, "done")
    assert master.wait() == 0


def test_a_reader_that_goes_away_ends_its_join_only(stage: Stage) -> None:
    master = stage.share()
    gone, stays = stage.join(master), stage.join(master)
    gone.stdout.close()
    feeding = master.feed(bytes(PIECE * 2))
    assert Reader(stays.stdout).result()[0] == PIECE * 2
    feeding.result()
    assert stays.wait() == 0
    assert gone.wait() == 1
    assert b"The output can't be written" in gone.stderr.read()
    assert master.wait() == 0
