"""porttunnel.net.proxied_address: headers of proxies, whole, byte by byte, with bytes trailing."""

from __future__ import annotations

import socket
import struct

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from porttunnel.errors import ConfigurationError, RemoteProtocolError
from porttunnel.net.proxied_address import ProxiedClient, TrustedProxies, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = IPv4Address("TCP", "198.51.100.7", 40_000)
V6 = IPv6Address("TCP", "2001:db8::7", 40_000)
V4_BODY = socket.inet_aton("198.51.100.7") + socket.inet_aton("192.0.2.1") + b"\x9c\x40\x12\x37"
V6_BODY = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + b"\x9c\x40\x12\x37"
)


def binary(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body)) + body


def field(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


TLS = field(0x20, b"\x01" + bytes(4) + field(0x21, b"TLSv1.3"))

GOOD = [
    (b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 4663\r\n", ProxiedClient(V4)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 4663\r\n", ProxiedClient(V6)),
    (b"PROXY UNKNOWN\r\n", ProxiedClient(None)),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ProxiedClient(None)),
    (binary(0x21, 0x11, V4_BODY), ProxiedClient(V4)),
    (binary(0x21, 0x21, V6_BODY), ProxiedClient(V6)),
    (binary(0x21, 0x11, V4_BODY + field(0x05, b"id") + TLS), ProxiedClient(V4, used_tls=True)),
    (binary(0x21, 0x11, V4_BODY + field(0x20, bytes(5))), ProxiedClient(V4)),
    (binary(0x21, 0x11, V4_BODY + field(0x20, b"")), ProxiedClient(V4)),
    (binary(0x20, 0x00, b""), ProxiedClient(None)),
    (binary(0x20, 0x11, V4_BODY), ProxiedClient(None)),
    (binary(0x21, 0x31, bytes(216)), ProxiedClient(None)),
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"PROXY TCP4 198.51.100.7\r\n",
    b"PROXY TCP4 1.2.3.400 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 198.51.100.7 192.0.2.1 1 2\r\n",
    b"PROXY UDP4 198.51.100.7 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 " + b"1" * 100,
    binary(0x11, 0x11, V4_BODY),
    binary(0x22, 0x11, V4_BODY),
    binary(0x21, 0x11, V4_BODY[:-1]),
    binary(0x21, 0x11, V4_BODY + b"\x20\x00"),
    binary(0x21, 0x11, V4_BODY + b"\x20\x00\x09\x01"),
    SIGNATURE + b"\x21\x11\xff\xff",
]


@pytest.mark.parametrize(("data", "client"), GOOD)
def test_a_header_is_read(data: bytes, client: ProxiedClient) -> None:
    assert read_header(data) == (client, len(data))
    assert read_header(data + b"PT\x01and more") == (client, len(data))
    for end in range(len(data)):
        assert read_header(data[:end]) is None


@pytest.mark.parametrize("data", BAD)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_header(data)


def test_who_is_trusted() -> None:
    proxies = TrustedProxies(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix"])
    trusted = ("127.0.0.1", "10.1.2.3", "2001:db8:7::1", "::ffff:10.1.2.3")
    others = ("127.0.0.2", "11.0.0.1", "2001:db9::1", "::ffff:11.0.0.1", "::1", "")
    assert all(proxies.trusts(IPv4Address("TCP", host, 1)) for host in trusted)
    assert not any(proxies.trusts(IPv4Address("TCP", host, 1)) for host in others)
    assert proxies.trusts(UNIXAddress(b"/socket"))


def test_nobody_is() -> None:
    assert not TrustedProxies().trusts(IPv4Address("TCP", "127.0.0.1", 1))
    assert not TrustedProxies(["10.0.0.0/8"]).trusts(UNIXAddress(b"/socket"))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "", "10.0.0.0/33"])
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of a proxy"):
        TrustedProxies([text])
