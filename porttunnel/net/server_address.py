"""Where the tunnel server is: what people write, as a Twisted endpoint.

To a host that isn't loopback TLS is used unless the address says ``ptun://``: on plain TCP
anyone on the way can end a session, though read nothing (docs/session-protocol, section 1).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint

from porttunnel.errors import ConfigurationError
from porttunnel.net.tls import tls_endpoint

__all__ = ["DEFAULT_PORT", "DEFAULT_SERVER", "parse_server_address"]

DEFAULT_PORT = 4663
DEFAULT_SERVER = "tcp:127.0.0.1:4663"
CONNECT_SECONDS = 15.0  # for one attempt, all addresses of the host
_PIN_PREFIX = "sha256-"
_COLON, _EQUALS = re.compile(r"(?<!\\):"), re.compile(r"(?<!\\)=")
_GATEWAY_HINT = (
    " http and https are for gateways; the tunnel server prints its own in the line address."
)
_FORMS = (
    "ptuns://HOST[:PORT][#sha256-PIN], ptun://HOST[:PORT] or an endpoint string (tcp:HOST:PORT)"
)


def parse_server_address(reactor: Any, text: str) -> IStreamClientEndpoint:
    """The endpoint for what a user or a configuration names as the server.

    :param text: ``ptun://host[:port]`` (plain), ``ptuns://host[:port][#sha256-PIN]`` (TLS, by the
        system's trust store or by a pin), a Twisted client endpoint string, or a host name with
        or without a port, which is ``ptuns://``.
    :raises ConfigurationError: none of these.
    """
    text = text.strip()
    if "://" in text:
        return _parse_url(reactor, text)
    kind, colon, rest = text.partition(":")
    # No kind of endpoint has a dot in its name, and few hosts have none.
    if not colon or ("." in kind and rest.partition("#")[0].isdecimal()):
        return _parse_url(reactor, f"ptuns://{text}")
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, text)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"The server address {text!r} is not usable ({error}): write {_FORMS}."
        ) from None
    if kind.lower() != "tcp":  # Twisted takes TCP: for the same
        return endpoint
    host = _host_of_tcp(text)
    return endpoint if is_loopback(host) else tls_endpoint(reactor, endpoint, host, None)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _host_of_tcp(text: str) -> str:
    # As Twisted reads it: tcp:HOST:PORT, also beside names, tcp:HOST:port=PORT, tcp:PORT:host=HOST
    # or names only, of which the last counts; what would part them stands behind a backslash.
    fields = [_EQUALS.split(field, maxsplit=1) for field in _COLON.split(text)[1:]]
    plain = [field[0] for field in fields if len(field) == 1]
    named = [field[1] for field in fields if field[0] == "host" and len(field) == 2]
    host = named[-1] if named and len(plain) < 2 else plain[0]
    return host.replace("\\", "")


def _parse_url(reactor: Any, text: str) -> IStreamClientEndpoint:
    parts = urlsplit(text)
    try:
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if parts.scheme not in ("ptun", "ptuns") or not host or parts.path.strip("/") or parts.query:
        raise ConfigurationError(
            f"The server address {text!r} is not usable: write {_FORMS}."
            + (_GATEWAY_HINT if parts.scheme in ("http", "https") else "")
        )
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        reactor, host, port, timeout=CONNECT_SECONDS
    )
    pin = parts.fragment or None
    if parts.scheme == "ptun":
        if pin:
            raise ConfigurationError("A pin needs TLS: write ptuns:// instead of ptun://.")
        return endpoint
    if pin is not None and not pin.startswith(_PIN_PREFIX):
        raise ConfigurationError(
            "After # a server address has the pin: sha256- and 43 characters."
        )
    if pin is None and is_loopback(host):
        raise ConfigurationError(
            "No authority certifies a loopback address: add the pin that the server prints, "
            "or write ptun://."
        )
    return tls_endpoint(reactor, endpoint, host, pin)
