"""porttunnel.net.endpoints"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import (
    IListeningPort,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from zope.interface.verify import verifyObject

from porttunnel.errors import CutOff, LocalProtocolError, StreamCode, StreamRefused
from porttunnel.net.client import JoinedSession
from porttunnel.net.endpoints import PendingConnection
from porttunnel.net.master import SharedSession
from porttunnel.net.stream_transport import StreamAddress
from porttunnel.session import event
from porttunnel.session.packet import MASTER
from tests.conformance import End, factory_of
from tests.net.in_memory import InMemoryTestCase


class CountingFactory(Factory):
    """Knows whether it is in use, and refuses when it is told to."""

    noisy = False

    def __init__(self, *ends: End) -> None:
        self.ends = list(ends)
        self.asked: list[Any] = []
        self.running = 0

    def doStart(self) -> None:
        self.running += 1

    def doStop(self) -> None:
        self.running -= 1

    def buildProtocol(self, addr: Any) -> Any:
        self.asked.append(addr)
        return self.ends.pop(0) if self.ends else None


class EndpointTests(InMemoryTestCase):
    shared: SharedSession
    joined: JoinedSession

    def setUp(self) -> None:
        super().setUp()
        self.shared, self.joined = self.pair()

    def listen(self, factory: Factory) -> Any:
        return self.successResultOf(self.shared.listen("web").listen(factory))

    def connect(self, factory: Factory) -> defer.Deferred[Any]:
        opening = self.joined.endpoint("web").connect(factory)
        self.run_lines()
        return opening

    def assert_no_streams(self) -> None:
        self.run_lines()
        self.assertEqual((self.shared._handles, self.joined._handles), ({}, {}))

    def test_are_what_twisted_asks_for(self) -> None:
        port = self.listen(CountingFactory())
        self.assertTrue(verifyObject(IStreamServerEndpoint, self.shared.listen("files")))
        self.assertTrue(verifyObject(IStreamClientEndpoint, self.joined.endpoint("web")))
        self.assertTrue(verifyObject(IListeningPort, port))
        self.assertEqual(port.getHost(), StreamAddress(MASTER, "web"))

    def test_a_factory_is_asked_with_the_others_address(self) -> None:
        here, there = CountingFactory(End()), CountingFactory(End())
        self.listen(here)
        self.successResultOf(self.connect(there))
        self.assertEqual(here.asked, [StreamAddress(2, "web")])
        self.assertEqual(there.asked, [StreamAddress(MASTER, "web")])

    def test_a_factory_is_in_use_while_it_listens(self) -> None:
        factory = CountingFactory()
        port = self.listen(factory)
        self.assertEqual(factory.running, 1)
        for _ in range(2):
            self.successResultOf(port.stopListening())
            self.assertEqual(factory.running, 0)
        port.startListening()
        self.assertEqual(factory.running, 1)

    def test_one_listens_at_a_time(self) -> None:
        factory = CountingFactory()
        second = self.joined.listen("files")
        self.successResultOf(second.listen(CountingFactory()))
        self.failureResultOf(second.listen(factory), LocalProtocolError)
        self.assertEqual(factory.running, 0)

    def test_a_factory_that_can_not_start_is_in_nobodys_way(self) -> None:
        class Broken(Factory):
            def doStart(self) -> None:
                raise OSError("no folder for logs")

        service = self.joined.listen("files")
        self.failureResultOf(service.listen(Broken()), OSError)
        working = CountingFactory()
        self.successResultOf(service.listen(working))
        self.assertEqual(working.running, 1)

    def test_stopping_refuses_new_streams_and_keeps_the_old(self) -> None:
        server, client = End(), End()
        port = self.listen(CountingFactory(server))
        self.successResultOf(self.connect(factory_of(client)))
        self.successResultOf(port.stopListening())
        refused = self.failureResultOf(self.connect(factory_of(End())), StreamRefused).value
        self.assertIs(refused.code, StreamCode.UNKNOWN_SERVICE)
        client.transport.write(b"still here")
        self.run_lines()
        self.assertEqual(server.data, b"still here")

    def test_a_service_that_takes_nobody_now(self) -> None:
        self.listen(CountingFactory())
        refused = self.failureResultOf(self.connect(factory_of(End())), StreamRefused).value
        self.assertIs(refused.code, StreamCode.NOT_ALLOWED)
        self.assert_no_streams()

    def test_a_client_without_a_protocol(self) -> None:
        server = End()
        self.listen(factory_of(server))
        self.failureResultOf(self.connect(CountingFactory()), LocalProtocolError)
        self.assertTrue(server.lost)
        self.assert_no_streams()

    def test_a_cancelled_connection_is_taken_back(self) -> None:
        held: list[int] = []
        self.shared.add_acceptor("web", lambda member, stream: held.append(stream))
        opening = self.connect(factory_of(End()))
        self.assertEqual(len(held), 1)
        opening.cancel()
        self.run_lines()
        self.failureResultOf(opening, defer.CancelledError)
        self.assertEqual(self.joined._handles, {})
        self.assertFalse(self.shared.streams_with(2).may_accept(held[0]))

    def test_a_connection_that_waits_when_the_session_ends(self) -> None:
        self.shared.add_acceptor("web", lambda member, stream: None)
        opening = self.connect(factory_of(End()))
        self.assertNoResult(opening)
        self.joined.close()
        self.run_lines()
        self.failureResultOf(opening, CutOff)

    def test_a_stream_that_is_there_in_the_moment_of_the_sessions_end(self) -> None:
        server = End()
        server.on_made = lambda end: self.shared.close()
        self.successResultOf(self.shared.listen("web").listen(factory_of(server)))
        factory = CountingFactory(End())
        self.failureResultOf(self.connect(factory), CutOff)
        self.assertEqual(factory.asked, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_connection_that_is_cancelled_in_the_moment_of_the_sessions_end(self) -> None:
        openings: list[defer.Deferred[Any]] = []

        def cancel(session: JoinedSession, happened: Any) -> None:
            if isinstance(happened, event.SessionFinished):
                openings[0].cancel()

        shared = self.share()
        shared.add_acceptor("web", lambda member, stream: None)
        joined = self.join(shared, on_event=cancel)
        openings.append(joined.endpoint("web").connect(factory_of(End())))
        self.run_lines()
        shared.close()
        self.run_lines()
        self.failureResultOf(openings[0], defer.CancelledError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_connection_that_waits_and_is_reset(self) -> None:
        def accept(member: int, stream: int) -> None:
            self.shared.streams_with(member).reset(stream, StreamCode.INTERNAL)

        self.shared.add_acceptor("web", accept)
        refused = self.failureResultOf(self.connect(factory_of(End())), StreamRefused).value
        self.assertIs(refused.code, StreamCode.INTERNAL)
        self.assert_no_streams()

    def test_a_refusal_without_words_has_its_code(self) -> None:
        def accept(member: int, stream: int) -> None:
            self.shared.streams_with(member).refuse(stream, StreamCode.TIMED_OUT, "")

        self.shared.add_acceptor("web", accept)
        refused = self.failureResultOf(self.connect(factory_of(End())), StreamRefused).value
        self.assertEqual((str(refused), refused.code), ("timed-out", StreamCode.TIMED_OUT))

    def test_what_cannot_come_before_a_stream_is_there_changes_nothing(self) -> None:
        pending = PendingConnection(
            self.joined, factory_of(End()), StreamAddress(MASTER, "web"), 1
        )
        pending.stream_received(memoryview(b"x"))
        pending.stream_writable()
        pending.stream_ended()
        pending.stream_closed()
        self.assertNoResult(pending.connected)
