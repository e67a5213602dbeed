"""TLS for both ends of a link to the tunnel server.

TLS hides who talks to whom and keeps others from ending a session; secrecy of content does not
rest on it (docs/security).
"""

from __future__ import annotations

import base64
import hmac
import re
from abc import ABC, abstractmethod
from typing import Any

from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import CertificateOptions, TLSVersion, platformTrust
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import ConfigurationError, NotReachable
from porttunnel.net.certificate import Certificate, Identity, spki_digest

__all__ = [
    "ALPN_PROTOCOL",
    "client_context",
    "digest_context",
    "pinned_context",
    "server_context",
    "tls_endpoint",
]

MINIMUM_VERSION = TLSVersion.TLSv1_2  # 1.0 and 1.1 are broken; 1.2 is what old proxies speak
ALPN_PROTOCOL = b"http/1.1"  # the only one with a name that our port speaks
MIN_DIGEST_BYTES = 16  # what a pairing's code has room for

_PIN = re.compile(r"sha256-[A-Za-z0-9_-]{43}")


@implementer(IOpenSSLServerConnectionCreator)
class _ServerConnections:
    """One context for all connections: Twisted's own makes one each, which costs more memory
    than all the rest of a link.
    """

    def __init__(self, identity: Identity) -> None:
        # pyOpenSSL wants them as they are; what Twisted declares is what it wanted before.
        key: Any = identity.private_key
        certificate: Any = identity.certificate
        options = CertificateOptions(
            privateKey=key,
            certificate=certificate,
            raiseMinimumTo=MINIMUM_VERSION,
        )
        self._context = options.getContext()
        # A renegotiation costs the server more than the client that asks for it.
        self._context.set_options(SSL.OP_NO_RENEGOTIATION)
        self._context.set_alpn_select_callback(_select_protocol)

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class _CheckedConnections(ABC):
    """Checks the server in the handshake, before any byte of ours goes out.

    Not Twisted's ``optionsForClientTLS``: that lets a certificate pass which names nobody at all.
    """

    def __init__(self, hostname: str | None, options: CertificateOptions) -> None:
        is_name = not (hostname is None or isIPAddress(hostname) or isIPv6Address(hostname))
        # An address must not be sent as a name (RFC 6066, section 3).
        self._server_name = hostname.encode("idna") if hostname and is_name else None
        self._context = options.getContext()

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)

        def verify(
            _: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
        ) -> bool:
            try:
                self._check(certificate.to_cryptography(), depth, bool(ok))
            except Exception:
                # Whatever goes wrong in a callback of OpenSSL's must end as a refusal, with its
                # reason for the protocol above.
                tlsProtocol.failVerification(Failure())
                return False
            return True

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection

    @abstractmethod
    def _check(self, certificate: Certificate, depth: int, trusted: bool) -> None:
        """Raise if the certificate is not good enough.

        :param depth: 0 is the server's own, 1 who signed it, and so on.
        :param trusted: what OpenSSL thinks of it.
        """


class _TrustedConnections(_CheckedConnections):
    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        trust = {"trustRoot": platformTrust(), "raiseMinimumTo": MINIMUM_VERSION}
        super().__init__(hostname, CertificateOptions(**trust))

    def _check(self, certificate: Certificate, depth: int, trusted: bool) -> None:
        if not trusted:
            raise NotReachable(
                f"This machine does not trust the certificate of the server at {self._hostname}. "
                "If it made its own, use its whole address, with the part from # on."
            )
        if depth > 0:
            return
        try:
            if self._server_name is None:
                verify_certificate_ip_address(certificate, self._hostname)
            else:
                verify_certificate_hostname(certificate, self._server_name.decode("ascii"))
        except (VerificationError, CertificateError) as error:
            raise NotReachable(
                f"The server that answered is not {self._hostname}: its certificate has another "
                "name. Check the address."
            ) from error


class _PinnedConnections(_CheckedConnections):
    def __init__(self, digest: bytes, hostname: str | None) -> None:
        self._digest = digest
        super().__init__(hostname, CertificateOptions(raiseMinimumTo=MINIMUM_VERSION))

    def _check(self, certificate: Certificate, depth: int, trusted: bool) -> None:
        # Only the key of the server's own certificate counts: who signed it, for which name and
        # until when says nothing beside the pin.
        shown = spki_digest(certificate)[: len(self._digest)]
        if depth > 0 or hmac.compare_digest(shown, self._digest):
            return
        raise NotReachable(
            "The server that answered is not the one that the address names: its key is another. "
            "Somebody may be in between, or the server was set up anew; ask for its address again."
        )


def server_context(identity: Identity) -> IOpenSSLServerConnectionCreator:
    """What a server shows its clients, for ``TLSMemoryBIOFactory``."""
    return _ServerConnections(identity)


def client_context(hostname: str) -> IOpenSSLClientConnectionCreator:
    """Trusts what this machine trusts, for this host name or IP address.

    A refusal reaches the protocol's ``connectionLost`` as
    :class:`~porttunnel.errors.NotReachable`.
    """
    return _TrustedConnections(hostname)


def pinned_context(pin: str, hostname: str | None = None) -> IOpenSSLClientConnectionCreator:
    """Trusts exactly the server with this key.

    A refusal reaches the protocol's ``connectionLost`` as
    :class:`~porttunnel.errors.NotReachable`.

    :param pin: as :func:`porttunnel.net.certificate.spki_pin` writes it.
    :param hostname: asked for (SNI), since something before the server may go by it.
    :raises ConfigurationError: the pin is not written as one.
    """
    if not _PIN.fullmatch(pin):
        raise ConfigurationError(
            "the address has no complete pin: it begins with sha256- and 43 characters follow; "
            "copy the whole address"
        )
    return _PinnedConnections(base64.urlsafe_b64decode(pin.partition("-")[2] + "="), hostname)


def digest_context(digest: bytes, hostname: str | None = None) -> IOpenSSLClientConnectionCreator:
    """As :func:`pinned_context`, by the beginning of the key's digest.

    :param digest: of :func:`porttunnel.net.certificate.spki_digest` 16 bytes or more: a second
        key with the same takes 2^128 tries.
    """
    if len(digest) < MIN_DIGEST_BYTES:
        raise ValueError(f"of a key's digest {MIN_DIGEST_BYTES} bytes are needed at least")
    return _PinnedConnections(digest, hostname)


def tls_endpoint(
    reactor: Any, host_endpoint: IStreamClientEndpoint, hostname: str, pin: str | None
) -> IStreamClientEndpoint:
    """An endpoint that speaks TLS over another one.

    :param reactor: for the time.
    :param host_endpoint: leads to the server's port.
    :param hostname: whom to expect there.
    :param pin: the key to expect there, or None to trust what this machine trusts.
    :raises ConfigurationError: the pin is not written as one.
    """
    creator = client_context(hostname) if pin is None else pinned_context(pin, hostname)
    return wrapClientTLS(creator, host_endpoint, reactor)


def _select_protocol(_: SSL.Connection, offered: list[bytes]) -> Any:
    return ALPN_PROTOCOL if ALPN_PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS
