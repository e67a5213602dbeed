"""porttunnel.net.session"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from porttunnel.errors import (
    CutOff,
    LocalProtocolError,
    NotReachable,
    StreamCode,
    StreamRefused,
)
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.master import SharedSession, share
from porttunnel.session import event
from porttunnel.session.packet import MASTER
from tests.conformance import End, factory_of
from tests.net.in_memory import InMemoryTestCase, MemoryEndpoint


class SessionTests(InMemoryTestCase):
    def open(
        self, service: str = "web", server: End | None = None, client: End | None = None
    ) -> tuple[SharedSession, Any, End, End]:
        """A session with a stream."""
        shared, joined = self.pair()
        server, client = server or End(), client or End()
        self.successResultOf(shared.listen(service).listen(factory_of(server)))
        opening = joined.endpoint(service).connect(factory_of(client))
        self.run_lines()
        self.assertIs(self.successResultOf(opening), client)
        return shared, joined, server, client

    def test_who_is_told_while_others_wait_hears_what_comes_of_it_behind_them(self) -> None:
        told: list[int] = []

        def note(happened: Any) -> None:
            if isinstance(happened, event.MemberAway):
                told.append(happened.member)
            if told == [7]:
                # As the connection of a direct path would.
                shared._machine._events.append(event.MemberAway(9))
                shared._report_direct()

        shared = self.share(on_event=note)
        shared._machine._events.extend([event.MemberAway(7), event.MemberAway(8)])
        shared.flush()
        self.assertEqual(told, [7, 8, 9])

    # Streams and services

    def test_a_stream_goes_to_who_listens(self) -> None:
        _shared, _joined, server, client = self.open()
        client.transport.write(b"there")
        server.transport.write(b"back")
        self.run_lines()
        self.assertEqual((server.data, client.data), (b"there", b"back"))

    def test_a_service_that_nobody_offers(self) -> None:
        shared, joined = self.pair()
        opening = joined.endpoint("wiki").connect(factory_of(End()))
        self.run_lines()
        refused = self.failureResultOf(opening, StreamRefused).value
        self.assertIs(refused.code, StreamCode.UNKNOWN_SERVICE)
        self.assertIn("ask what is shared", str(refused))
        self.assertEqual((shared._handles, joined._handles), ({}, {}))

    def test_a_service_has_one_acceptor(self) -> None:
        shared = self.share()
        shared.add_acceptor("web", lambda member, stream: None)
        with self.assertRaisesRegex(LocalProtocolError, "listened to already"):
            shared.add_acceptor("web", lambda member, stream: None)
        shared.remove_acceptor("web")
        shared.remove_acceptor("web")
        shared.add_acceptor("web", lambda member, stream: None)

    def test_a_stream_that_is_taken_back_at_once_is_not_offered(self) -> None:
        shared, joined = self.pair()
        asked: list[Any] = []
        shared.add_acceptor("web", lambda member, stream: asked.append(stream))
        opening = joined.endpoint("web").connect(factory_of(End()))
        opening.cancel()
        self.run_lines()
        self.failureResultOf(opening, defer.CancelledError)
        self.assertEqual((asked, shared._handles, joined._handles), ([], {}, {}))
        self.assertTrue(joined.carrier is not None)

    def test_a_stream_of_who_leaves_in_the_same_moment_is_not_offered(self) -> None:
        shared, joined = self.pair()
        asked: list[Any] = []
        shared.add_acceptor("web", lambda member, stream: asked.append(stream))
        opening = joined.endpoint("web").connect(factory_of(End()))
        joined.close()
        self.run_lines()
        self.failureResultOf(opening, CutOff)
        self.assertEqual(asked, [])
        self.assertEqual(len(self.happened(event.MemberLeft)), 1)
        self.assertNoResult(shared.when_done())

    def test_streams_of_a_member_that_leaves_are_lost(self) -> None:
        shared, joined, server, client = self.open()
        streams_done = shared.when_streams_done()
        joined.close()
        self.run_lines()
        for end in (server, client):
            assert end.reason is not None
            self.assertIs(end.reason.type, CutOff)
        self.successResultOf(streams_done)
        self.assertNoResult(shared.when_done())

    def test_opens_nothing_when_it_is_over(self) -> None:
        shared, joined = self.pair()
        joined.close()
        self.run_lines()
        self.failureResultOf(joined.endpoint("web").connect(factory_of(End())), CutOff)
        self.failureResultOf(
            shared.endpoint(2, "web").connect(factory_of(End())), LocalProtocolError
        )

    def test_opens_nothing_after_an_error_and_says_which(self) -> None:
        joined = self.join(self.share(), give_up_seconds=5.0)
        done = joined.when_done()
        self.endpoint.failure = ConnectError()
        self.cut(1)
        self.pass_time(6.0)
        self.failureResultOf(done, CutOff)
        self.failureResultOf(joined.when_done(), CutOff)
        refused = self.failureResultOf(joined.endpoint("web").connect(factory_of(End())), CutOff)
        self.assertIn("could not be reached again", str(refused.value))

    # Faults of protocols stay theirs

    def test_a_protocol_that_fails_loses_its_stream_only(self) -> None:
        for call in ("on_made", "on_data"):
            server = End()

            def fail(end: End) -> None:
                raise ZeroDivisionError

            setattr(server, call, fail)
            _shared, joined, _, client = self.open(server=server)
            client.transport.write(b"x")
            self.run_lines()
            assert server.reason is not None
            self.assertIs(server.reason.type, ZeroDivisionError)
            self.assertTrue(client.lost)
            self.assertNoResult(joined.when_done())
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_factory_that_fails_refuses_its_stream_only(self) -> None:
        class Broken(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Protocol:
                raise ZeroDivisionError

        shared, joined = self.pair()
        self.successResultOf(shared.listen("web").listen(Broken()))
        opening = joined.endpoint("web").connect(factory_of(End()))
        self.run_lines()
        self.failureResultOf(opening, StreamRefused)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(joined.listen("files").listen(factory_of(End())))
        opening = shared.endpoint(joined.local_member, "files").connect(Broken())
        self.run_lines()
        self.failureResultOf(opening, ZeroDivisionError)
        self.assertEqual((shared._handles, joined._handles), ({}, {}))
        self.assertNoResult(joined.when_done())

    # Faults of programs stay theirs

    def test_what_is_told_in_vain_holds_up_nothing(self) -> None:
        told: list[type[Any]] = []

        def fail(happened: Any) -> None:
            told.append(type(happened))
            raise ZeroDivisionError

        shared = self.share(on_event=fail)
        joined = self.join(shared, on_event=lambda session, happened: fail(happened))
        self.assertIn(event.MemberJoined, told)
        self.assertEqual(told[-1], event.Welcomed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), len(told))
        told.clear()
        done = [shared.when_done(), joined.when_done(), shared.close()]
        self.run_lines()
        for deferred in done:
            self.successResultOf(deferred)
        self.assertEqual(told, [event.SessionFinished] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_a_listener_that_fails_holds_up_nothing(self) -> None:
        class Broken:
            def __getattr__(self, name: str) -> Any:
                raise ZeroDivisionError

        shared, joined = self.pair()
        joined.on_broadcast(Broken())  # type: ignore[arg-type]  # it is broken
        writer = shared.broadcast()
        writer.write(b"to all")
        self.pass_time(1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(shared.listen("web").listen(factory_of(End())))
        opening = joined.endpoint("web").connect(factory_of(End()))
        self.run_lines()
        self.successResultOf(opening)

    # Ends

    def test_is_done_when_closed_on_purpose(self) -> None:
        shared, joined = self.pair()
        shared_done, joined_done = shared.when_done(), joined.when_done()
        closing = shared.close("enough")
        self.run_lines()
        for done in (closing, shared_done, joined_done, shared.when_done(), joined.when_done()):
            self.successResultOf(done)
        self.assertEqual(
            [finished.reason for finished in self.happened(event.SessionFinished)],
            ["enough", "enough"],
        )
        self.pass_time(60.0)
        self.assertEqual((shared.carrier, joined.carrier), (None, None))

    def test_waits_for_streams(self) -> None:
        shared, joined, server, client = self.open()
        self.successResultOf(self.share().when_streams_done())
        shared_done, joined_done = shared.when_streams_done(), joined.when_streams_done()
        client.transport.loseConnection()
        self.assertNoResult(joined_done)
        self.run_lines()
        self.successResultOf(shared_done)
        self.successResultOf(joined_done)
        self.assertTrue(server.lost and client.lost)

    def test_a_receiver_that_waits_for_the_end_knows_why(self) -> None:
        order: list[str] = []
        shared = self.share(on_event=lambda happened: order.append(type(happened).__name__))
        shared.when_done().addCallback(lambda _: order.append("done"))
        shared.close()
        self.run_lines()
        self.assertEqual(order[-2:], ["SessionFinished", "done"])

    def test_streams_are_known_by_member(self) -> None:
        shared, joined = self.pair()
        second = self.join(shared)
        ends = {}
        for session in (joined, second):
            self.successResultOf(session.listen("files").listen(factory_of(End())))
            end = ends[session.local_member] = End()
            opening = shared.endpoint(session.local_member, "files").connect(factory_of(end))
            self.run_lines()
            self.successResultOf(opening)
        second.close()
        self.run_lines()
        self.assertEqual([ends[2].lost, ends[3].lost], [False, True])
        self.assertEqual(list(shared._handles), [(2, 2)])

    # Connecting

    def share_at(self, failure: Exception) -> Failure:
        endpoint = MemoryEndpoint(self.clock, self.server)
        endpoint.failure = failure
        return self.failureResultOf(self.start(share(self.clock, endpoint, [])))

    def test_says_why_the_server_cannot_be_reached(self) -> None:
        failed = self.share_at(ConnectError(string="no route."))
        self.assertIs(failed.type, NotReachable)
        self.assertIn("Check its address", str(failed.value))
        self.assertNotIn("..", str(failed.value))

    def test_keeps_errors_that_say_enough(self) -> None:
        self.assertIs(self.share_at(CutOff("why")).type, CutOff)
        self.assertIs(self.share_at(defer.CancelledError()).type, defer.CancelledError)

    def test_has_a_link_like_any_other(self) -> None:
        shared = self.share()
        self.assertIs(shared.reactor, self.clock)
        self.assertIsInstance(shared.make_protocol(), CarrierProtocol)
        self.assertEqual(shared.local_member, MASTER)
        self.assertTrue(shared.carrier is not None)
