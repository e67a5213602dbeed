"""Where a gateway is: what people write or a QR says, and how to get there.

Source: docs/gateway-protocol, sections 1 and 2. TLS is checked as this machine's trust store has
it, or by the gateway's key: a pin of which a QR has the first half.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.pairing_code import (
    SPKI_PIN_BYTES,
    WEB_PKI,
    PairingCode,
    is_gateway_address,
)
from porttunnel.net.tls import client_context, digest_context

__all__ = ["GatewayAddress"]

CONNECT_SECONDS = 15.0  # for one attempt, all addresses of the host

_DEFAULT_PORTS = {"https": 443, "http": 80}
_PIN_PREFIX = "sha256-"
_PIN = re.compile(rf"{_PIN_PREFIX}([A-Za-z0-9_-]{{43}}|[A-Za-z0-9_-]{{22}})")
_FORM = "https://HOST[:PORT][#sha256-PIN], or on this machine http://localhost[:PORT]"


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """A gateway's address.

    :ivar url: without a slash at the end and without the pin, as a pairing's code has it.
    :ivar pin: the first 16 bytes, or all 32, of the SHA-256 of its SubjectPublicKeyInfo; empty:
        its certificate is one that this machine believes.
    """

    url: str
    pin: bytes = b""

    @classmethod
    def parse(cls, text: str) -> GatewayAddress:
        """Read what a user or a configuration says: ``https://host[:port][/path][#sha256-PIN]``,
        or ``http://`` for this machine.

        :raises ConfigurationError: it is none.
        """
        place, _, pin = text.strip().partition("#")
        try:
            parts = urlsplit(place)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise _unusable() from None
        if parts.scheme not in _DEFAULT_PORTS or parts.username is not None or parts.query:
            raise _unusable()
        name = f"[{host}]" if ":" in host else host
        shown = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
        url = f"{parts.scheme}://{name}{shown}{parts.path.rstrip('/')}"
        if not is_gateway_address(url):
            raise _unusable()
        return cls(url, _parse_pin(pin, parts.scheme))

    @classmethod
    def from_pairing_code(cls, code: PairingCode) -> GatewayAddress:
        """The gateway that a QR names."""
        return cls(code.gateway, code.spki_pin if any(code.spki_pin) else b"")

    def format(self) -> str:
        """What :meth:`parse` reads."""
        if not self.pin:
            return self.url
        return f"{self.url}#{_PIN_PREFIX}" + base64.urlsafe_b64encode(self.pin).decode().rstrip(
            "="
        )

    @property
    def code_pin(self) -> bytes:
        """What a pairing's code says of its key: 16 bytes."""
        return self.pin[:SPKI_PIN_BYTES] or WEB_PKI

    @property
    def mqtt_url(self) -> str:
        """Where it speaks MQTT over WebSocket."""
        return "ws" + self.url.removeprefix("http") + "/mqtt"

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """What connects to it, with TLS unless the address is of this machine and says ``http``.

        A certificate that isn't the right one reaches the protocol's ``connectionLost`` as
        :class:`~porttunnel.errors.NotReachable`.
        """
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            reactor, host, port, timeout=CONNECT_SECONDS
        )
        if parts.scheme == "http":
            return endpoint
        context = digest_context(self.pin, host) if self.pin else client_context(host)
        return wrapClientTLS(context, endpoint, reactor)


def _parse_pin(text: str, scheme: str) -> bytes:
    if not text:
        return b""
    match = _PIN.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            "After # the address of a gateway has its pin: sha256- and 43 characters. Copy the "
            "whole address."
        )
    if scheme != "https":
        raise ConfigurationError("A pin needs TLS: write https://.")
    return base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4))


def _unusable() -> ConfigurationError:
    # Not the text: a password may stand in it.
    return ConfigurationError(f"The gateway's address is not usable: write {_FORM}.")
