"""What the operator of an agent sees: health, readiness, figures, a status page.

Meant for the loopback interface: it names no user and no device.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.web.server import Site

from porttunnel.net.admin_page import TextResource, format_page, make_site
from porttunnel.net.instance.control_desk import PairedInstance
from porttunnel.net.instance.device_record import DeviceState

__all__ = ["agent_admin_site"]

_METRICS = """\
# HELP porttunnel_agent_connected Whether the gateway is connected.
# TYPE porttunnel_agent_connected gauge
porttunnel_agent_connected {connected}
# HELP porttunnel_agent_devices Devices, by how far they have come.
# TYPE porttunnel_agent_devices gauge
{devices}
# HELP porttunnel_agent_devices_online Devices that the gateway says are connected.
# TYPE porttunnel_agent_devices_online gauge
porttunnel_agent_devices_online {online}
"""


def agent_admin_site(reactor: Any, instance: PairedInstance) -> Site:
    """The pages, for any stream endpoint.

    :param reactor: for time-outs.
    :param instance: whose numbers are shown.
    """
    return make_site(
        reactor,
        page=lambda: _format_page(instance),
        ready=TextResource(lambda: _readiness(instance)),
        metrics=lambda: (200, _format_metrics(instance)),
    )


def _readiness(instance: PairedInstance) -> tuple[int, str]:
    if instance.is_connected:
        return 200, "ready\n"
    return 503, "not connected to the gateway; the log says why\n"


def _count_states(instance: PairedInstance) -> dict[str, int]:
    counted = Counter(record.state for record in instance.devices())
    return {state.value: counted[state] for state in DeviceState}


def _count_online(instance: PairedInstance) -> int:
    return sum(record.is_online for record in instance.devices())


def _format_metrics(instance: PairedInstance) -> str:
    devices = "\n".join(
        f'porttunnel_agent_devices{{state="{state}"}} {count}'
        for state, count in _count_states(instance).items()
    )
    return _METRICS.format(
        connected=int(instance.is_connected), devices=devices, online=_count_online(instance)
    )


def _format_page(instance: PairedInstance) -> str:
    numbers = {f"devices {state}": count for state, count in _count_states(instance).items()}
    numbers["devices online"] = _count_online(instance)
    state = "connected to the gateway" if instance.is_connected else "not connected"
    return format_page("porttunnel agent", state, numbers)
