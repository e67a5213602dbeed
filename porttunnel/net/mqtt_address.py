"""Where an MQTT broker is: what people write, as something that makes connections to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint

from porttunnel.errors import ConfigurationError
from porttunnel.net.carriers.connector import Connector, StreamConnector
from porttunnel.net.carriers.websocket_client import WebSocketConnector
from porttunnel.net.mqtt_broker import SUBPROTOCOL
from porttunnel.net.tls import tls_endpoint

__all__ = ["parse_broker_address"]

CONNECT_SECONDS = 15.0  # for one attempt, all addresses of the host
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_WITH_TLS = ("mqtts", "wss")
_WEB = ("ws", "wss")
_FORMS = (
    "mqtt://HOST[:PORT], mqtts://HOST[:PORT], ws://HOST[:PORT]/PATH, wss://HOST[:PORT]/PATH or an "
    "endpoint string (tcp:HOST:PORT)"
)


def parse_broker_address(
    reactor: Any, text: str, *, headers: Mapping[str, str] | None = None
) -> Connector:
    """What makes the connections to the broker that a user or a configuration names.

    :param text: a URL, without user name and password: these stand in a client's settings; or a
        Twisted client endpoint string. With TLS the certificate is checked as this machine's
        trust store has it; a URL may end with ``#sha256-PIN`` instead.
    :param headers: more fields of a WebSocket's request.
    :raises ConfigurationError: it is none of these.
    """
    if "://" in text:
        return _parse_url(reactor, text, headers)
    try:
        return StreamConnector(reactor, clientFromString(reactor, text))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"The broker address {text!r} is not usable ({error}): write {_FORMS}."
        ) from None


def _parse_url(reactor: Any, text: str, headers: Mapping[str, str] | None) -> Connector:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _unusable() from None
    scheme = parts.scheme
    if scheme not in DEFAULT_PORTS:
        raise _unusable()
    if port is None:
        port = DEFAULT_PORTS[scheme]
    has_path = bool(parts.path.strip("/") or parts.query)
    if not host or not port or parts.username is not None or (has_path and scheme not in _WEB):
        raise _unusable()
    pin = parts.fragment or None
    if pin and scheme not in _WITH_TLS:
        raise ConfigurationError("A pin needs TLS: write mqtts:// or wss://.")
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        reactor, host, port, timeout=CONNECT_SECONDS
    )
    if scheme in _WITH_TLS:
        endpoint = tls_endpoint(reactor, endpoint, host, pin)
    if scheme not in _WEB:
        return StreamConnector(reactor, endpoint)
    url = text.partition("#")[0]
    return WebSocketConnector(reactor, endpoint, url, SUBPROTOCOL, headers)


def _unusable() -> ConfigurationError:
    # Not the text: a password may stand in it.
    return ConfigurationError(f"The broker's URL is not usable: write {_FORMS}.")
