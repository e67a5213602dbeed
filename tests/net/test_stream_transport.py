"""porttunnel.net.stream_transport: what the conformance of all streams leaves open."""

from __future__ import annotations

import tracemalloc
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITransport
from zope.interface.verify import verifyObject

from porttunnel.errors import LocalProtocolError, StreamCode, StreamReset
from porttunnel.net import stream_transport
from porttunnel.net.client import JoinedSession
from porttunnel.net.master import SharedSession
from porttunnel.net.stream_transport import LINGER_SECONDS, StreamAddress, StreamTransport
from porttunnel.session.credit import MIN_WINDOW_BYTES
from porttunnel.session.multiplex import MAX_PENDING_BYTES
from tests.conformance import End, HalfClosingEnd, factory_of
from tests.net.in_memory import InMemoryTestCase


class Producer:
    """Remembers what it is told."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[str] = []
        self.failing = failing

    def note(self, call: str) -> None:
        self.calls.append(call)
        if call == self.failing:
            raise ZeroDivisionError

    def pauseProducing(self) -> None:
        self.note("pause")

    def resumeProducing(self) -> None:
        self.note("resume")

    def stopProducing(self) -> None:
        self.note("stop")


def test_addresses_are_equal_by_value() -> None:
    address = StreamAddress(2, "web")
    assert IAddress.providedBy(address)
    assert address == StreamAddress(2, "web")
    assert hash(address) == hash(StreamAddress(2, "web"))
    assert address != StreamAddress(3, "web")
    assert address != StreamAddress(2, "files")
    assert address != (2, "web")
    assert repr(address) == "StreamAddress(member=2, service='web')"


class StreamTransportTests(InMemoryTestCase):
    shared: SharedSession
    joined: JoinedSession

    def setUp(self) -> None:
        super().setUp()
        self.shared, self.joined = self.pair()
        self.services = 0

    def open(self, server: End | None = None, client: End | None = None) -> tuple[End, End]:
        server, client = server or End(), client or End()
        self.services += 1
        name = f"service-{self.services}"
        self.successResultOf(self.shared.listen(name).listen(factory_of(server)))
        opening = self.joined.endpoint(name).connect(factory_of(client))
        self.run_lines()
        self.successResultOf(opening)
        return server, client

    def assert_no_streams(self) -> None:
        self.run_lines()
        self.assertEqual((self.shared._handles, self.joined._handles), ({}, {}))

    def test_is_what_twisted_asks_for(self) -> None:
        _server, client = self.open()
        transport: Any = client.transport
        for interface in (ITransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, transport))
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self.assertFalse(transport.disconnecting)
        transport.stopProducing()
        self.assertTrue(transport.disconnecting)
        self.assert_no_streams()

    def test_a_reset_names_its_reason(self) -> None:
        server, client = self.open()
        client.transport.abortConnection()
        client.transport.abortConnection()
        self.run_lines()
        assert client.reason is not None
        assert server.reason is not None
        self.assertIs(client.reason.type, ConnectionAborted)
        reset = server.reason.value
        assert isinstance(reset, StreamReset)
        self.assertIs(reset.code, StreamCode.ABORTED)
        self.assert_no_streams()

    def test_an_answer_to_who_has_just_broken_off_goes_nowhere(self) -> None:
        server = End()
        server.on_data = lambda end: end.transport.write(b"answer")
        _, client = self.open(server)
        client.transport.write(b"question")
        client.transport.abortConnection()
        self.run_lines()
        self.assertEqual(server.calls, ["made", "data", "lost"])
        self.assertNoResult(self.joined.when_done())
        self.assertNoResult(self.shared.when_done())

    def test_who_closes_waits_a_while_for_the_others_end(self) -> None:
        server, client = self.open(HalfClosingEnd())
        client.transport.loseConnection()
        self.run_lines()
        self.assertEqual(client.calls, ["made", "lost"])
        self.assertEqual(server.calls, ["made", "read ended"])
        self.assertEqual(len(self.joined._handles), 1)
        # What comes now is taken, so that the other side can finish, and thrown away.
        server.transport.write(bytes(20 << 20))
        self.run_lines()
        self.pass_time(LINGER_SECONDS - 1.0)
        self.assertEqual(server.calls, ["made", "read ended"])
        server.transport.loseConnection()
        self.assert_no_streams()
        assert server.reason is not None
        self.assertIs(server.reason.type, ConnectionDone)
        self.assertEqual(client.data, b"")

    def test_who_never_ends_is_broken_off(self) -> None:
        server, client = self.open(HalfClosingEnd())
        client.transport.loseConnection()
        self.run_lines()
        self.pass_time(LINGER_SECONDS)
        assert server.reason is not None
        reset = server.reason.value
        assert isinstance(reset, StreamReset)
        self.assertIs(reset.code, StreamCode.TIMED_OUT)
        self.assert_no_streams()

    def test_a_close_throws_away_what_waits_unread(self) -> None:
        server, client = self.open()
        client.transport.pauseProducing()
        server.transport.write(bytes(20 << 20))
        self.run_lines()
        client.transport.loseConnection()
        self.run_lines()
        self.assertEqual((client.calls, server.calls), (["made", "lost"], ["made", "lost"]))
        self.assertEqual(client.data, b"")
        self.assert_no_streams()

    def test_who_pauses_between_deliveries_gets_the_rest_later(self) -> None:
        self.patch(stream_transport, "CHUNK_BYTES", 5)
        server, client = self.open()
        client.transport.pauseProducing()
        for piece in (b"one", b"two", b"three"):
            server.transport.write(piece)
            self.run_lines()
        client.on_data = lambda end: end.transport.pauseProducing()
        for expected in (b"one", b"onetwo", b"onetwothree"):
            client.transport.resumeProducing()
            client.transport.resumeProducing()
            self.run_lines()
            self.assertEqual(client.data, expected)
        client.transport.resumeProducing()
        self.run_lines()
        self.assertEqual(client.data, b"onetwothree")

    def test_bytes_that_come_one_by_one_while_paused_take_no_multiple_of_their_size(self) -> None:
        _server, client = self.open()
        client.transport.pauseProducing()
        count = MIN_WINDOW_BYTES
        byte = memoryview(b"x")
        tracemalloc.start()
        try:
            for _ in range(count):
                client.transport.stream_received(byte)
            held, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(sum(map(len, client.transport._received)), count)
        self.assertLess(held, 3 * count)

    def test_who_pauses_hears_of_both_ends_when_it_reads_again(self) -> None:
        server, client = self.open(HalfClosingEnd(), HalfClosingEnd())
        for unread in (b"", b"last words"):
            server, client = self.open(HalfClosingEnd(), HalfClosingEnd())
            client.transport.pauseProducing()
            client.transport.loseWriteConnection()
            server.transport.write(unread)
            server.transport.loseConnection()
            self.run_lines()
            self.assertEqual(client.calls, ["made", "write ended"])
            client.transport.resumeProducing()
            self.run_lines()
            self.assertEqual(client.data, unread)
            self.assertEqual(client.calls[-2:], ["read ended", "lost"])

    def test_who_pauses_can_close_after_both_ends(self) -> None:
        server, client = self.open(HalfClosingEnd(), HalfClosingEnd())
        client.transport.pauseProducing()
        client.transport.loseWriteConnection()
        server.transport.write(b"last words")
        server.transport.loseConnection()
        self.run_lines()
        client.transport.loseConnection()
        self.assert_no_streams()
        self.assertEqual(client.calls, ["made", "write ended", "lost"])
        # Nothing is left on the clock for it.
        self.pass_time(LINGER_SECONDS)
        self.assertNoResult(self.joined.when_done())

    def test_what_nobody_read_of_a_stream_that_is_over_holds_no_place(self) -> None:
        # Places are few: after 256 of these the other side could open nothing more.
        server, client = self.open()
        client.transport.pauseProducing()
        server.transport.write(b"unread")
        client.transport.loseWriteConnection()
        server.transport.loseConnection()
        self.run_lines()
        credit = self.joined.streams_with(1)._credit
        self.assertEqual(credit.streams, 1)
        client.transport.abortConnection()
        self.run_lines()
        self.assertEqual(credit.streams, 0)

    def test_a_loss_takes_what_waits_to_be_delivered(self) -> None:
        server, client = self.open()
        client.transport.pauseProducing()
        server.transport.write(b"unread")
        self.run_lines()
        client.transport.resumeProducing()
        client.transport.abortConnection()
        self.run_lines()
        self.assertEqual(client.calls, ["made", "lost"])

    def test_a_producer_that_comes_late_waits_for_room(self) -> None:
        for streaming, paused in ((True, ["pause"]), (False, [])):
            server, client = self.open()
            client.transport.pauseProducing()
            server.transport.write(bytes(20 << 20))
            producer = Producer()
            server.transport.registerProducer(producer, streaming)
            self.run_lines()
            self.assertEqual(producer.calls, paused)
            client.transport.resumeProducing()
            self.run_lines()
            self.assertEqual(producer.calls, [*paused, "resume"])
            server.transport.unregisterProducer()

    def test_a_producer_that_goes_is_not_asked_any_more(self) -> None:
        server, _client = self.open()
        producer = Producer()
        server.transport.registerProducer(producer, False)
        server.transport.write(b"one")
        server.transport.unregisterProducer()
        self.run_lines()
        self.assertEqual(producer.calls, ["resume"])

    def test_a_producer_that_fails_breaks_its_stream_off(self) -> None:
        for failing, streaming in (("resume", True), ("stop", True), ("resume", False)):
            server, client = self.open()
            producer = Producer(failing if streaming else "")
            server.transport.registerProducer(producer, streaming)
            producer.failing = failing
            client.transport.pauseProducing()
            server.transport.write(bytes(20 << 20))
            self.run_lines()
            if failing == "stop":
                server.transport.abortConnection()
            client.transport.resumeProducing()
            self.run_lines()
            self.assertTrue(server.lost and client.lost)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNoResult(self.joined.when_done())

    def test_a_protocol_that_fails_at_the_end_is_logged(self) -> None:
        class Failing(HalfClosingEnd):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                raise ZeroDivisionError

        server, client = self.open(Failing())
        client.transport.loseConnection()
        server.transport.loseConnection()
        self.assert_no_streams()
        self.assertEqual(server.calls.count("lost"), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_writer_that_never_pauses_is_told_so(self) -> None:
        server, client = self.open()
        client.transport.pauseProducing()
        piece = bytes(64 << 20)
        with self.assertRaisesRegex(LocalProtocolError, "use a producer"):
            for _ in range(MAX_PENDING_BYTES // len(piece) + 1):
                server.transport.write(piece)
        server.transport.abortConnection()
        self.assert_no_streams()

    def test_what_a_transport_need_not_hear_changes_nothing(self) -> None:
        server, client = self.open()
        transport: Any = client.transport
        assert isinstance(transport, StreamTransport)
        transport.stream_accepted()
        transport.stream_refused(StreamCode.INTERNAL, "")
        client.transport.write(b"fine")
        self.run_lines()
        self.assertEqual(server.data, b"fine")
