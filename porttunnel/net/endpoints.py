"""Streams as Twisted endpoints: listen for a service, connect to one."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import LocalProtocolError, PorttunnelError, StreamCode, StreamRefused
from porttunnel.net.session import Acceptor, Session
from porttunnel.net.stream_transport import StreamAddress, StreamTransport

__all__ = ["SessionListeningPort", "StreamClientEndpoint", "StreamServerEndpoint"]

_log = Logger()


@implementer(IStreamServerEndpoint)
class StreamServerEndpoint:
    """Streams that members open to one of our services.

    :param session: a shared session, or a joined one that offers something.
    :param service: its name.
    """

    def __init__(self, session: Session, service: str) -> None:
        self._session = session
        self._service = service

    def listen(self, factory: IProtocolFactory) -> defer.Deferred[IListeningPort]:
        """As ``IStreamServerEndpoint.listen``; fails if somebody listens already."""
        port = SessionListeningPort(self._session, self._service, factory)
        return defer.maybeDeferred(port.begin)


@implementer(IListeningPort)
class SessionListeningPort:
    """A service that is listened to.

    :param session: the session.
    :param service: its name.
    :param factory: makes a protocol for each stream.
    """

    def __init__(self, session: Session, service: str, factory: IProtocolFactory) -> None:
        self._session = session
        self._service = service
        self._factory = factory
        self._listening = False

    def begin(self) -> IListeningPort:
        """Take streams from now on."""
        self.startListening()
        return self

    def startListening(self) -> None:
        """As ``IListeningPort.startListening``."""
        acceptor = serve_streams(self._session, self._service, self._factory)
        # A factory that can't start leaves the service free for the next attempt.
        self._factory.doStart()
        try:
            self._session.add_acceptor(self._service, acceptor)
        except LocalProtocolError:
            self._factory.doStop()
            raise
        self._listening = True

    def stopListening(self) -> defer.Deferred[None]:
        """Refuse new streams; those that are open go on."""
        if self._listening:
            self._listening = False
            self._session.remove_acceptor(self._service)
            self._factory.doStop()
        return defer.succeed(None)

    def getHost(self) -> StreamAddress:
        """Our member and the service."""
        return StreamAddress(self._session.local_member, self._service)


@implementer(IStreamClientEndpoint)
class StreamClientEndpoint:
    """Streams that we open to a service of another member.

    :param session: the session.
    :param member: whose service; 1 is the master.
    :param service: its name.
    """

    def __init__(self, session: Session, member: int, service: str) -> None:
        self._session = session
        self._member = member
        self._service = service

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        """As ``IStreamClientEndpoint.connect``.

        Fails with :class:`~porttunnel.errors.StreamRefused` (its ``code`` tells why) when the
        other side does not open it, or with the session's own error.
        """
        return defer.maybeDeferred(self._open, protocolFactory)

    def _open(self, factory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        peer = StreamAddress(self._member, self._service)
        pending: Any = self._session.open_stream(
            self._member,
            self._service,
            lambda stream: PendingConnection(self._session, factory, peer, stream),
        )
        connected: defer.Deferred[IProtocol] = pending.connected
        return connected


def serve_streams(session: Session, service: str, factory: IProtocolFactory) -> Acceptor:
    """An acceptor that gives each offered stream a protocol of ``factory``."""

    def accept(member: int, stream: int) -> None:
        streams = session.streams_with(member)
        peer = StreamAddress(member, service)
        protocol: IProtocol | None = None
        try:
            protocol = factory.buildProtocol(peer)
        except Exception:
            # The service's own fault, which must not take the session with it.
            _log.failure("the factory of {service} failed", service=service)
        if protocol is None:
            streams.refuse(stream, StreamCode.NOT_ALLOWED, "The service takes nobody now.")
            return
        transport = StreamTransport(
            session.reactor,
            session,
            peer=peer,
            host=StreamAddress(session.local_member, service),
            stream=stream,
        )
        session.adopt(member, stream, transport)
        streams.accept(stream)
        transport.attach(protocol)

    return accept


class PendingConnection:
    """The client's end of a stream until it is accepted; then the transport takes over.

    :param session: the session.
    :param factory: makes the protocol.
    :param peer: where the stream leads.
    :param stream: its id.
    """

    def __init__(
        self, session: Session, factory: IProtocolFactory, peer: StreamAddress, stream: int
    ) -> None:
        self._session = session
        self._factory = factory
        self._peer = peer
        self._stream = stream
        self._streams = session.streams_with(peer.member)
        self.connected: defer.Deferred[IProtocol] = defer.Deferred(self._cancel)

    def _cancel(self, _deferred: defer.Deferred[IProtocol]) -> None:
        self._streams.reset(self._stream, StreamCode.ABORTED)
        self._session.release(self._peer.member, self._stream)
        self._session.flush_soon()

    def stream_accepted(self) -> None:
        """Make the protocol and hand over."""
        session, member = self._session, self._peer.member
        try:
            session.streams_with(member)
        except LocalProtocolError:
            return  # it left in the same moment, which is told next
        protocol: IProtocol | None = None
        error = Failure(LocalProtocolError("the factory made no protocol"))
        try:
            protocol = self._factory.buildProtocol(self._peer)
        except Exception:
            error = Failure()  # whose fault it is hears of it
        if protocol is None:
            self._streams.reset(self._stream, StreamCode.ABORTED)
            session.release(member, self._stream)
            self.connected.errback(error)
            return
        transport = StreamTransport(
            session.reactor,
            session,
            peer=self._peer,
            host=StreamAddress(session.local_member, self._peer.service),
            stream=self._stream,
        )
        session.adopt(member, self._stream, transport)
        transport.attach(protocol)
        self.connected.callback(protocol)

    def stream_refused(self, code: StreamCode, text: str) -> None:
        """Fail, typed."""
        self.connected.errback(StreamRefused(text or code.value, code))

    def stream_lost(self, error: PorttunnelError) -> None:
        """Fail: the session ended."""
        self.connected.errback(error)

    def stream_reset(self, code: StreamCode) -> None:
        """Fail: the other side took it back."""
        self.connected.errback(StreamRefused("The other side broke off. Try again.", code))

    def stream_received(self, data: memoryview) -> None:
        """Can't come before the stream was accepted: the core sees to that."""

    def stream_writable(self) -> None:
        """Nothing was written yet."""

    def stream_ended(self) -> None:
        """Can't come before the stream was accepted: the core sees to that."""

    def stream_closed(self) -> None:
        """Can't come before the stream was accepted: the core sees to that."""
