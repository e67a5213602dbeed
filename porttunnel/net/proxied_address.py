"""Who a client is that came by way of a proxy: the PROXY protocol, versions 1 and 2.

A proxy that is configured as such begins each connection with a header that names its client.
Whoever else sends one is lying. Source: the PROXY protocol, HAProxy Technologies, 2020-03-05.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from twisted.internet import address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from porttunnel.errors import ConfigurationError, RemoteProtocolError

__all__ = ["UNIX", "ProxiedClient", "TrustedProxies", "read_header"]

UNIX = "unix"
"""In a list of proxies: whoever comes by a UNIX socket."""

MAX_LINE_BYTES = 107  # version 1's longest line with its end
MAX_BINARY_BYTES = 2_048  # of version 2 behind its head; certificates' names are the longest part

_LINE_BEGINNING = b"PROXY "
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|(TCP[46]) ([0-9A-Fa-f.:]+) [0-9A-Fa-f.:]+ ([0-9]{1,5}) "
    rb"[0-9]{1,5})\r\n"
)
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = struct.Struct(">12sBBH")
_TLV_HEAD = struct.Struct(">BH")
_VERSION_2 = 0x20
_LOCAL, _PROXY = 0, 1
_FAMILIES = {0x11: (4, 12), 0x21: (16, 36)}  # TCP: bytes of an address, of all addresses and ports
_TLV_TLS = 0x20
_CLIENT_USED_TLS = 0x01

_Network = IPv4Network | IPv6Network
_log = Logger()


@dataclass(frozen=True, slots=True)
class ProxiedClient:
    """What a header says.

    :ivar address: the client's, or None if the proxy comes for itself or doesn't know.
    :ivar used_tls: whether the client came to the proxy by TLS, as far as the header says.
    """

    address: IAddress | None
    used_tls: bool = False


class TrustedProxies:
    """From whom a header is wanted.

    :param networks: addresses or networks (``127.0.0.1``, ``10.0.0.0/8``), or :data:`UNIX`.
    :raises ConfigurationError: one of them is none.
    """

    __slots__ = ("_blamed", "_networks", "_unix")

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._blamed = False
        self._unix = False
        self._networks: list[_Network] = []
        for text in networks:
            if text == UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(ip_network(text))
            except ValueError as error:
                raise ConfigurationError(
                    f"{text!r} is no address of a proxy ({error}); write one as 192.0.2.7, a "
                    f"network as 10.0.0.0/8, or {UNIX}"
                ) from error

    def trusts(self, peer: IAddress) -> bool:
        """Whether a connection from there has to begin with a header."""
        if isinstance(peer, address.UNIXAddress):
            return self._unix
        if not self._networks:
            return False
        try:
            host = ip_address(getattr(peer, "host", ""))
        except ValueError:
            return False
        if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
            host = host.ipv4_mapped
        return any(host in network for network in self._networks)

    def blame(self, error: RemoteProtocolError) -> None:
        """One of them began a connection without a header: tell the operator, the first time. Each
        of its clients would bring another line.
        """
        if not self._blamed:
            self._blamed = True
            _log.warn(
                "refused: {error}. All that [proxy] trusted names have to send one "
                "(proxy_protocol on, send-proxy-v2); this is not said again",
                error=str(error),
            )


def read_header(data: bytes) -> tuple[ProxiedClient, int] | None:
    """The header at the beginning of a connection, and how many bytes it has.

    :param data: all that came so far.
    :returns: None if more of it has yet to come.
    :raises RemoteProtocolError: it is none.
    """
    if data.startswith(_LINE_BEGINNING[: len(data)]):
        return _read_line(data)
    if data.startswith(_SIGNATURE[: len(data)]):
        return _read_binary(data)
    raise RemoteProtocolError("a proxy's connection begins with no PROXY header")


def _read_line(data: bytes) -> tuple[ProxiedClient, int] | None:
    end = data.find(b"\r\n", 0, MAX_LINE_BYTES)
    if end < 0:
        if len(data) >= MAX_LINE_BYTES:
            raise RemoteProtocolError("a PROXY line is too long")
        return None
    match = _LINE.fullmatch(data, 0, end + 2)
    if match is None:
        raise RemoteProtocolError("a PROXY line is not one")
    if match[1] is None:
        return ProxiedClient(None), match.end()
    kind = address.IPv4Address if match[1] == b"TCP4" else address.IPv6Address
    try:
        host = ip_address(match[2].decode("ascii"))
    except ValueError:
        raise RemoteProtocolError("a PROXY line has an address that is none") from None
    if isinstance(host, IPv6Address) is not (kind is address.IPv6Address):
        raise RemoteProtocolError("a PROXY line has an address of another kind")
    return ProxiedClient(kind("TCP", str(host), int(match[3]))), match.end()


def _read_binary(data: bytes) -> tuple[ProxiedClient, int] | None:
    if len(data) < _HEAD.size:
        return None
    _, command, family, length = _HEAD.unpack_from(data)
    if command & 0xF0 != _VERSION_2 or command & 0x0F not in (_LOCAL, _PROXY):
        raise RemoteProtocolError("a PROXY header has a version or a command that is unknown")
    if length > MAX_BINARY_BYTES:
        raise RemoteProtocolError("a PROXY header is too long")
    end = _HEAD.size + length
    if len(data) < end:
        return None
    if command & 0x0F == _LOCAL:
        return ProxiedClient(None), end
    found = _FAMILIES.get(family)
    if found is None:
        # UNIX sockets and what is unknown: the connection is good, its client has no address.
        return ProxiedClient(None), end
    address_bytes, addresses_bytes = found
    if length < addresses_bytes:
        raise RemoteProtocolError("a PROXY header is too short for its addresses")
    body = data[_HEAD.size : end]
    host = str(ip_address(body[:address_bytes]))
    port = int.from_bytes(body[2 * address_bytes : 2 * address_bytes + 2], "big")
    kind = address.IPv4Address if address_bytes == 4 else address.IPv6Address
    return ProxiedClient(kind("TCP", host, port), _says_tls(body[addresses_bytes:])), end


def _says_tls(fields: bytes) -> bool:
    """Whether one of the header's further fields says that the client used TLS.

    :raises RemoteProtocolError: they are cut short.
    """
    offset = 0
    while offset < len(fields):
        if len(fields) - offset < _TLV_HEAD.size:
            raise RemoteProtocolError("a PROXY header has a field that is cut short")
        kind, length = _TLV_HEAD.unpack_from(fields, offset)
        offset += _TLV_HEAD.size
        value = fields[offset : offset + length]
        if len(value) < length:
            raise RemoteProtocolError("a PROXY header has a field that is cut short")
        if kind == _TLV_TLS and value:
            return bool(value[0] & _CLIENT_USED_TLS)
        offset += length
    return False
