"""The agent as people run it: a process beside that of a gateway, commands, pushes, its end."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage

from porttunnel.net.folder_lock import FolderLock
from porttunnel.services.agent import DATABASE_NAME, LOCK_NAME, AgentService, Options, makeService
from porttunnel.services.agent_config import AgentSettings, load_settings
from tests.services.running import PATIENCE_SECONDS, ROOT, RunningService

LOOPBACK = "interface=127.0.0.1"
LISTENING = rf"listening tcp:(\d+):{LOOPBACK}$"
NOWHERE = "http://127.0.0.1:9"


class Gateway(RunningService):
    """:ivar port: where it is."""

    def __init__(self, folder: Path, port: int = 0, config: str = "") -> None:
        path = folder / "gateway.toml"
        path.write_text(config)
        data = ("--data-dir", str(folder / "gateway"), "--config", str(path))
        listen = ("--listen", f"tcp:{port}:{LOOPBACK}")
        super().__init__(folder, "porttunnel-server", *data, *listen)
        self.port = int(self.wait_for(LISTENING)[1])
        self.url = f"http://127.0.0.1:{self.port}"


class Agent(RunningService):
    """Its data is in ``agent`` in the folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder / "agent"
        super().__init__(folder, "porttunnel-agent", "-d", str(self.folder), *arguments)


class Page(BaseHTTPRequestHandler):
    """The web system."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_SECONDS)
        self.sock.connect(str(self._path))


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own: its path may be too long for a socket.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def running() -> Iterator[list[RunningService]]:
    started: list[RunningService] = []
    yield started
    for service in reversed(started):
        if service.process.poll() is None:
            service.stop()


@pytest.fixture
def page() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def start_instance(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`porttunnel instance ... --json`."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "porttunnel.cli", "instance"),
            *(*arguments, "--json", "--data-dir", str(folder)),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_instance(folder: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and events of such a command."""
    running = start_instance(folder, *arguments)
    output, _ = running.communicate(timeout=PATIENCE_SECONDS)
    return running.returncode, [json.loads(line) for line in output.splitlines()]


def push(connection: http.client.HTTPConnection, **fields: str) -> tuple[int, Any]:
    body = json.dumps({"name": "news", "all": True, "text": "hello"})
    head = {"Content-Type": "application/json"} | fields
    connection.request("POST", "/push", body, head)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_from_registration_to_the_end(folder: Path, running: list[RunningService]) -> None:
    gateway = Gateway(folder)
    running.append(gateway)
    config = folder / "agent.toml"
    config.write_text(
        f'gateway = "{gateway.url}"\n[upstream]\norigin = "{NOWHERE}"\n[push]\nport = 0\n'
    )
    agent = Agent(folder, "--config", str(config))
    running.append(agent)
    assert agent.wait_for("listening unix:(.+)$")[1] == str(agent.folder / "push.sock")
    port = int(agent.wait_for(LISTENING)[1])
    admin = int(agent.wait_for(r"admin tcp:(\d+):")[1])
    instance_id = agent.wait_for("instance ([0-9a-f]{32})$")[1]
    assert agent.wait_for("connected (.+)$")[1] == gateway.url

    # Nothing in its folder is for others.
    assert stat.S_IMODE(agent.folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in agent.folder.iterdir()}
    assert {"agent.sock", "agent.lock", "instance.sqlite", "push.sock"} <= modes.keys()
    assert {name for name, mode in modes.items() if mode & 0o077} == set()

    exit_code, (listed, done) = run_instance(agent.folder, "devices")
    assert (exit_code, done["event"]) == (0, "done")
    assert (listed["instance_id"], listed["connected"], listed["devices"]) == (
        instance_id,
        True,
        [],
    )

    # An invitation that is taken back while somebody waits for it.
    inviting = start_instance(agent.folder, "invite", "--user", "anna")
    assert inviting.stdout
    with inviting.stdout:
        invitation = json.loads(inviting.stdout.readline())
        assert invitation["event"] == "invitation"
        assert invitation["code"].startswith(f"{gateway.url}/pair#")
        exit_code, events = run_instance(agent.folder, "revoke", invitation["device_id"][:8])
        assert (exit_code, events[0]["event"], events[0]["user"]) == (0, "revoked", "anna")
        ended = json.loads(inviting.stdout.readline())
        assert (ended["event"], ended["code"]) == ("error", "pairing-failed")
    assert inviting.wait(PATIENCE_SECONDS) == 1

    nobody = {"sent": [], "offline": []}
    local = UnixConnection(agent.folder / "push.sock")
    assert push(local) == (200, nobody)
    local.close()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    token = (agent.folder / "push.token").read_text().strip()
    assert push(connection)[0] == 401
    assert push(connection, Authorization=f"Bearer {token}") == (200, nobody)
    connection.close()

    pages = http.client.HTTPConnection("127.0.0.1", admin, timeout=PATIENCE_SECONDS)
    pages.request("GET", "/readyz")
    assert pages.getresponse().read() == b"ready\n"
    pages.close()

    # A second one on the same folder would repeat the first's counters.
    second = Agent(folder, "--config", str(config))
    said = second.rest()
    assert second.process.returncode == 1
    assert "another program runs with the data folder" in said
    assert "Traceback" not in said

    output = agent.stop()
    assert agent.process.returncode == -signal.SIGTERM
    assert "Traceback" not in output
    assert invitation["code"] not in output
    assert token not in output
    assert not (agent.folder / "agent.sock").exists()
    assert not (agent.folder / "push.sock").exists()
    exit_code, (told,) = run_instance(agent.folder, "devices")
    assert (exit_code, told["code"]) == (4, "not-reachable")
    assert str(agent.folder) in told["text"]

    again = Agent(folder, "--config", str(config))
    running.append(again)
    assert again.wait_for("instance ([0-9a-f]{32})$")[1] == instance_id
    again.wait_for("connected ")


def test_an_agent_that_was_killed_is_in_nobody_s_way(
    folder: Path, running: list[RunningService]
) -> None:
    gateway = Gateway(folder)
    running.append(gateway)
    arguments = ("--gateway", gateway.url, "--upstream", NOWHERE)
    killed = Agent(folder, *arguments)
    instance_id = killed.wait_for("instance ([0-9a-f]{32})$")[1]
    killed.process.kill()
    killed.rest()
    assert (killed.folder / "agent.sock").exists()
    exit_code, (told,) = run_instance(killed.folder, "devices")
    assert (exit_code, told["code"]) == (4, "not-reachable")
    again = Agent(folder, *arguments)
    running.append(again)
    assert again.wait_for("instance ([0-9a-f]{32})$")[1] == instance_id


def test_a_gateway_that_comes_late(folder: Path, running: list[RunningService]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    agent = Agent(folder, "--gateway", f"http://127.0.0.1:{port}", "--upstream", NOWHERE)
    running.append(agent)
    agent.wait_for(".*not registered yet, trying again")
    exit_code, (listed, done) = run_instance(agent.folder, "devices")
    assert (exit_code, done["event"]) == (0, "done")
    assert (listed["instance_id"], listed["connected"]) == ("", False)
    exit_code, (told,) = run_instance(agent.folder, "invite", "--user", "anna")
    assert (exit_code, told["code"]) == (4, "not-reachable")
    assert "not registered at the gateway yet" in told["text"]
    running.append(Gateway(folder, port))
    agent.wait_for("instance ")
    agent.wait_for("connected ")


def test_a_session_is_kept_open(folder: Path, running: list[RunningService], page: int) -> None:
    server = Gateway(folder)
    running.append(server)
    agent = Agent(
        folder,
        *("--server", f"ptun://127.0.0.1:{server.port}", "--offer", f"web={page}"),
        *("--accept", "all"),
    )
    running.append(agent)
    number = agent.wait_for("session ([0-9]+)$")[1]
    code_path = Path(agent.wait_for("code (.+)$")[1])
    assert code_path == agent.folder / "session.code"
    assert stat.S_IMODE(code_path.stat().st_mode) == 0o600
    code = code_path.read_text()
    assert code.replace(" ", "").startswith(number)
    joining = subprocess.Popen(
        [
            *(sys.executable, "-m", "porttunnel.cli", "join"),
            *("--server", f"ptun://127.0.0.1:{server.port}", "--code", "-", "--json"),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert joining.stdin
    assert joining.stdout
    with joining.stdin, joining.stdout:
        joining.stdin.write(code)
        joining.stdin.flush()
        for line in joining.stdout:
            event = json.loads(line)
            if event["event"] == "listening":
                break
        host, _, port = event["address"].partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_SECONDS)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        connection.close()
        assert code_path.read_text() != code
        joining.send_signal(signal.SIGTERM)
        joining.stdout.read()
    assert joining.wait(PATIENCE_SECONDS) == 0
    agent.stop()
    assert not code_path.exists()


def test_a_gateway_that_registers_only_its_own(
    folder: Path, running: list[RunningService]
) -> None:
    token = folder / "token"
    token.write_text("t0ken-of-the-operator-0123456789\n")
    token.chmod(0o600)
    gateway = Gateway(folder, config=f'[gateway]\nregistration_token_file = "{token}"\n')
    running.append(gateway)
    arguments = ("--gateway", gateway.url, "--upstream", NOWHERE)
    refused = Agent(folder, *arguments)
    said = refused.rest()
    assert refused.process.returncode == 1
    assert "Traceback" not in said
    config = folder / "agent.toml"
    config.write_text(f'registration_token_file = "{token}"\n')
    agent = Agent(folder, "--config", str(config), *arguments)
    running.append(agent)
    agent.wait_for("connected ")
    assert token.read_text().strip() not in agent.stop()


def test_a_gateway_that_does_not_know_it_any_more(
    folder: Path, running: list[RunningService]
) -> None:
    gateway = Gateway(folder)
    running.append(gateway)
    agent = Agent(folder, "--gateway", gateway.url, "--upstream", NOWHERE)
    running.append(agent)
    agent.wait_for("connected ")
    gateway.stop()
    shutil.rmtree(folder / "gateway")
    running.append(Gateway(folder, gateway.port))
    output = agent.rest()
    assert agent.process.returncode == 1
    assert "the service can't run: the gateway refuses this agent" in output
    assert "Traceback" not in output


def test_a_copy_that_runs_elsewhere_is_said(folder: Path, running: list[RunningService]) -> None:
    gateway = Gateway(folder)
    running.append(gateway)
    arguments = ("--gateway", gateway.url, "--upstream", NOWHERE)
    agent = Agent(folder, *arguments)
    running.append(agent)
    agent.wait_for("connected ")
    shutil.copytree(agent.folder, folder / "b" / "agent", ignore=shutil.ignore_patterns("*.sock"))
    copy = Agent(folder / "b", *arguments)
    running.append(copy)
    copy.wait_for("connected ")
    output = agent.rest()
    assert agent.process.returncode == 1
    assert "a copy of the data folder is in use somewhere" in output
    assert "connecting anew" not in output


def test_a_state_that_is_damaged_is_said(folder: Path) -> None:
    (folder / "agent").mkdir()
    (folder / "agent" / DATABASE_NAME).write_text("nothing that an agent has written")
    agent = Agent(folder, "--gateway", NOWHERE, "--upstream", NOWHERE)
    output = agent.rest()
    assert agent.process.returncode == 1
    assert "it is not a SQLite file" in output
    assert "Traceback" not in output


def test_a_folder_too_deep_for_sockets(folder: Path, running: list[RunningService]) -> None:
    gateway = Gateway(folder)
    running.append(gateway)
    deep = folder / ("x" * 100)
    deep.mkdir()
    agent = Agent(deep, "--gateway", gateway.url, "--upstream", NOWHERE)
    running.append(agent)
    port = int(agent.wait_for(LISTENING)[1])
    agent.wait_for("connected ")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    token = (agent.folder / "push.token").read_text().strip()
    assert push(connection, Authorization=f"Bearer {token}")[0] == 200
    connection.close()
    exit_code, (listed, done) = run_instance(agent.folder, "devices")
    assert (exit_code, done["event"], listed["connected"]) == (0, "done", True)
    assert not (agent.folder / "agent.sock").exists()


# In this process: what is built, and from what


def options(*arguments: str) -> Options:
    parsed = Options()
    parsed.parseOptions(arguments)
    return parsed


def test_flags_and_a_file_make_the_settings() -> None:
    said = ("-g", "https://gateway.example", "-u", "http://127.0.0.1:1", "-d", "/x", "-a", "off")
    session = ("-s", "tcp:h:1", "-o", "a=1", "--offer", "b=2", "--accept", "all")
    assert options(*said, *session).settings == load_settings(
        None,
        {
            "gateway": "https://gateway.example",
            "upstream": "http://127.0.0.1:1",
            "data_dir": "/x",
            "admin": "off",
            "server": "tcp:h:1",
            "offers": ("a=1", "b=2"),
            "accept": "all",
        },
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [((), "there is nothing to do"), (("--config", "none"), "none can't be read")],
)
def test_a_wrong_configuration_is_a_usage_error(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(usage.UsageError, match=why):
        options(*arguments)


def test_building_opens_nothing(folder: Path) -> None:
    data = str(folder / "data")
    service = makeService(
        options("-g", "https://gateway.example", "-u", "http://127.0.0.1:1", "-d", data)
    )
    assert isinstance(service, AgentService)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"gateway": "https://g.example", "upstream": "http://h"}, "can't listen on"),
        ({"server": "tcp:h:x", "offers": ("1",)}, "is not usable"),
    ],
)
def test_what_can_not_be_opened_is_said(folder: Path, settings: dict[str, Any], why: str) -> None:
    (folder / "push.sock").write_text("something else")
    said: AgentSettings = load_settings(None, {"data_dir": str(folder), **settings})
    lines: list[str] = []
    service = AgentService(MemoryReactorClock(), said, lines.append)
    with pytest.raises(SystemExit, match=why):
        service.startService()
    assert lines == []
    service.stopService()
    lock = FolderLock(folder / LOCK_NAME)
    lock.acquire()
    lock.release()
