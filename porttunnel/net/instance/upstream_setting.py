"""The settings of the web system behind an instance, and where it is."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from msgspec import Meta
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.forward import ForwardRules
from porttunnel.gateway.forward_identity import IdentityRules, UserCredentials
from porttunnel.gateway.forward_origin import Origin
from porttunnel.gateway.forward_path import AllowList
from porttunnel.gateway.http_head import find_field_fault
from porttunnel.net.tls import tls_endpoint

__all__ = ["UpstreamPlace", "UpstreamSettings"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
IDENTITY_HEADER = "X-Remote-User"

CONNECT_SECONDS = 10.0  # a web system beside the agent answers in milliseconds, or is down
HEAD_SECONDS = 120.0  # some pages are long in the making
IDLE_SECONDS = 120.0  # nothing comes any more of a body
DEVICE_IDLE_SECONDS = 600.0  # somebody holds a download; for longer the web system isn't kept
WEBSOCKET_IDLE_SECONDS = 3_600.0  # most are pinged each minute
KEEP_ALIVE_SECONDS = 4.0  # most web systems close after 5; earlier than they nobody is surprised
WAIT_SECONDS = 30.0  # for a connection; a person at a browser waits no longer
MAX_CONNECTIONS = 128  # more than most web systems serve at a time
MAX_WEBSOCKETS = 512  # they are mostly silent, and so don't count as the others
MAX_WAITING = 512  # each holds a request's beginning

_UNIX = "unix:"
_ORIGIN = re.compile(r"(https?)://([A-Za-z0-9._~\[\]:-]+)/?")
_Seconds = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, slots=True)
class UpstreamPlace:
    """Where connections lead.

    :ivar origin: how the web system is called there.
    :ivar pin: of its key; None to trust what this machine trusts.
    :ivar socket: the path of a UNIX socket; empty if it is none.
    """

    origin: Origin
    pin: str | None = None
    socket: str = ""

    @property
    def private(self) -> bool:
        """Whether nobody can listen on the way: TLS, or this machine."""
        return bool(self.socket) or self.origin.scheme == b"https" or _is_here(self.origin.host)

    def endpoint(self, reactor: Any, connect_seconds: float) -> IStreamClientEndpoint:
        """What connects.

        :raises ConfigurationError: the pin is not written as one.
        """
        if self.socket:
            return UNIXClientEndpoint(reactor, self.socket, timeout=connect_seconds)
        host = self.origin.host.decode().strip("[]")
        endpoint = HostnameEndpoint(reactor, host, self.origin.port, timeout=connect_seconds)
        if self.origin.scheme == b"http":
            return endpoint
        return tls_endpoint(reactor, endpoint, host, self.pin)


class UpstreamSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The table ``[upstream]``.

    :ivar origin: ``http://host[:port]``, ``https://host[:port][#sha256-PIN]`` or
        ``unix:/path/of/socket``.
    :ivar host: ``host[:port]`` that the web system is told as its own (the field Host); if not
        set that of ``origin``, and ``localhost`` for a UNIX socket.
    :ivar aliases: other origins under which the web system knows itself; redirects to them stay
        inside too.
    :ivar methods: which may be used; the usual ones if not set.
    :ivar paths: which may be asked for, with all that is below each.
    :ivar identity_header: the field that tells the user's name; if not set ``X-Remote-User``, or
        none if there are ``users``; empty for none.
    :ivar users: credentials, by the user's name.
    :ivar connect_seconds: for a connection.
    :ivar head_seconds: from the end of the request to the head of the response.
    :ivar idle_seconds: between two pieces of a body that the web system or the device owes.
    :ivar device_idle_seconds: how long a device may take nothing of a response.
    :ivar websocket_idle_seconds: how long a WebSocket may be silent both ways.
    :ivar keep_alive_seconds: how long an idle connection is kept.
    :ivar wait_seconds: how long a request waits for a connection.
    :ivar max_connections: at a time, without those that became WebSockets.
    :ivar max_websockets: at a time.
    :ivar max_waiting: requests that wait for a connection; others are told that it is busy.
    """

    origin: str
    host: str = ""
    aliases: tuple[str, ...] = ()
    methods: tuple[str, ...] = METHODS
    paths: tuple[str, ...] = ("/",)
    identity_header: str | None = None
    users: dict[str, UserCredentials] = {}
    connect_seconds: _Seconds = CONNECT_SECONDS
    head_seconds: _Seconds = HEAD_SECONDS
    idle_seconds: _Seconds = IDLE_SECONDS
    device_idle_seconds: _Seconds = DEVICE_IDLE_SECONDS
    websocket_idle_seconds: _Seconds = WEBSOCKET_IDLE_SECONDS
    keep_alive_seconds: _Seconds = KEEP_ALIVE_SECONDS
    wait_seconds: _Seconds = WAIT_SECONDS
    max_connections: _Count = MAX_CONNECTIONS
    max_websockets: _Count = MAX_WEBSOCKETS
    max_waiting: _Count = MAX_WAITING

    def place(self) -> UpstreamPlace:
        """Where the web system is.

        :raises ConfigurationError: ``origin`` or ``host`` can't be used.
        """
        if self.origin.startswith(_UNIX):
            path = unquote(self.origin.removeprefix(_UNIX))
            if not path.startswith("/"):
                raise ConfigurationError("upstream: write unix: and the whole path of the socket")
            return UpstreamPlace(_parse_origin(f"http://{self.host or 'localhost'}"), None, path)
        address, _, pin = self.origin.partition("#")
        origin = _parse_origin(address)
        if pin and origin.scheme != b"https":
            raise ConfigurationError("upstream: a pin (#sha256-...) belongs to https:// only")
        return UpstreamPlace(origin, pin or None)

    def rules(self) -> ForwardRules:
        """What may be asked for, and in whose name.

        :raises ConfigurationError: a setting can't be used.
        """
        origin = self.place().origin
        scheme = origin.scheme.decode()
        told = _parse_origin(f"{scheme}://{self.host}") if self.host else origin
        header = self.identity_header
        if header is None:
            header = "" if self.users else IDENTITY_HEADER
        name = header.lower().encode()
        if header and find_field_fault(((name, b""),)) is not None:
            raise ConfigurationError(f"identity_header: {header!r} is no name of a field")
        return ForwardRules(
            AllowList.parse(self.methods, self.paths),
            told,
            # Some put the name that they were told before the port at which they listen.
            frozenset(
                {
                    origin,
                    Origin(origin.scheme, told.host, origin.port),
                    *map(_parse_origin, self.aliases),
                }
            ),
            IdentityRules(name, self.users),
        )


def _parse_origin(text: str) -> Origin:
    """Read ``http://host[:port]`` or ``https://...``.

    :raises ConfigurationError: it is another text.
    """
    found = _ORIGIN.fullmatch(text)
    origin = Origin.parse(found[1].encode(), found[2].encode()) if found else None
    if origin is None:
        shown = text.rpartition("@")[2]  # before it stands a password perhaps
        raise ConfigurationError(
            f"{shown!r} is no address of a web system; write http://HOST:PORT or https://HOST "
            "without a path or a password; for origin also unix:/PATH"
        )
    return origin


def _is_here(host: bytes) -> bool:
    name = host.decode().strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
