"""porttunnel.net.server_address"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import endpoints, reactor
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from porttunnel.errors import ConfigurationError
from porttunnel.net import server_address
from porttunnel.net.server_address import DEFAULT_SERVER, is_loopback, parse_server_address

PIN = "sha256-" + "A" * 43


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Whom TLS was asked to expect, with which pin."""
    asked: list[tuple[str, str | None]] = []
    real = server_address.tls_endpoint

    def tls_endpoint(reactor: Any, endpoint: Any, host: str, pin: str | None) -> Any:
        asked.append((host, pin))
        return real(reactor, endpoint, host, pin)

    monkeypatch.setattr(server_address, "tls_endpoint", tls_endpoint)
    return asked


@pytest.mark.parametrize(
    "text",
    [
        DEFAULT_SERVER,
        "ptun://127.0.0.1",
        " ptun://tunnel.example.com:4000/ ",
        "ptun://[::1]:4000",
        "tcp:localhost:4663",
        "tcp:LocalHost.:4663",
        "tcp:127.8.9.1:4663",
        "tcp:host=127.0.0.1:port=4663",
        r"tcp:\:\:1:4663",
        "unix:/run/tunnel",
    ],
)
def test_plain_where_nobody_is_in_between_or_it_is_said(
    text: str, tls: list[tuple[str, str | None]]
) -> None:
    assert parse_server_address(MemoryReactorClock(), text)
    assert tls == []


@pytest.mark.parametrize(
    ("text", "host", "pin"),
    [
        ("tunnel.example.com", "tunnel.example.com", None),
        ("tunnel.example.com:4000", "tunnel.example.com", None),
        (f"127.0.0.1:4663#{PIN}", "127.0.0.1", PIN),
        ("ptuns://tunnel.example.com", "tunnel.example.com", None),
        ("ptuns://tunnel.example.com:4000", "tunnel.example.com", None),
        (f"ptuns://127.0.0.1:4663#{PIN}", "127.0.0.1", PIN),
        (f"ptuns://[2001:db8::1]#{PIN}", "2001:db8::1", PIN),
        ("tcp:tunnel.example.com:4663", "tunnel.example.com", None),
        ("tcp:host=tunnel.example.com:port=4663", "tunnel.example.com", None),
        ("tcp:port=4663:host=192.0.2.7", "192.0.2.7", None),
        (r"tcp:2001\:db8\:\:1:4663", "2001:db8::1", None),
    ],
)
def test_tls_to_every_other_host(
    text: str, host: str, pin: str | None, tls: list[tuple[str, str | None]]
) -> None:
    assert parse_server_address(MemoryReactorClock(), text)
    assert tls == [(host, pin)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write ptuns://HOST"),
        ("http://tunnel.example.com", "write ptuns://HOST"),
        ("https://tunnel.example.com:4663", "https are for gateways"),
        ("ptun://", "write ptuns://HOST"),
        ("ptun://host:port", "write ptuns://HOST"),
        ("ptun://host:99999", "write ptuns://HOST"),
        ("ptun://host/path", "write ptuns://HOST"),
        ("ptun://host?x", "write ptuns://HOST"),
        ("carrier-pigeon:host", "write ptuns://HOST"),
        ("tcp:host:port", "write ptuns://HOST"),
        ("tcp:host", "write ptuns://HOST"),
        (f"ptun://host#{PIN}", "A pin needs TLS"),
        ("ptuns://host#fingerprint", "sha256- and 43 characters"),
        ("ptuns://host#sha256-short", "no complete pin"),
        ("ptuns://127.0.0.1", "add the pin"),
        ("ptuns://localhost:4663", "add the pin"),
        ("localhost", "add the pin"),
        ("127.0.0.1:4663", "add the pin"),
        ("ptuns://[::1]", "add the pin"),
    ],
)
def test_says_what_to_write_instead(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse_server_address(MemoryReactorClock(), text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("::1%lo", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("fe80::1%eth0", False),
        ("tunnel.example.com", False),
    ],
)
def test_knows_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_dials_the_port_that_is_said() -> None:
    memory = MemoryReactorClock()
    parse_server_address(memory, "tcp:127.0.0.1:4000").connect(Factory())
    assert memory.tcpClients[0][:2] == ("127.0.0.1", 4000)
    # A name is looked up by the real reactor only; what was understood is in the endpoint.
    for text, port in (("ptun://127.0.0.1", 4663), ("ptun://127.0.0.1:4000", 4000)):
        endpoint: Any = parse_server_address(reactor, text)
        assert isinstance(endpoint, endpoints.HostnameEndpoint)
        assert endpoint._port == port
