"""A gateway, an agent beside a web system, and devices: the programs as people run them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.real.program import PORTTUNNEL, TWISTD, Program, Start, find_port
from tests.real.server_port import port_to_come_back_to

__all__ = ["GatewaySite", "PairedDevice", "Serving", "kill"]


class Serving:
    """`porttunnel device serve`.

    :ivar url: where a browser finds the system.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        told = program.event("listening")
        self.url = str(told["url"]).rstrip("/")
        self.port = int(told["address"].rpartition(":")[2])


class PairedDevice:
    """A data folder with a device in it, or for one.

    :ivar device_id: 32 hex digits.
    """

    def __init__(self, start: Start, folder: Path, device_id: str) -> None:
        self._start = start
        self.folder = folder
        self.device_id = device_id

    def run(self, *arguments: str) -> Program:
        """`porttunnel device ...` in its folder."""
        return self._start(
            *PORTTUNNEL, "device", *arguments, environment={"PORTTUNNEL_DATA": str(self.folder)}
        )

    def begin_pairing(self, code: str) -> Program:
        """`device pair`, which has been told the code."""
        pairing = self.run("pair", "--json", "-")
        pairing.send(code)
        return pairing

    def serve(self) -> Serving:
        return Serving(self.run("serve", "--json"))

    def get(self, path: str) -> tuple[int, str]:
        """Exit code and output of `device get`."""
        program = self.run("get", path)
        lines = []
        while (line := program.next_line()) is not None:
            lines.append(line)
        return program.wait(), "\n".join(lines)


class GatewaySite:
    """See the module.

    :param folder: its own; everybody has a folder in it.
    :param upstream: the web system's address.
    :param settings: more of the agent's, in TOML, for ``[upstream]``.
    :param twistd: what runs the gateway.
    :param tls: whether all come by TLS, and know the gateway by its pin.
    :ivar gateway: its program.
    :ivar admin_port: of the operator's pages.
    :ivar agent: its program.
    :ivar instance_id: 32 hex digits.
    """

    def __init__(
        self,
        start: Start,
        folder: Path,
        upstream: str,
        *,
        settings: str = "",
        twistd: tuple[str, ...] = TWISTD,
        tls: bool = False,
    ) -> None:
        self._start = start
        self._twistd = twistd
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = port_to_come_back_to()
        self.url = f"http://127.0.0.1:{self.port}"
        self.gateway = self.run_gateway()
        if tls:
            self.url = self._pinned_url
        self._agent_settings = folder / "agent.toml"
        self._agent_settings.write_text(
            f'gateway = "{self.url}"\n[upstream]\norigin = "{upstream}"\n{settings}', "utf-8"
        )
        self._agent_settings.chmod(0o600)  # passwords of users may stand there
        self.agent = self.run_agent()

    @property
    def gateway_folder(self) -> Path:
        return self.folder / "gateway"

    @property
    def agent_folder(self) -> Path:
        return self.folder / "agent"

    def run_gateway(self) -> Program:
        """Start it (again), at the same port with the same data."""
        program = self._start(
            *(*self._twistd, "porttunnel-server", "--data-dir", str(self.gateway_folder)),
            *("--listen", f"tcp:{self.port}:interface=127.0.0.1"),
            *("--admin", "tcp:0:interface=127.0.0.1"),
        )
        assert find_port(program.line("listening ")) == self.port
        self._pinned_url = program.line("gateway https:").split()[1]
        self.admin_port = find_port(program.line("admin "))
        self.gateway = program
        return program

    def run_agent(self) -> Program:
        """Start it (again), with the same data, until it is connected."""
        program = self._start(
            *(*TWISTD, "porttunnel-agent", "--config", str(self._agent_settings)),
            *("--data-dir", str(self.agent_folder)),
        )
        self.instance_id = program.line("instance ").split()[1]
        program.line("connected ")
        self.agent = program
        return program

    def restart_gateway(self) -> None:
        """Start it again, and wait until the agent has found it."""
        self.run_gateway()
        self.agent.line("connected ")

    def revive(self) -> None:
        """Start again what has ended."""
        if self.gateway.has_ended and self.agent.has_ended:
            self.run_gateway()
        elif self.gateway.has_ended:
            self.restart_gateway()
        if self.agent.has_ended:
            self.run_agent()

    def instance(self, *arguments: str) -> Program:
        """`porttunnel instance ...` beside the agent."""
        environment = {"PORTTUNNEL_DATA": str(self.agent_folder)}
        return self._start(*PORTTUNNEL, "instance", *arguments, environment=environment)

    def invite(
        self, user: str, name: str = "", *, immediate: bool = False
    ) -> tuple[Program, str, PairedDevice]:
        """Invite a user: the program, which waits; the code; and a device that isn't paired.

        :param name: of the device's folder.
        """
        flags = ("--immediate",) if immediate else ()
        inviting = self.instance("invite", "--user", user, "--json", *flags)
        invitation = inviting.event("invitation")
        folder = self.folder / (name or f"device-{user}")
        device = PairedDevice(self._start, folder, invitation["device_id"])
        return inviting, invitation["code"], device

    def pair(self, user: str, name: str = "", *, immediate: bool = False) -> PairedDevice:
        """Invite a user and pair a device, with the digits unless immediate."""
        inviting, code, device = self.invite(user, name, immediate=immediate)
        pairing = device.begin_pairing(code)
        if not immediate:
            digits = pairing.event("digits")["digits"]
            inviting.event("digits-asked")
            inviting.send({"digits": digits})
        assert pairing.event("paired")["device_id"] == device.device_id
        assert inviting.event("paired")["device_id"] == device.device_id
        assert (pairing.wait(), inviting.wait()) == (0, 0)
        return device

    def restore_from_backup(self) -> None:
        """The agent gets to know that its state is an old one."""
        self.agent.terminate()
        self.agent.wait()
        (witness,) = self.agent_folder.glob("*.witness")
        witness.unlink()
        self.run_agent()

    def push(self, name: str, content: str, *devices: str) -> int:
        """As the web system does, at the agent's socket; the status of the answer."""
        asked = {"name": name, "devices": devices, "text": content}
        with closing(_LocalConnection(self.agent_folder / "push.sock")) as connection:
            fields = {"Content-Type": "application/json"}
            connection.request("POST", "/push", json.dumps(asked), fields)
            with connection.getresponse() as response:
                response.read()
                return response.status

    def devices(self) -> list[dict[str, Any]]:
        """As the instance sees them."""
        listing = self.instance("devices", "--json")
        found: list[dict[str, Any]] = listing.event("devices")["devices"]
        assert listing.wait() == 0
        return found


class _LocalConnection(http.client.HTTPConnection):
    """HTTP by way of a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def kill(program: Program) -> None:
    """Without a chance to write or say anything."""
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
