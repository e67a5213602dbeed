"""This machine's own addresses that a master may offer for a direct path."""

from __future__ import annotations

import ifaddr
from twisted.logger import Logger

from porttunnel.session.direct_address import choose_offer
from porttunnel.session.record import DirectAddress

__all__ = ["local_addresses"]

_log = Logger()


def local_addresses(port: int) -> list[DirectAddress]:
    """What to offer now, the likeliest first; see :func:`choose_offer`.

    Among their like the addresses come as the system lists them, which puts a machine's network
    cards before the bridges that its containers added later. Empty if the system can't list them:
    then there is the way over the tunnel server.

    :param port: where the direct listener listens, on all interfaces.
    """
    return choose_offer(_hosts(), port)


def _hosts() -> list[str]:
    """Every address of every interface."""
    try:
        adapters = list(ifaddr.get_adapters())
    # A sandbox forbids the question; a value that is no address; a point-to-point interface
    # without a netmask, which the library asserts not to exist. None of it may end a session.
    except (OSError, ValueError, AssertionError) as error:
        _log.warn(
            "no direct path, as this machine's addresses are unknown: {error!r}", error=error
        )
        return []
    # An IPv6 address stands beside its flow and its scope.
    return [
        entry.ip[0] if isinstance(entry.ip, tuple) else entry.ip
        for adapter in adapters
        for entry in adapter.ips
    ]
