"""One port for all: the first bytes of a connection tell what it speaks.

``PT`` and the version are packets, 0x16 is TLS (inside it the first bytes tell once more), 0x10 is
MQTT, a letter is HTTP. Whatever else comes is not for us. A proxy says before that who its client
is. Source: docs/session-protocol, section 1; docs/gateway-protocol, section 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    INegotiated,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer, noLongerProvides

from porttunnel.errors import RemoteProtocolError
from porttunnel.net.counters import ServerCounters
from porttunnel.net.proxied_address import ProxiedClient, TrustedProxies, read_header
from porttunnel.net.server_address import is_loopback
from porttunnel.net.tls import ALPN_PROTOCOL
from porttunnel.session.limit import ConnectionLimiter, prefix_of

__all__ = ["Branch", "SharedPortFactory", "SharedPortProtocol", "branch_of"]

SNIFF_SECONDS = 15.0  # from the connection's beginning, however fast the first bytes drip
HANDSHAKE_SECONDS = 10.0  # TLS, a few round trips

_PACKET_PREFIX = b"PT\x01"
_TLS_HANDSHAKE = 0x16
_MQTT_CONNECT = 0x10
_NO_PROXIES = TrustedProxies()
# In front of what is logged of a connection. Twisted's own names the peer's address, and takes its
# place in memory for each.
_LOG_PREFIX = "shared port"


class Branch(Enum):
    """What a connection can turn out to speak."""

    PACKETS = "packets"
    TLS = "tls"
    HTTP = "http"
    """In TLS, within this machine, from a proxy; or anyhow, on a port without the next one."""
    PLAIN_HTTP = "http, and others on the way can read it"
    MQTT = "mqtt"
    """In TLS, or within this machine."""
    PLAIN_MQTT = "mqtt, and others on the way can read it"


def branch_of(first: bytes) -> Branch | None:
    """What these first bytes begin, or None if more of them are needed.

    :param first: at least one byte.
    :raises ValueError: nothing that is spoken here.
    """
    if first[0] == _TLS_HANDSHAKE:
        return Branch.TLS
    if first[0] == _MQTT_CONNECT:
        return Branch.MQTT
    beginning = first[: len(_PACKET_PREFIX)]
    if beginning == _PACKET_PREFIX:
        return Branch.PACKETS
    if _PACKET_PREFIX.startswith(beginning):
        return None
    # PUT and POST begin with the same letter, but no method with the same two.
    if beginning[:1].isalpha() and not beginning.startswith(b"PT"):
        return Branch.HTTP
    raise ValueError("these bytes begin nothing that this port speaks")


class _Place:
    """What one connection takes of what the limiter allows.

    :param limiter: allows it.
    :param counters: those that it refuses are counted here.
    """

    __slots__ = ("_counters", "_limiter", "_prefix", "_taken")

    def __init__(self, limiter: ConnectionLimiter, counters: ServerCounters) -> None:
        self._limiter = limiter
        self._counters = counters
        self._taken = False
        self._prefix: str | None = None

    def take(self, transport: Any, *, tells_peer_later: bool) -> bool:
        """Begin; False if the connection is refused.

        :param tells_peer_later: bytes come first that tell who the peer is. Until then the proxy
            would seem to be it, and all its clients would share one prefix.
        """
        prefix = None if tells_peer_later else _prefix_of_peer(transport)
        self._taken = self._limiter.connection_made(prefix)
        return self._note(prefix, self._taken)

    def receive(self, transport: Any) -> bool:
        """Bytes came, so the peer is known; False if the connection is refused now."""
        if self._prefix is not None:
            return True
        prefix = _prefix_of_peer(transport)
        return self._note(prefix, self._limiter.prefix_known(prefix))

    def leave(self) -> None:
        """The connection has ended."""
        if self._taken:
            self._limiter.connection_lost(self._prefix)

    def _note(self, prefix: str | None, allowed: bool) -> bool:
        if allowed:
            self._prefix = prefix
        else:
            self._counters.refused_connections += 1
        return allowed


@implementer(IHandshakeListener)
class SharedPortProtocol(Protocol):
    """Reads the first bytes of one connection, and passes it on.

    It stays between the transport and the protocol that it found, so that it sees the end of
    each connection that was counted. That costs a carrier nothing: it takes the socket over. Who
    turns HTTP into something else later calls :meth:`hand_over` on the transport's ``protocol``,
    or ``wrappedProtocol`` under TLS.

    :param reactor: for the deadlines.
    :param branches: who takes what.
    :param place: what it takes of the limits, or None if it doesn't count.
    :param proxies: who says first who its client is.
    """

    def __init__(
        self,
        reactor: Any,
        branches: Mapping[Branch, IProtocolFactory],
        place: _Place | None,
        proxies: TrustedProxies = _NO_PROXIES,
    ) -> None:
        self._reactor = reactor
        self._branches = branches
        self._place = place
        self._proxies = proxies
        self._awaits_header = False
        self._client: ProxiedClient | None = None
        self._first = b""
        self._found: IProtocol | None = None
        self._timer: Any = None

    def connectionMade(self) -> None:
        # Not in the factory, which doesn't see what is between us and the socket.
        transport: Any = self.transport
        if hasattr(transport, "logstr"):
            transport.logstr = _LOG_PREFIX
        self._awaits_header = self._proxies.trusts(transport.getPeer())
        later = self._awaits_header or _is_wrapped_for_proxy(transport)
        if self._place is not None and not self._place.take(transport, tells_peer_later=later):
            self._refuse()
            return
        inside_tls = INegotiated.providedBy(self.transport)
        if inside_tls:
            self._branches = {
                branch: factory
                for branch, factory in self._branches.items()
                if branch is not Branch.TLS
            }
        self._expect(HANDSHAKE_SECONDS if inside_tls else SNIFF_SECONDS)

    def handshakeCompleted(self) -> None:
        """TLS is there; the first bytes inside it may take their own time."""
        if self._found is None:
            self._expect(SNIFF_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        if self._found is not None:
            self._found.dataReceived(data)
            return
        self._first += data
        try:
            if self._awaits_header:
                self._read_header()
            if self._awaits_header or not self._first:
                return
            branch = branch_of(self._first)
        except RemoteProtocolError as error:
            self._proxies.blame(error)
            self._refuse()
            return
        except ValueError:
            self._refuse()
            return
        if self._place is not None and not self._place.receive(self.transport):
            self._refuse()
            return
        if branch is Branch.MQTT and not self._is_private():
            branch = Branch.PLAIN_MQTT
        elif branch is Branch.HTTP and self._is_plain_http():
            branch = Branch.PLAIN_HTTP
        if branch is not None:
            self._pass_on(self._branches.get(branch))

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``, which is provided when the protocol found does."""
        half_closeable: Any = self._found
        half_closeable.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """See above."""
        half_closeable: Any = self._found
        half_closeable.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_expecting()
        if self._place is not None:
            self._place.leave()
        found, self._found = self._found, None
        if found is not None:
            found.connectionLost(reason)

    def hand_over(self, protocol: IProtocol, first: bytes) -> None:
        """From now on the connection is the protocol's.

        :param first: bytes that were read already, for it to begin with.
        """
        transport: Any = self.transport
        self._stop_expecting()
        self._found = protocol
        noLongerProvides(self, IHalfCloseableProtocol)
        if IHalfCloseableProtocol.providedBy(protocol):
            alsoProvides(self, IHalfCloseableProtocol)
        protocol.makeConnection(transport)
        protocol.dataReceived(first)

    def _read_header(self) -> None:
        """Look for the proxy's header, and take it for the truth.

        :raises RemoteProtocolError: there is none.
        """
        read = read_header(self._first)
        if read is None:
            return
        self._awaits_header = False
        self._client, count = read
        self._first = self._first[count:]
        client = self._client.address
        if client is not None:
            # Whoever takes the connection, or its socket, shall learn of the client from it. A
            # wrapper would do as well, and keep the socket from being taken over.
            transport: Any = self.transport
            transport.getPeer = lambda: client

    def _is_plain_http(self) -> bool:
        if Branch.PLAIN_HTTP not in self._branches or self._is_private():
            return False
        # Few proxies can say that their client came in TLS; those that are trusted with who it is
        # are trusted to demand it.
        return self._client is None

    def _is_private(self) -> bool:
        """Whether nobody on the way to this machine can read along."""
        transport: Any = self.transport
        if INegotiated.providedBy(transport) or ISSLTransport.providedBy(transport):
            return True
        if self._client is not None:
            return self._client.used_tls
        # Of a UNIX socket's peer no host is known.
        host = getattr(transport.getPeer(), "host", "")
        return not host or is_loopback(host) or is_loopback(prefix_of(host))

    def _pass_on(self, factory: IProtocolFactory | None) -> None:
        transport: Any = self.transport
        protocol = None if factory is None else factory.buildProtocol(transport.getPeer())
        if protocol is None:
            self._refuse()
            return
        first, self._first = self._first, b""
        self.hand_over(protocol, first)

    def _refuse(self) -> None:
        self._stop_expecting()
        transport: Any = self.transport
        transport.abortConnection()

    def _expect(self, seconds: float) -> None:
        self._stop_expecting()
        self._timer = self._reactor.callLater(seconds, self._refuse)

    def _stop_expecting(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


@implementer(IProtocolNegotiationFactory)
class _SniffingFactory(Factory):
    """Sniffs without counting: inside TLS the connection is counted already."""

    noisy = False

    def __init__(self, reactor: Any, branches: Mapping[Branch, IProtocolFactory]) -> None:
        self._reactor = reactor
        self._branches = dict(branches)

    def acceptableProtocols(self) -> list[bytes]:
        """For ALPN: every client that names protocols names this one."""
        return [ALPN_PROTOCOL]

    def buildProtocol(self, addr: IAddress | None) -> SharedPortProtocol | None:
        return SharedPortProtocol(self._reactor, self._branches, None)


class SharedPortFactory(_SniffingFactory):
    """Takes the connections of a port that speaks several protocols; for any stream endpoint.

    :param reactor: for the deadlines.
    :param branches: who takes what; may hold no TLS, which is made here.
    :param tls: what TLS clients are shown, or None for a port without TLS.
    :param limiter: how many connections there may be, in all and from one place.
    :param counters: those above it are counted here.
    :param proxies: whose connections have to begin with a PROXY header; nobody else's may.
    """

    def __init__(
        self,
        reactor: Any,
        branches: Mapping[Branch, IProtocolFactory],
        *,
        tls: IOpenSSLServerConnectionCreator | None,
        limiter: ConnectionLimiter,
        counters: ServerCounters,
        proxies: TrustedProxies = _NO_PROXIES,
    ) -> None:
        super().__init__(reactor, branches)
        self._proxies = proxies
        self._parts = list(self._branches.values())
        self._limiter = limiter
        self._counters = counters
        if tls is not None:
            inside = _SniffingFactory(reactor, branches)
            self._branches[Branch.TLS] = TLSMemoryBIOFactory(tls, False, inside, reactor)

    def startFactory(self) -> None:
        for part in self._parts:
            part.doStart()

    def stopFactory(self) -> None:
        for part in self._parts:
            part.doStop()

    def buildProtocol(self, addr: IAddress | None) -> SharedPortProtocol | None:
        place = _Place(self._limiter, self._counters)
        return SharedPortProtocol(self._reactor, self._branches, place, self._proxies)


def _is_wrapped_for_proxy(transport: Any) -> bool:
    """Whether it is one of `haproxy:`, which learns of the client from the first bytes."""
    while isinstance(transport, TLSMemoryBIOProtocol):
        transport = transport.transport
    return isinstance(transport, ProtocolWrapper)


def _prefix_of_peer(transport: Any) -> str:
    return prefix_of(getattr(transport.getPeer(), "host", ""))
