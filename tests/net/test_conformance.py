"""One conformance, every kind of stream: TCP as the control, then what a session offers."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory

from porttunnel.errors import StreamReset
from porttunnel.net.carriers import protocol
from porttunnel.net.carriers.stock import StockCarrier
from porttunnel.net.carriers.tcp import TCPCarrier
from porttunnel.net.carriers.tls import TLSCarrier
from porttunnel.net.client import JoinedSession
from porttunnel.net.master import SharedSession
from porttunnel.net.offer import Offer
from tests.conformance import StreamConformance, Traits
from tests.net.on_loopback import LoopbackTestCase

SESSION_STREAM = Traits(aborted=StreamReset, lost_when_both_ended=True)
FORWARDED = Traits(one_connection=False, answers_early=True)


def local_endpoint(port: int) -> TCP4ClientEndpoint:
    return TCP4ClientEndpoint(reactor, "127.0.0.1", port)


class TCPTests(StreamConformance, LoopbackTestCase):
    """The control: what Twisted's own TCP does is what the tests ask for."""

    async def connect(self, server: Factory, client: Factory) -> None:
        await local_endpoint(await self.tunnel.listen(server)).connect(client)


class InASession(StreamConformance):
    """With a master and a client; the streams are the same session's."""

    link_carrier: type[Any] = TCPCarrier
    shared: SharedSession
    joined: JoinedSession

    async def setUp(self) -> None:
        await super().setUp()
        self.services = 0
        self.shared, self.joined = await self.pair(address=self.link_address())
        for session in (self.shared, self.joined):
            self.assertIsInstance(session.carrier, self.link_carrier)

    def link_address(self) -> str:
        return self.tunnel.address

    def new_service(self) -> str:
        """Each stream of a test has a protocol of its own, and so a service."""
        self.services += 1
        return f"service-{self.services}"

    async def tearDown(self) -> None:
        # Nothing of any stream is left in the session, whatever became of it.
        for session in (self.shared, self.joined):
            await session.when_streams_done()
            self.assertEqual(session._handles, {})


class ClientsStreamTests(InASession, LoopbackTestCase):
    """The client connects to a service of the master's."""

    traits = SESSION_STREAM

    async def connect(self, server: Factory, client: Factory) -> None:
        name = self.new_service()
        listening: IStreamServerEndpoint = self.shared.listen(name)
        await listening.listen(server)
        await self.joined.endpoint(name).connect(client)


class MastersStreamTests(InASession, LoopbackTestCase):
    """The master connects to a service of the client's."""

    traits = SESSION_STREAM

    async def connect(self, server: Factory, client: Factory) -> None:
        name = self.new_service()
        await self.joined.listen(name).listen(server)
        await self.shared.endpoint(self.joined.local_member, name).connect(client)


class StreamOverTLSTests(ClientsStreamTests):
    """The same on a link in TLS."""

    link_carrier: type[Any] = TLSCarrier

    def link_address(self) -> str:
        return self.tunnel.tls_address


class StreamOverStockTests(StreamOverTLSTests):
    """The same on a link whose transport can't be taken over."""

    link_carrier = StockCarrier

    async def setUp(self) -> None:
        self.patch(protocol, "can_take_over_tls", lambda *_: False)
        await super().setUp()


class ForwardedTests(InASession, LoopbackTestCase):
    """A local port of the client leads to a TCP service of the master's."""

    traits = FORWARDED

    async def connect(self, server: Factory, client: Factory) -> None:
        name = self.new_service()
        target = await self.tunnel.listen(server)
        self.shared.offer(Offer(name, "tcp", f"127.0.0.1:{target}"))
        port = await self.tunnel.forward(self.joined, name)
        await local_endpoint(port).connect(client)


class ForwardedOverTLSTests(ForwardedTests):
    """The same on a link in TLS."""

    link_carrier: type[Any] = TLSCarrier

    def link_address(self) -> str:
        return self.tunnel.tls_address


class ForwardedOverStockTests(ForwardedOverTLSTests):
    """The same on a link whose transport can't be taken over."""

    link_carrier = StockCarrier

    async def setUp(self) -> None:
        self.patch(protocol, "can_take_over_tls", lambda *_: False)
        await super().setUp()
