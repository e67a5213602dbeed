"""porttunnel/net/local_address.py"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

import ifaddr
import pytest

from porttunnel.net.local_address import local_addresses
from porttunnel.session.direct_address import may_connect
from porttunnel.session.record import MAX_DIRECT_ADDRESSES, DirectAddress

IPv6 = tuple[str, int, int]


def adapter(name: str, *hosts: str | IPv6) -> ifaddr.Adapter:
    return ifaddr.Adapter(name, name, [ifaddr.IP(host, 24, name) for host in hosts])


def pretend(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Iterable[ifaddr.Adapter]]
) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", answer)


def test_offers_what_a_client_would_try(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = [
        adapter("lo", "127.0.0.1", ("::1", 0, 0)),
        adapter("eth0", "169.254.3.4", ("fd00::2", 0, 0), ("fe80::2", 0, 2), "192.168.7.2"),
        adapter("wan0", "203.0.113.9", ("2001:db8::9", 0, 0)),
        adapter("docker0", "172.17.0.1"),
    ]
    pretend(monkeypatch, lambda: adapters)
    assert local_addresses(5_000) == [
        DirectAddress(host=host, port=5_000)
        for host in ("192.168.7.2", "172.17.0.1", "fd00::2", "169.254.3.4")
    ]
    assert local_addresses(443) == []


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "no netlink here"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "an interface's name"),
        AssertionError("no netmask"),
    ],
)
def test_a_system_that_tells_nothing_costs_the_direct_path_only(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> Iterable[ifaddr.Adapter]:
        raise error

    pretend(monkeypatch, fail)
    assert local_addresses(5_000) == []


def test_of_this_very_machine() -> None:
    found = local_addresses(5_000)
    assert found == local_addresses(5_000)
    assert len(found) <= MAX_DIRECT_ADDRESSES
    assert all(may_connect(address.host, address.port) for address in found)
    assert not any(ip_address(address.host).is_loopback for address in found)
