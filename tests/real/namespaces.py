r"""Three hosts on one machine: a tunnel server, and two that share a LAN behind it.

::

                 server
      10.78.1.1 /      \ 10.78.2.1
               /        \
    10.78.1.2 /          \ 10.78.2.2
        master -- LAN --- client
        10.77.0.2         10.77.0.3

Each is a network namespace. Nobody forwards: without the LAN the two reach the server only.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.real.needed import needed_program

__all__ = ["Host", "Network", "three_hosts"]

PACKAGE = "iproute2"
COMMAND_SECONDS = 30.0  # a deadline; each takes some milliseconds
LAN = "lan"
LAN_ADDRESSES = "10.77.0.0/24"
UPLINK = "uplink"
# Before the rule for the host's own addresses, which is moved here from 0: only so does a
# blackhole drop what comes in.
FIREWALL_PREFERENCE, LOCAL_PREFERENCE = 10, 20
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Host:
    """One host.

    :ivar namespace: its name for ``ip netns``.
    :ivar lan_address: None for the server.
    :ivar server_address: under which it reaches the server.
    """

    namespace: str
    lan_address: str | None = None
    server_address: str | None = None

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a command, so that it runs there."""
        return (*_ip(), "netns", "exec", self.namespace)

    def take_lan_down(self) -> None:
        """As if somebody had switched it off; its address stays."""
        self._configure("link", "set", LAN, "down")

    def bring_lan_up(self) -> None:
        """The opposite of :meth:`take_lan_down`."""
        self._configure("link", "set", LAN, "up")

    def drop_lan_tcp(self) -> None:
        """A firewall in front of it: TCP that comes by the LAN vanishes, without a word."""
        self._add_rule("iif", LAN, "ipproto", "tcp", "blackhole")

    def forbid_lan_tcp(self) -> None:
        """A firewall of its own: to connect to the LAN is an error at once."""
        self._add_rule("to", LAN_ADDRESSES, "ipproto", "tcp", "prohibit")

    def lan_received_bytes(self) -> int:
        """What has come in by the LAN since the host is there."""
        (link,) = json.loads(self._configure("-json", "-stats", "link", "show", LAN))
        received: int = link["stats64"]["rx"]["bytes"]
        return received

    def _add_rule(self, *rule: str) -> None:
        self._configure("rule", "add", "pref", str(FIREWALL_PREFERENCE), *rule)

    def _configure(self, *arguments: str) -> str:
        return _run(*_ip(), "-netns", self.namespace, *arguments)


_End = tuple[Host, str, str]  # the name of its link, and its address there


@dataclass(frozen=True)
class Network:
    """All three."""

    server: Host
    master: Host
    client: Host


@contextmanager
def three_hosts() -> Iterator[Network]:
    """A network of our own; whatever runs in it is stopped at the end.

    Skips the test where it can't be, unless PORTTUNNEL_REQUIRE_REAL=1: then it fails.
    """
    beginning = f"porttunnel-{os.getpid()}-{next(_numbers)}"
    server = Host(f"{beginning}-server")
    master = Host(f"{beginning}-master", "10.77.0.2", "10.78.1.1")
    client = Host(f"{beginning}-client", "10.77.0.3", "10.78.2.1")
    with ExitStack() as stack:
        for host in (server, master, client):
            _add(host, stack)
        _connect((master, LAN, "10.77.0.2"), (client, LAN, "10.77.0.3"))
        _connect((master, UPLINK, "10.78.1.2"), (server, "to-master", "10.78.1.1"))
        _connect((client, UPLINK, "10.78.2.2"), (server, "to-client", "10.78.2.1"))
        yield Network(server, master, client)


def _add(host: Host, stack: ExitStack) -> None:
    try:
        _run(*_ip(), "netns", "add", host.namespace)
        stack.callback(_remove, host)
        _run(*_ip(), "-netns", host.namespace, "link", "set", "lo", "up")
        for command in (
            ("add", "pref", str(LOCAL_PREFERENCE), "lookup", "local"),
            ("del", "pref", "0"),
        ):
            _run(*_ip(), "-netns", host.namespace, "rule", *command)
    except OSError as error:
        text = f"no network namespaces here (they take root): {error}"
        if os.environ.get("PORTTUNNEL_REQUIRE_REAL") == "1":
            pytest.fail(text)
        pytest.skip(text)


def _connect(one: _End, other: _End) -> None:
    peer = ("peer", "name", other[1], "netns", other[0].namespace)
    _run(*_ip(), "-netns", one[0].namespace, "link", "add", one[1], "type", "veth", *peer)
    for host, link, address in (one, other):
        in_host = (*_ip(), "-netns", host.namespace)
        # IPv4 only: an address of the link's own would be a second way around a firewall.
        _run(*in_host, "link", "set", link, "addrgenmode", "none")
        _run(*in_host, "address", "add", f"{address}/24", "dev", link)
        _run(*in_host, "link", "set", link, "up")


def _remove(host: Host) -> None:
    # What still runs there would keep it, and its links, alive without a name.
    for pid in _run(*_ip(), "netns", "pids", host.namespace).split():
        subprocess.run(["kill", "-KILL", pid], stderr=subprocess.DEVNULL, check=False)
    _run(*_ip(), "netns", "delete", host.namespace)


def _ip() -> tuple[str, ...]:
    return (needed_program("ip", PACKAGE),)


def _run(*command: str) -> str:
    finished = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if finished.returncode:
        raise OSError(f"{' '.join(command)}: {finished.stderr.strip()}")
    return finished.stdout
