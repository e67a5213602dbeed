"""Which addresses a master may offer for a direct path, and which ones a client tries.

docs/session-protocol, section 7. The client connects to what the master names. So that a malicious
master can't use its clients to reach or to scan what it can't reach itself, there are only literal
addresses of local networks, no port below 1024, and a budget.

IPv6 link-local addresses (fe80::/10) are left out: they mean something only together with the name
of an interface, and the master's interfaces are nothing to the client's machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import islice

from porttunnel.session.record import MAX_DIRECT_ADDRESSES, DirectAddress

__all__ = ["MAX_ADDRESSES_PER_HOUR", "AddressBudget", "choose_offer", "may_connect"]

# What listens below needs rights and is a machine's own service: a router's web page, mail, cloud
# metadata. 4663, where a master listens if it can, is above.
MIN_PORT = 1_024
MAX_PORT = 65_535
# Two offers in full: a laptop that goes from one network to another within the hour.
MAX_ADDRESSES_PER_HOUR = 16

_HOUR_SECONDS = 3_600.0

# By name, not by ipaddress' is_private: that one holds loopback, documentation and more, and has
# changed between versions of Python. An IPv4 address in IPv6's clothes (::ffff:10.0.0.1) is in
# none of them.
PRIVATE_IPV4 = (
    IPv4Network("10.0.0.0/8"),  # RFC 1918, section 3
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
)
UNIQUE_LOCAL_IPV6 = (IPv6Network("fc00::/7"),)  # RFC 4193, section 3.1
LINK_LOCAL_IPV4 = (IPv4Network("169.254.0.0/16"),)  # RFC 3927, section 2.1: needs no interface

# The likeliest to work first: two that have only a 169.254 address sit on one cable.
_BY_PREFERENCE: tuple[tuple[IPv4Network | IPv6Network, ...], ...] = (
    PRIVATE_IPV4,
    UNIQUE_LOCAL_IPV6,
    LINK_LOCAL_IPV4,
)
_NEVER = len(_BY_PREFERENCE)


def _preference_of(host: str) -> int:
    """How early to try an address, the lower the earlier."""
    # A zone names an interface of one machine.
    if "%" in host:
        return _NEVER
    try:
        address = ip_address(host)
    except ValueError:
        return _NEVER
    for preference, networks in enumerate(_BY_PREFERENCE):
        if any(address in network for network in networks):
            return preference
    return _NEVER


def may_connect(host: str, port: int) -> bool:
    """Whether this may be offered, and tried, as the address of a direct path.

    Private IPv4 addresses, unique-local IPv6 ones and 169.254.0.0/16; never a name, a loopback,
    multicast, unspecified or public address.

    :param host: an IP address in text, without a zone.
    :param port: 1024 or more.
    """
    return MIN_PORT <= port <= MAX_PORT and _preference_of(host) < _NEVER


def choose_offer(hosts: Iterable[str], port: int) -> list[DirectAddress]:
    """What a master that listens at ``port`` of these addresses offers, the likeliest first.

    At most :data:`~porttunnel.session.record.MAX_DIRECT_ADDRESSES`: private IPv4 addresses, then
    unique-local IPv6 ones, then 169.254.0.0/16; among their like in the order of ``hosts``.

    :param hosts: the machine's addresses, of every kind.
    :param port: below 1024 nothing may be offered.
    """
    allowed = [host for host in dict.fromkeys(hosts) if may_connect(host, port)]
    allowed.sort(key=_preference_of)
    return [DirectAddress(host=host, port=port) for host in allowed[:MAX_DIRECT_ADDRESSES]]


class AddressBudget:
    """Which of the offered addresses a client tries, for one session.

    Of each offer the first :data:`~porttunnel.session.record.MAX_DIRECT_ADDRESSES`, and within any
    hour no more than :data:`MAX_ADDRESSES_PER_HOUR` different ones; a port is part of an address,
    as ports can be scanned too. One that was tried in the last hour costs nothing again, so a
    client finds back to its master however often the path dies. How soon, and how many at a time,
    is for whoever connects to decide.

    ``now`` is seconds of a clock that does not go back.
    """

    def __init__(self) -> None:
        self._last_tries: dict[DirectAddress, float] = {}

    def take(self, addresses: Iterable[DirectAddress], now: float) -> list[DirectAddress]:
        """Those that may be tried now, each once, in the order of the offer; they count as tried.

        :param addresses: one offer.
        """
        self._last_tries = {
            address: time
            for address, time in self._last_tries.items()
            if now - time < _HOUR_SECONDS
        }
        taken = []
        for address in dict.fromkeys(islice(addresses, MAX_DIRECT_ADDRESSES)):
            if not may_connect(address.host, address.port):
                continue
            if address in self._last_tries or len(self._last_tries) < MAX_ADDRESSES_PER_HOUR:
                self._last_tries[address] = now
                taken.append(address)
        return taken
