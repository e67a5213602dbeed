"""porttunnel.net.forwarding"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionRefusedError as TwistedConnectionRefused
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from porttunnel.errors import CutOff, PorttunnelError, StreamCode, StreamRefused
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.client import JoinedSession
from porttunnel.net.forwarding import CONNECT_SECONDS, ForwardingFactory, forward_to_target
from porttunnel.net.master import SharedSession
from porttunnel.session.packet import MASTER
from tests.conformance import End, factory_of
from tests.net.in_memory import InMemoryTestCase, MemoryEndpoint
from tests.net.on_loopback import LoopbackTestCase


@implementer(IStreamClientEndpoint)
class SlowEndpoint:
    """Connects when the test says so."""

    def __init__(self) -> None:
        self.attempts: list[defer.Deferred[Any]] = []
        self.cancelled = 0
        self.made_of_it: Exception | None = None

    def connect(self, protocolFactory: Any) -> defer.Deferred[Any]:
        attempt: defer.Deferred[Any] = defer.Deferred(self.cancel)
        self.attempts.append(attempt)
        return attempt

    def cancel(self, attempt: defer.Deferred[Any]) -> None:
        self.cancelled += 1
        if self.made_of_it is not None:
            attempt.errback(self.made_of_it)


class TargetTests(InMemoryTestCase):
    shared: SharedSession
    joined: JoinedSession

    def setUp(self) -> None:
        super().setUp()
        self.shared, self.joined = self.pair()

    def offer(self, endpoint: Any) -> None:
        self.shared.add_acceptor("web", forward_to_target(self.shared, "web", endpoint))

    def connect(self, end: End | None = None) -> defer.Deferred[Any]:
        opening = self.joined.endpoint("web").connect(factory_of(end or End()))
        self.run_lines()
        return opening

    def refusal(self, opening: defer.Deferred[Any]) -> StreamRefused:
        refused = self.failureResultOf(opening, StreamRefused).value
        assert isinstance(refused, StreamRefused)
        self.assertIn("'web'", str(refused))
        self.assertEqual((self.shared._handles, self.joined._handles), ({}, {}))
        return refused

    def test_connects_each_stream_to_the_target(self) -> None:
        target = End()
        endpoint = MemoryEndpoint(self.clock, factory_of(target))
        endpoint.pumps = self.endpoint.pumps
        self.offer(endpoint)
        client = End()
        self.successResultOf(self.connect(client))
        client.transport.write(b"there")
        target.transport.write(b"back")
        self.run_lines()
        self.assertEqual((target.data, client.data), (b"there", b"back"))

    def test_says_why_a_target_is_not_there(self) -> None:
        endpoint = MemoryEndpoint(self.clock, factory_of(End()))
        self.offer(endpoint)
        for failure, code, words in (
            (TwistedConnectionRefused(), StreamCode.CONNECTION_REFUSED, "Nothing listens"),
            (DNSLookupError(), StreamCode.UNREACHABLE, "can't be reached"),
        ):
            endpoint.failure = failure
            refused = self.refusal(self.connect())
            self.assertIs(refused.code, code)
            self.assertIn(words, str(refused))

    def test_tells_nothing_of_a_fault_of_its_own(self) -> None:
        endpoint = MemoryEndpoint(self.clock, factory_of(End()))
        endpoint.failure = ZeroDivisionError("where it was")
        self.offer(endpoint)
        refused = self.refusal(self.connect())
        self.assertIs(refused.code, StreamCode.INTERNAL)
        self.assertNotIn("where it was", str(refused))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_gives_a_target_its_time_and_no_more(self) -> None:
        endpoint = SlowEndpoint()
        self.offer(endpoint)
        opening = self.connect()
        self.pass_time(CONNECT_SECONDS - 1.0)
        self.assertNoResult(opening)
        self.pass_time(1.0)
        refused = self.refusal(opening)
        self.assertIs(refused.code, StreamCode.TIMED_OUT)
        self.assertIn("does not answer", str(refused))
        self.assertEqual(endpoint.cancelled, 1)

    def test_who_goes_meanwhile_is_connected_and_refused_nothing(self) -> None:
        endpoint = SlowEndpoint()
        self.offer(endpoint)
        for count, leave in enumerate(("cancel", "close"), 1):
            opening = self.connect()
            self.assertEqual(endpoint.cancelled, count - 1)
            if leave == "cancel":
                opening.cancel()
            else:
                self.joined.close()
            self.run_lines()
            self.failureResultOf(opening, defer.CancelledError, CutOff)
            self.assertEqual((len(endpoint.attempts), endpoint.cancelled), (count, count))
            self.assertEqual(self.shared._handles, {})
        self.assertNoResult(self.shared.when_done())

    def test_what_an_endpoint_makes_of_being_given_up_is_nobodys_business(self) -> None:
        endpoint = SlowEndpoint()
        self.offer(endpoint)
        for error in (TwistedConnectionRefused(), ZeroDivisionError()):
            endpoint.made_of_it = error
            opening = self.connect()
            opening.cancel()
            self.run_lines()
            self.failureResultOf(opening, defer.CancelledError)
            self.assertEqual(self.shared._handles, {})
        self.assertEqual(endpoint.cancelled, 2)

    def test_a_member_that_left_opens_nothing(self) -> None:
        refused: list[PorttunnelError] = []
        factory = ForwardingFactory(self.joined, MASTER, "web", refused.append)
        self.assertIsInstance(factory.buildProtocol(None), CarrierProtocol)
        self.joined.close()
        self.run_lines()
        refused.clear()
        self.assertIsNone(factory.buildProtocol(None))
        self.assertIsInstance(refused[0], CutOff)


class LoopbackTests(LoopbackTestCase):
    async def test_a_target_that_is_down_resets_the_local_program_and_tells_the_user(
        self,
    ) -> None:
        closed = await self.tunnel.listen(factory_of(End()))
        await self.tunnel._ports[-1].stopListening()
        _shared, joined = await self.pair(f"web={closed}")
        refused: defer.Deferred[PorttunnelError] = defer.Deferred()
        port = await self.tunnel.forward(joined, "web", refused.callback)
        client = End()
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory_of(client))
        client.transport.write(b"anybody there?")
        error = await refused
        assert isinstance(error, StreamRefused)
        self.assertIs(error.code, StreamCode.CONNECTION_REFUSED)
        await client.until_lost()
        self.assertEqual(client.data, b"")
