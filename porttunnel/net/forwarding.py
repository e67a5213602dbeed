"""Forwards whole services: offered ones to their targets, local ports to offered ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IAddress, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import PorttunnelError, StreamCode
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.failure_code import code_of_failure
from porttunnel.net.forward import Forwarder
from porttunnel.net.session import Session

__all__ = ["ForwardingFactory", "forward_to_target"]

CONNECT_SECONDS = 20.0  # for a target to answer; a person at a browser waits no longer
_log = Logger()

_TEXTS = {
    StreamCode.CONNECTION_REFUSED: "Nothing listens at the target of {service!r}; start it there.",
    StreamCode.TIMED_OUT: "The target of {service!r} does not answer; check it there.",
    StreamCode.UNREACHABLE: "The target of {service!r} can't be reached; check it there.",
    StreamCode.INTERNAL: "The connection to {service!r} failed; see the log there.",
}


@implementer(IProtocolFactory)
class _SocketFactory(Factory):
    """Makes the one protocol of a socket that is joined with a stream."""

    noisy = False

    def __init__(self, reactor: Any, forwarder: Forwarder) -> None:
        self._reactor = reactor
        self._forwarder = forwarder

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol whose carrier lends and is lent."""
        return CarrierProtocol(self._reactor, self._forwarder, self._forwarder)


def forward_to_target(
    session: Session, service: str, endpoint: str | IStreamClientEndpoint
) -> Callable[[int, int], None]:
    """An acceptor that connects each offered stream to a target of ours.

    :param session: the session that offers the service.
    :param service: its name.
    :param endpoint: where streams lead: a Twisted client endpoint or its string.
    """
    reactor = session.reactor
    target: IStreamClientEndpoint = (
        clientFromString(reactor, endpoint) if isinstance(endpoint, str) else endpoint
    )

    def accept(member: int, stream: int) -> None:
        forwarder = Forwarder(session, member, stream, accept=True)
        session.adopt(member, stream, forwarder)
        connecting = target.connect(_SocketFactory(reactor, forwarder))
        connecting.addTimeout(CONNECT_SECONDS, reactor)
        # Else who opens and breaks off, again and again, has us make any number of connections.
        forwarder.wait_for(connecting)

        def refuse(reason: Failure) -> None:
            if not forwarder.give_up():
                return
            code = code_of_failure(reason)
            if code is StreamCode.INTERNAL:
                _log.failure("target of {service}", reason, service=service)
            text = _TEXTS[code].format(service=service)
            session.streams_with(member).refuse(stream, code, text)
            session.release(member, stream)
            session.flush_soon()

        connecting.addErrback(refuse)

    return accept


@implementer(IProtocolFactory)
class ForwardingFactory(Factory):
    """For a local port: each connection becomes a stream to a member's service.

    :param session: the session.
    :param member: whose service; 1 is the master.
    :param service: its name.
    :param on_refused: called with the error when a stream was not opened.
    """

    noisy = False

    def __init__(
        self,
        session: Session,
        member: int,
        service: str,
        on_refused: Callable[[PorttunnelError], None],
    ) -> None:
        self._session = session
        self._member = member
        self._service = service
        self._on_refused = on_refused

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Open the stream; bytes flow once the other side has accepted it."""
        session, member = self._session, self._member

        def make(stream: int) -> Forwarder:
            return Forwarder(session, member, stream, accept=False, on_refused=self._on_refused)

        try:
            forwarder: Any = session.open_stream(member, self._service, make)
        except PorttunnelError as error:
            self._on_refused(error)
            return None
        return CarrierProtocol(session.reactor, forwarder, forwarder)
