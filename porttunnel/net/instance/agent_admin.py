"""What the operator of an agent sees: health, readiness, figures, a status page.

Meant for the loopback interface: it names no user and no device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from twisted.web.server import Site

from porttunnel.net.admin_page import TextResource, format_page, make_site
from porttunnel.net.instance.control_desk import PairedInstance
from porttunnel.net.instance.device_record import DeviceState

__all__ = ["AgentParts", "BusyUpstream", "OpenSession", "agent_admin_site"]

PREFIX = "porttunnel_agent_"

_Figure = tuple[str, str, list[tuple[str, int]]]


class OpenSession(Protocol):
    """What is asked of a session that an agent keeps open."""

    @property
    def is_open(self) -> bool: ...


class BusyUpstream(Protocol):
    """What is asked of the web system's side."""

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def connections(self) -> int: ...


class AgentParts(NamedTuple):
    """What an agent consists of, as far as it does.

    :ivar instance: of a gateway.
    :ivar upstream: the web system behind it.
    :ivar session: that is kept open.
    """

    instance: PairedInstance | None = None
    upstream: BusyUpstream | None = None
    session: OpenSession | None = None


def agent_admin_site(reactor: Any, parts: AgentParts) -> Site:
    """The pages, for any stream endpoint.

    :param reactor: for time-outs.
    :param parts: whose numbers are shown.
    """
    return make_site(
        reactor,
        page=lambda: _format_page(parts),
        ready=TextResource(lambda: _readiness(parts)),
        metrics=lambda: (200, _format_metrics(parts)),
    )


def _find_trouble(parts: AgentParts) -> str | None:
    if parts.instance is not None and not parts.instance.is_connected:
        return "not connected to the gateway"
    if parts.session is not None and not parts.session.is_open:
        return "the session can't be reached"
    return None


def _readiness(parts: AgentParts) -> tuple[int, str]:
    trouble = _find_trouble(parts)
    return (200, "ready\n") if trouble is None else (503, f"{trouble}; the log says why\n")


def _figures(parts: AgentParts) -> Iterator[_Figure]:
    instance, upstream, session = parts
    if instance is not None:
        records = instance.devices()
        counted = Counter(record.state for record in records)
        states = [(f'{{state="{state.value}"}}', counted[state]) for state in DeviceState]
        online = sum(record.is_online for record in records)
        yield "connected", "Whether the gateway is connected.", [("", instance.is_connected)]
        yield "devices", "Devices, by how far they have come.", states
        yield "devices_online", "Devices that the gateway says are connected.", [("", online)]
    if upstream is not None:
        yield "requests_running", "Requests of devices under way.", [("", upstream.running)]
        yield "requests_waiting", "Those that wait for a connection.", [("", upstream.waiting)]
        yield "connections", "Connections to the web system.", [("", upstream.connections)]
    if session is not None:
        yield "session_open", "Whether a session can be reached.", [("", session.is_open)]


def _format_metrics(parts: AgentParts) -> str:
    """As Prometheus reads it."""
    lines = []
    for name, explained, values in _figures(parts):
        lines.append(f"# HELP {PREFIX}{name} {explained}")
        lines.append(f"# TYPE {PREFIX}{name} gauge")
        lines += [f"{PREFIX}{name}{label} {int(value)}" for label, value in values]
    return "\n".join(lines) + "\n"


def _format_page(parts: AgentParts) -> str:
    numbers = {
        f"{name}{label}".replace("_", " "): int(value)
        for name, _, values in _figures(parts)
        for label, value in values
    }
    state = _find_trouble(parts) or "in service"
    return format_page("porttunnel agent", state, numbers)
