"""Direct paths between members of one network: the master listens, a client dials.

Source: docs/session-protocol, section 7. All of it is an attempt beside the tunnel server: what
does not work is not an error of the session, and nobody is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from porttunnel.errors import NotReachable, PorttunnelError
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.link_connection import connect_link
from porttunnel.net.local_address import local_addresses
from porttunnel.net.reconnect import Reconnector
from porttunnel.session import direct_address
from porttunnel.session.direct import AcceptedPath, DialledPath, DirectPath
from porttunnel.session.event import PathKind
from porttunnel.session.record import DirectAddress

__all__ = ["DirectDialler", "DirectListener"]

DIRECT_PORT = 4663  # the port of the tunnel server's protocol, which may be open on a LAN
CONNECT_SECONDS = 3.0  # within one network that is long
OFFER_SECONDS = 3.0  # between offers that are tried: a master must not make its clients knock
MAX_UNPROVEN = 16  # connections of strangers; more are closed at once

_REASON = "both are on one network ({host})"
_log = Logger()


class DirectSession(Protocol):
    """What is needed of a session."""

    @property
    def reactor(self) -> Any:
        """Runs it."""

    def run_direct(self, path: DirectPath) -> CarrierProtocol:
        """The protocol of a connection."""


class _AcceptingFactory(Factory):
    noisy = False

    def __init__(self, session: DirectSession, accept: Callable[[str], AcceptedPath]) -> None:
        self._session = session
        self._accept = accept
        self._unproven: set[AcceptedPath] = set()

    def buildProtocol(self, addr: IAddress | None) -> CarrierProtocol | None:
        self._unproven = {path for path in self._unproven if not path.closed and not path.peer}
        if len(self._unproven) >= MAX_UNPROVEN:
            return None
        host = getattr(addr, "host", "").removeprefix("::ffff:")
        # The port is open on every interface, the one to the internet too.
        if not direct_address.may_connect(host, DIRECT_PORT):
            return None
        path = self._accept(_REASON.format(host=host))
        self._unproven.add(path)
        return self._session.run_direct(path)


class DirectListener:
    """The master's: a port of this machine, while the session lasts.

    :param session: the session.
    :param accept: makes the machine of a connection; called with the reason for people.
    :param find_addresses: this machine's addresses that may be offered, with the port given.
    """

    def __init__(
        self,
        session: DirectSession,
        accept: Callable[[str], AcceptedPath],
        find_addresses: Callable[[int], list[DirectAddress]] = local_addresses,
    ) -> None:
        self._session = session
        self._factory = _AcceptingFactory(session, accept)
        self._find_addresses = find_addresses
        self._ports: list[IListeningPort] = []

    def begin(self) -> None:
        """Listen, unless this machine has no address that may be offered, or listens already."""
        if self._ports or not self._find_addresses(DIRECT_PORT):
            return
        for port in (DIRECT_PORT, 0):
            if self._listen(port):
                return
        _log.info("no port for direct connections is free; all goes by the tunnel server")

    @property
    def addresses(self) -> list[DirectAddress]:
        """What to offer now; it changes with the networks that this machine is in."""
        if not self._ports:
            return []
        host: Any = self._ports[0].getHost()
        return self._find_addresses(host.port)

    def stop(self) -> None:
        """Take no more connections."""
        ports, self._ports = self._ports, []
        for port in ports:
            port.stopListening()

    def _listen(self, port: int) -> bool:
        reactor = self._session.reactor
        for interface in ("::", ""):  # all of IPv6, all of IPv4
            try:
                listening = reactor.listenTCP(port, self._factory, interface=interface)
            except CannotListenError:
                # No IPv6 here; or "::" took the IPv4 addresses too, as on Linux.
                continue
            self._ports.append(listening)
            port = listening.getHost().port
        return bool(self._ports)


class DirectDialler:
    """The client's: tries what the master offers, and again what has worked.

    :param session: the session.
    :param dial: makes the machine of a connection; called with the reason for people.
    """

    def __init__(self, session: DirectSession, dial: Callable[[str], DialledPath]) -> None:
        self._session = session
        self._dial = dial
        self._offered: Sequence[DirectAddress] = ()
        self._worked: DirectAddress | None = None
        self._trying: Deferred[None] | None = None
        self._again = Reconnector(session.reactor, self._try_again)
        self._not_before = 0.0
        self._later: IDelayedCall | None = None

    def offer(self, addresses: Sequence[DirectAddress]) -> None:
        """The master can be reached here, perhaps; none: nowhere any more."""
        self.stop()
        self._offered = addresses
        self._worked = None
        wait_seconds = self._not_before - self._session.reactor.seconds()
        if addresses and wait_seconds > 0:
            self._later = self._session.reactor.callLater(wait_seconds, self.begin)
        else:
            self.begin()

    def begin(self) -> None:
        """Try all that is offered once: it is new, or the network may be another one."""
        self.stop()
        if self._offered:
            self._not_before = self._session.reactor.seconds() + OFFER_SECONDS
            self._trying = Deferred.fromCoroutine(self._try(self._offered))
            self._trying.addErrback(self._failed)

    def lost(self) -> None:
        """The direct path is gone; if its address is still there, it comes back."""
        if self._worked is not None:
            self._again.begin()

    def stop(self) -> None:
        """Try no more."""
        self._again.stop()
        if self._later is not None and self._later.active():
            self._later.cancel()
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()

    def _failed(self, failure: Any) -> None:
        if failure.trap(CancelledError, NotReachable) is NotReachable:
            _log.debug("no direct connection: {reason}", reason=failure.value)
            self.lost()

    async def _try_again(self) -> None:
        if self._worked is not None:
            await self._try((self._worked,))

    async def _try(self, addresses: Sequence[DirectAddress]) -> None:
        """Try one after the other until one is proven to be the master.

        :raises NotReachable: none is.
        """
        for address in addresses:
            if await self._try_one(address):
                self._worked = address
                self._again.succeed()
                return
        raise NotReachable("no direct connection could be made")

    async def _try_one(self, address: DirectAddress) -> bool:
        try:
            path = self._dial(_REASON.format(host=address.host))
        except PorttunnelError:
            return False  # the session has ended meanwhile
        proven: Deferred[bool] = Deferred()
        endpoint = HostnameEndpoint(
            self._session.reactor, address.host, address.port, timeout=CONNECT_SECONDS
        )
        protocol = self._session.run_direct(path)
        close = path.on_closed

        def closed() -> None:
            close()
            if not proven.called:
                proven.callback(False)
            elif path.peer is not None and path.peer.path_kind is not PathKind.DIRECT:
                self.lost()  # before it was used, so nothing else tells of it

        path.on_closed = closed
        path.on_proven = lambda: proven.callback(True)
        try:
            await connect_link(lambda: protocol, endpoint)
            return await proven
        except NotReachable as error:
            reason = error.__cause__
            _log.debug("{host} can't be reached: {reason}", host=address.host, reason=reason)
            path.close()
            return False
        except CancelledError:
            path.close()
            raise
