"""What the operator of an agent sees: health, readiness, figures, a status page.

Meant for the loopback interface: it names no user and no device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol

from twisted.web.server import Site

from porttunnel.net.admin_page import TextResource, format_page, make_site
from porttunnel.net.instance.control_desk import PairedInstance
from porttunnel.net.instance.device_record import DeviceState

__all__ = ["OpenSession", "agent_admin_site"]

PREFIX = "porttunnel_agent_"

_Figure = tuple[str, str, list[tuple[str, int]]]


class OpenSession(Protocol):
    """What is asked of a session that an agent keeps open."""

    @property
    def is_open(self) -> bool: ...


def agent_admin_site(
    reactor: Any, instance: PairedInstance | None, session: OpenSession | None
) -> Site:
    """The pages, for any stream endpoint.

    :param reactor: for time-outs.
    :param instance: whose numbers are shown, if the agent is one.
    :param session: likewise, if it keeps one open.
    """
    return make_site(
        reactor,
        page=lambda: _format_page(instance, session),
        ready=TextResource(lambda: _readiness(instance, session)),
        metrics=lambda: (200, _format_metrics(instance, session)),
    )


def _find_trouble(instance: PairedInstance | None, session: OpenSession | None) -> str | None:
    if instance is not None and not instance.is_connected:
        return "not connected to the gateway"
    if session is not None and not session.is_open:
        return "no session is open"
    return None


def _readiness(instance: PairedInstance | None, session: OpenSession | None) -> tuple[int, str]:
    trouble = _find_trouble(instance, session)
    return (200, "ready\n") if trouble is None else (503, f"{trouble}; the log says why\n")


def _figures(instance: PairedInstance | None, session: OpenSession | None) -> Iterator[_Figure]:
    if instance is not None:
        records = instance.devices()
        counted = Counter(record.state for record in records)
        states = [(f'{{state="{state.value}"}}', counted[state]) for state in DeviceState]
        online = sum(record.is_online for record in records)
        yield "connected", "Whether the gateway is connected.", [("", instance.is_connected)]
        yield "devices", "Devices, by how far they have come.", states
        yield "devices_online", "Devices that the gateway says are connected.", [("", online)]
    if session is not None:
        yield "session_open", "Whether a session is open.", [("", session.is_open)]


def _format_metrics(instance: PairedInstance | None, session: OpenSession | None) -> str:
    """As Prometheus reads it."""
    lines = []
    for name, explained, values in _figures(instance, session):
        lines.append(f"# HELP {PREFIX}{name} {explained}")
        lines.append(f"# TYPE {PREFIX}{name} gauge")
        lines += [f"{PREFIX}{name}{label} {int(value)}" for label, value in values]
    return "\n".join(lines) + "\n"


def _format_page(instance: PairedInstance | None, session: OpenSession | None) -> str:
    numbers = {
        f"{name}{label}".replace("_", " "): int(value)
        for name, _, values in _figures(instance, session)
        for label, value in values
    }
    state = _find_trouble(instance, session) or "in service"
    return format_page("porttunnel agent", state, numbers)
