"""porttunnel.net.carriers.websocket, on a carrier that takes as much as a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from porttunnel.errors import CutOff, WebSocketError
from porttunnel.net.carriers.websocket import (
    GOODBYE_SECONDS,
    OPENING_SECONDS,
    Serving,
    WebSocketCarrier,
)
from porttunnel.net.deadline import Deadlines
from porttunnel.websocket.connection import (
    CLOSE_SECONDS,
    PING_SECONDS,
    PONG_SECONDS,
    Limits,
)
from porttunnel.websocket.handshake import Accepted, Refused, Terms, parse_request
from tests.websocket.client import Frame, frame, read_frames

CONTINUATION, BINARY, CLOSE, PING, PONG = 0, 2, 8, 9, 10
PEER = IPv4Address("TCP", "192.0.2.1", 1_024)
REQUEST = (
    b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ANSWER_END = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
NORMALLY = b"\x03\xe8"


class Beneath:
    """The carrier that the frames are on.

    :ivar room: bytes that it still takes, or None for any number.
    """

    peer = PEER

    def __init__(self) -> None:
        self.room: int | None = None
        self.sent = b""
        self.calls: list[str] = []

    def send(self, views: Sequence[memoryview]) -> int:
        data = b"".join(views)[: self.room]
        self.sent += data
        if self.room is not None:
            self.room -= len(data)
        return len(data)

    def limit_unsent(self, count: int) -> None:
        self.calls.append(f"limit {count}")

    def end(self) -> None:
        self.calls.append("end")

    def pause_receiving(self) -> None:
        self.calls.append("pause")

    def resume_receiving(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


class Receiver:
    """Remembers what it is told, and does upon it what a test wants."""

    def __init__(self) -> None:
        self.carrier: WebSocketCarrier
        self.calls: list[str] = []
        self.received: list[bytes] = []
        self.reason: Failure | None = None
        self.upon: dict[str, Callable[[], object]] = {}

    def note(self, call: str) -> None:
        self.calls.append(call)
        self.upon.get(call, lambda: None)()

    def carrier_made(self, carrier: Any) -> None:
        self.carrier = carrier
        self.note("made")

    def carrier_received(self, data: memoryview) -> None:
        self.received.append(bytes(data))
        self.note("received")

    def reading_done(self) -> None:
        self.upon.get("reading done", lambda: None)()

    def carrier_writable(self) -> None:
        self.note("writable")

    def carrier_ended(self) -> None:
        self.note("ended")

    def carrier_lost(self, reason: Failure) -> None:
        self.reason = reason
        self.note("lost")


class WebSocketCarrierTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.beneath = Beneath()
        self.receiver = Receiver()
        self.accepted: list[Accepted] = []
        self.refusal: Refused | None = None
        self.carrier = self.make()

    def make(
        self,
        terms: Terms | None = None,
        limits: Limits | None = None,
        admitted: tuple[Accepted, Any] | None = None,
    ) -> WebSocketCarrier:
        serving = Serving(
            self.clock.seconds,
            self.deadlines,
            self.build,
            terms or Terms(),
            limits or Limits(),
        )
        return WebSocketCarrier(serving, admitted)

    def build(self, accepted: Accepted, peer: Any) -> Any:
        self.assertIs(peer, PEER)
        self.accepted.append(accepted)
        return self.refusal or self.receiver

    def receive(self, data: bytes) -> None:
        self.carrier.carrier_received(memoryview(bytearray(data)))
        self.carrier.reading_done()

    def open(self) -> None:
        self.carrier.carrier_made(self.beneath)
        self.receive(REQUEST)
        self.assertTrue(self.beneath.sent.endswith(ANSWER_END))
        self.beneath.sent = b""
        self.assertEqual(self.receiver.calls, ["made"])
        self.receiver.calls.clear()

    def lose(self, reason: Exception | None = None) -> None:
        """The carrier beneath is gone; nothing is left to be done."""
        self.carrier.carrier_lost(Failure(reason or ConnectionLost()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def frames(self) -> list[Frame]:
        """What was sent since the last call."""
        sent, self.beneath.sent = self.beneath.sent, b""
        return read_frames(sent)

    def lost_by(self) -> type[Exception]:
        assert self.receiver.reason is not None
        self.assertEqual(self.receiver.calls[-1], "lost")
        return type(self.receiver.reason.value)


class OpeningTests(WebSocketCarrierTests):
    def test_the_receiver_is_made_once_the_client_is_let_in(self) -> None:
        self.carrier.carrier_made(self.beneath)
        for byte in REQUEST[:-1]:
            self.receive(bytes([byte]))
        self.assertEqual((self.beneath.sent, self.accepted), (b"", []))
        self.receive(REQUEST[-1:])
        self.assertTrue(self.beneath.sent.startswith(b"HTTP/1.1 101 "))
        self.assertEqual(self.receiver.calls, ["made"])
        self.assertIs(self.receiver.carrier, self.carrier)
        self.assertIs(self.carrier.peer, PEER)
        (accepted,) = self.accepted
        self.assertEqual(accepted.request.path, "/mqtt")

    def test_it_may_send_first(self) -> None:
        self.receiver.upon["made"] = lambda: self.carrier.send([memoryview(b"first")])
        self.carrier.carrier_made(self.beneath)
        self.receive(REQUEST)
        self.assertTrue(self.beneath.sent.endswith(ANSWER_END + b"\x82\x05first"))

    def test_frames_may_come_with_the_request(self) -> None:
        self.carrier.carrier_made(self.beneath)
        self.receive(REQUEST + frame(BINARY, b"early"))
        self.assertEqual(self.receiver.calls, ["made", "received"])
        self.assertEqual(self.receiver.received, [b"early"])

    def test_who_was_let_in_elsewhere_is_answered_at_once(self) -> None:
        request: Any = parse_request(REQUEST[:-4])
        admitted = (Accepted(request, "mqtt"), self.receiver)
        self.carrier = self.make(admitted=admitted)
        self.carrier.carrier_made(self.beneath)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: mqtt\r\n", self.beneath.sent)
        self.assertEqual((self.receiver.calls, self.accepted), (["made"], []))

    def test_nothing_comes(self) -> None:
        self.carrier.carrier_made(self.beneath)
        self.receive(REQUEST[:-1])
        self.clock.advance(OPENING_SECONDS - 0.1)
        self.assertEqual(self.beneath.calls, [])
        self.clock.advance(0.1)
        self.assertEqual(self.beneath.calls, ["abort"])
        self.lose()
        self.assertEqual(self.receiver.calls, [])

    def test_who_is_let_in_has_no_such_deadline(self) -> None:
        self.open()
        self.clock.advance(OPENING_SECONDS + 1)
        self.assertEqual(self.beneath.calls, [])

    def test_who_ends_before_is_left(self) -> None:
        self.carrier.carrier_made(self.beneath)
        self.receive(REQUEST[:-1])
        self.carrier.carrier_ended()
        self.assertEqual(self.beneath.calls, ["close"])
        self.lose()

    def test_before_there_is_a_receiver_the_carrier_does_nothing(self) -> None:
        for _ in range(2):
            self.assertEqual(self.carrier.send([memoryview(b"x")]), 0)
            self.carrier.limit_unsent(1)
            self.carrier.end()
            self.carrier.close()
            self.carrier.pause_receiving()
            self.carrier.resume_receiving()
            self.carrier.abort()
            self.carrier.carrier_ended()
            self.carrier.carrier_writable()
            self.assertEqual((self.beneath.sent, self.beneath.calls), (b"", []))
            # And the same once it is lost.
            self.open() if not self.accepted else None
            self.lose()
            self.beneath = Beneath()


class RefusingTests(WebSocketCarrierTests):
    def refuse(self, data: bytes) -> None:
        self.carrier.carrier_made(self.beneath)
        self.receive(data)

    def test_what_is_no_request(self) -> None:
        self.refuse(b"\x16\x03\x01\r\n\r\n")
        self.assertTrue(self.beneath.sent.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.beneath.calls, ["end"])
        self.assertEqual(self.accepted, [])

    def test_what_the_terms_do_not_allow(self) -> None:
        terms = Terms(subprotocols=("mqtt",))
        self.carrier = self.make(terms)
        self.refuse(REQUEST)
        self.assertTrue(self.beneath.sent.endswith(b"Sec-WebSocket-Protocol: mqtt\n"))
        self.assertEqual(self.accepted, [])

    def test_by_who_would_be_the_receiver(self) -> None:
        self.refusal = Refused(503, "Service Unavailable", "Too many are here. Try again later.")
        self.refuse(REQUEST)
        self.assertTrue(self.beneath.sent.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"))
        self.assertEqual(self.receiver.calls, [])
        self.lose()
        self.assertEqual(self.receiver.calls, [])

    def test_the_answer_goes_out_as_the_line_allows(self) -> None:
        self.beneath.room = 10
        self.refuse(b"x\r\n\r\n")
        self.assertEqual((self.beneath.sent, self.beneath.calls), (b"HTTP/1.1 4", []))
        self.beneath.room = None
        self.carrier.carrier_writable()
        self.assertTrue(self.beneath.sent.endswith(b"the program.\n"))
        self.assertEqual(self.beneath.calls, ["end"])
        self.carrier.carrier_writable()
        self.assertEqual(self.beneath.calls, ["end"])

    def test_it_has_some_time_to_leave(self) -> None:
        self.refuse(b"x\r\n\r\n")
        self.receive(REQUEST)
        self.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.beneath.calls, ["end", "abort"])
        self.lose()

    def test_it_leaves(self) -> None:
        self.refuse(b"x\r\n\r\n")
        self.carrier.carrier_ended()
        self.assertEqual(self.beneath.calls, ["end", "close"])
        self.lose()


class StreamTests(WebSocketCarrierTests):
    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_bytes_go_both_ways(self) -> None:
        self.receive(frame(BINARY, b"ab") + frame(BINARY, b"c" * 200))
        self.assertEqual(self.receiver.received, [b"ab" + b"c" * 200])
        self.assertEqual(self.carrier.send([memoryview(b"d"), memoryview(b"ef")]), 3)
        self.assertEqual(self.frames(), [Frame(0x82, b"def")])

    def test_an_answer_goes_out_within_the_call(self) -> None:
        self.receiver.upon["received"] = lambda: self.carrier.send([memoryview(b"yes")])
        self.receive(frame(BINARY, b"?"))
        self.assertEqual(self.frames(), [Frame(0x82, b"yes")])

    def test_a_line_that_is_full(self) -> None:
        self.beneath.room = 4
        data = memoryview(b"abcdef")
        self.assertEqual(self.carrier.send([data]), 6)
        self.assertEqual(self.carrier.send([data]), 0)
        self.receive(frame(PING, b"p"))
        self.beneath.room = 2
        self.carrier.carrier_writable()
        self.assertEqual(self.receiver.calls, [])
        self.beneath.room = None
        self.carrier.carrier_writable()
        self.assertEqual(self.receiver.calls, ["writable"])
        self.assertEqual(self.carrier.send([data]), 6)
        sent = [Frame(0x82, b"abcdef"), Frame(0x8A, b"p"), Frame(0x82, b"abcdef")]
        self.assertEqual(self.frames(), sent)

    def test_what_the_receiver_says_of_the_line_goes_beneath(self) -> None:
        self.carrier.limit_unsent(1_000)
        self.carrier.pause_receiving()
        self.carrier.resume_receiving()
        self.carrier.resume_receiving()
        self.carrier.abort()
        self.assertEqual(self.beneath.calls, ["limit 1000", "pause", "resume", "abort"])

    def test_a_line_that_breaks(self) -> None:
        self.lose(ConnectionLost())
        self.assertEqual(self.receiver.calls, ["lost"])
        self.assertIs(self.lost_by(), ConnectionLost)


class SilenceTests(WebSocketCarrierTests):
    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_a_silent_client_is_pinged_then_cut_off(self) -> None:
        self.clock.advance(PING_SECONDS)
        self.assertEqual(self.frames(), [Frame(0x89, b"")])
        self.clock.advance(PONG_SECONDS)
        self.assertEqual((self.frames(), self.beneath.calls), ([], ["abort"]))
        self.lose(ConnectionDone())
        self.assertIs(self.lost_by(), CutOff)

    def test_one_that_answers_stays(self) -> None:
        for _ in range(5):
            self.clock.advance(PING_SECONDS)
            self.assertEqual(self.frames(), [Frame(0x89, b"")])
            self.clock.advance(PONG_SECONDS - 1)
            self.receive(frame(PONG))
            # At the time for the pong it is found that it has come; from it on silence counts.
            self.clock.advance(1)
            self.clock.advance(PING_SECONDS - 1.1)
            self.assertEqual(self.frames(), [])
            self.receive(frame(PONG))
        self.assertEqual(self.beneath.calls, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_silence_counts_from_the_last_byte(self) -> None:
        self.clock.advance(PING_SECONDS - 1)
        self.receive(frame(BINARY, b"x"))
        self.clock.advance(1)
        self.assertEqual(self.frames(), [])
        self.clock.advance(PING_SECONDS - 1)
        self.assertEqual(self.frames(), [Frame(0x89, b"")])

    def test_a_slow_line_that_moves_breaks_it_too(self) -> None:
        self.beneath.room = 4
        self.carrier.send([memoryview(b"abcdef")])
        for _ in range(20):
            self.clock.advance(PONG_SECONDS - 1)
            self.beneath.room = 1
            self.carrier.carrier_writable()
        self.assertEqual(self.beneath.calls, [])
        self.clock.pump([PING_SECONDS, PONG_SECONDS, 1.0])
        self.assertEqual(self.beneath.calls, ["abort"])

    def test_who_is_not_read_is_not_silent(self) -> None:
        self.clock.advance(PING_SECONDS)
        self.carrier.pause_receiving()
        self.clock.advance(1_000)
        self.frames()
        self.carrier.resume_receiving()
        self.assertEqual(self.beneath.calls, ["pause", "resume"])
        self.clock.advance(PING_SECONDS)
        self.assertEqual(self.frames(), [Frame(0x89, b"")])

    def test_no_pings_at_all(self) -> None:
        self.carrier = self.make(limits=Limits(ping_seconds=None))
        self.beneath, self.receiver = Beneath(), Receiver()
        self.open()
        before = len(self.clock.getDelayedCalls())
        self.clock.advance(1_000)
        self.assertEqual(self.frames(), [])
        self.assertEqual(before, 1)  # that of setUp


class ClosingTests(WebSocketCarrierTests):
    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_by_the_client(self) -> None:
        self.receiver.upon["ended"] = lambda: self.carrier.send([memoryview(b"last")])
        self.receive(frame(BINARY, b"a") + frame(CLOSE, NORMALLY))
        self.assertEqual(self.receiver.calls, ["received", "ended"])
        self.assertEqual(self.frames(), [Frame(0x82, b"last"), Frame(0x88, NORMALLY)])
        self.assertEqual(self.beneath.calls, ["close"])
        self.assertEqual(self.carrier.send([memoryview(b"late")]), 0)
        self.lose(ConnectionLost())
        self.assertIs(self.lost_by(), ConnectionDone)

    def test_by_the_client_goes_after_what_the_receiver_kept_for_the_end_of_a_read(self) -> None:
        self.receiver.upon["reading done"] = lambda: self.carrier.send([memoryview(b"yes")])
        self.receive(frame(BINARY, b"?") + frame(PING) + frame(CLOSE))
        sent = [Frame(0x8A, b""), Frame(0x82, b"yes"), Frame(0x88, b"")]
        self.assertEqual(self.frames(), sent)

    def test_by_the_client_and_the_receiver_at_once(self) -> None:
        self.receiver.upon["ended"] = self.carrier.close
        self.receive(frame(CLOSE, NORMALLY))
        self.assertEqual(self.frames(), [Frame(0x88, NORMALLY)])
        self.assertEqual(set(self.beneath.calls), {"close"})
        self.lose()
        self.assertIs(self.lost_by(), ConnectionDone)

    def test_by_the_receiver(self) -> None:
        self.carrier.close(1001, "restart")
        self.assertEqual(self.frames(), [Frame(0x88, b"\x03\xe9restart")])
        self.receive(frame(BINARY, b"late") + frame(PING))
        self.assertEqual((self.receiver.calls, self.beneath.calls), ([], []))
        self.receive(frame(CLOSE, b"\x03\xe9"))
        self.assertEqual((self.receiver.calls, self.frames()), ([], []))
        self.assertEqual(self.beneath.calls, ["close"])
        self.lose(ConnectionDone())
        self.assertIs(self.lost_by(), ConnectionDone)

    def test_by_a_receiver_that_had_stopped_reading(self) -> None:
        self.carrier.pause_receiving()
        self.carrier.close()
        self.assertEqual(self.beneath.calls, ["pause", "resume"])

    def test_by_the_receiver_that_still_listens(self) -> None:
        self.carrier.end()
        self.assertEqual(self.frames(), [Frame(0x88, NORMALLY)])
        self.receive(frame(BINARY, b"last"))
        self.receive(frame(CLOSE, NORMALLY))
        self.assertEqual(self.receiver.received, [b"last"])
        self.assertEqual(self.receiver.calls, ["received", "ended"])
        self.assertEqual(self.beneath.calls, ["close"])

    def test_in_the_middle_of_what_came(self) -> None:
        self.receiver.upon["received"] = self.carrier.close
        self.receive(frame(BINARY, b"a") + frame(PING) + frame(BINARY, b"b"))
        self.assertEqual(self.receiver.received, [b"a"])
        self.assertEqual(self.frames(), [Frame(0x88, NORMALLY)])

    def test_at_once_in_the_middle_of_what_came(self) -> None:
        self.receiver.upon["received"] = self.carrier.abort
        begun, more = frame(BINARY, b"a", final=False), frame(CONTINUATION, b"b")
        self.receive(begun + more + frame(BINARY, b"c") + frame(CLOSE))
        self.assertEqual((self.receiver.received, self.receiver.calls), ([b"a"], ["received"]))
        self.assertEqual(self.beneath.calls[0], "abort")
        self.lose()
        self.assertEqual(self.receiver.calls, ["received", "lost"])

    def test_at_once_before_anything_came(self) -> None:
        self.carrier = self.make()
        self.beneath = Beneath()
        self.carrier.carrier_made(self.beneath)
        self.carrier.abort()
        self.assertEqual(self.beneath.calls, ["abort"])

    def test_by_a_receiver_that_goes_on_reading_later(self) -> None:
        self.carrier.pause_receiving()
        self.carrier.end()
        self.clock.pump([CLOSE_SECONDS] * 5)
        self.carrier.resume_receiving()
        self.clock.advance(CLOSE_SECONDS - 1)
        self.assertEqual(self.beneath.calls, ["pause", "resume"])
        self.receive(frame(BINARY, b"last") + frame(CLOSE))
        self.assertEqual(self.receiver.calls, ["received", "ended"])
        self.assertEqual(self.beneath.calls[-1], "close")
        self.lose()
        self.assertIs(self.lost_by(), ConnectionDone)

    def test_a_client_that_does_not_answer(self) -> None:
        self.carrier.close()
        self.clock.advance(CLOSE_SECONDS - 0.1)
        self.assertEqual(self.beneath.calls, [])
        self.clock.advance(0.1)
        self.assertEqual(self.beneath.calls, ["abort"])
        self.lose()
        self.assertIs(self.lost_by(), CutOff)

    def test_a_client_that_leaves_instead(self) -> None:
        self.carrier.close()
        self.carrier.carrier_ended()
        self.assertEqual(self.beneath.calls, ["close"])
        self.lose()
        self.assertIs(self.lost_by(), CutOff)

    def test_a_client_that_leaves_without_a_word(self) -> None:
        self.carrier.carrier_ended()
        self.assertEqual((self.receiver.calls, self.frames()), ([], []))
        self.assertEqual(self.beneath.calls, ["close"])
        self.lose(ConnectionDone())
        self.assertIs(self.lost_by(), CutOff)

    def test_a_client_that_breaks_the_protocol(self) -> None:
        self.receive(frame(BINARY, b"a") + frame(1, b"text"))
        (last,) = self.frames()
        self.assertEqual(last.payload[:2], b"\x03\xeb")
        self.assertEqual(self.receiver.calls, ["received"])
        # Its bytes are read until it has seen why, but mean nothing.
        self.receive(frame(BINARY, b"b"))
        self.assertEqual(self.beneath.calls, ["end"])
        self.carrier.carrier_ended()
        self.assertEqual(self.beneath.calls, ["end", "close"])
        self.lose(ConnectionDone())
        self.assertIs(self.lost_by(), WebSocketError)

    def test_it_has_some_time_to_leave(self) -> None:
        self.receive(frame(1, b"text"))
        self.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.beneath.calls, ["end", "abort"])

    def test_a_last_word_goes_out_as_the_line_allows(self) -> None:
        self.beneath.room = 1
        self.receive(frame(CLOSE, NORMALLY))
        self.beneath.room = 1
        self.carrier.carrier_writable()
        self.assertEqual(self.beneath.calls, [])
        self.beneath.room = None
        self.carrier.carrier_writable()
        self.assertEqual(self.frames(), [Frame(0x88, NORMALLY)])
        self.assertEqual(self.beneath.calls, ["close"])
        self.lose()

    def test_one_that_never_reads_it_is_cut_off(self) -> None:
        self.beneath.room = 1
        self.receive(frame(CLOSE, NORMALLY))
        self.clock.advance(GOODBYE_SECONDS)
        self.assertEqual(self.beneath.calls, ["abort"])

    def test_a_receiver_that_stopped_reading_before_the_end_of_a_read(self) -> None:
        self.receiver.upon["received"] = self.carrier.pause_receiving
        self.receive(frame(BINARY, b"a") + frame(1, b"text"))
        # Otherwise the client's end would never be seen.
        self.assertEqual(self.beneath.calls, ["pause", "resume", "end"])

    def test_the_line_breaks_in_the_middle_of_what_came(self) -> None:
        self.receiver.upon["received"] = self.lose
        self.receive(frame(BINARY, b"a") + frame(PING))
        self.assertEqual(self.receiver.calls, ["received", "lost"])
        self.assertEqual((self.frames(), self.beneath.calls), ([], []))

    def test_a_code_that_may_not_be_sent(self) -> None:
        self.assertRaises(ValueError, self.carrier.close, 1006)
        self.receive(frame(BINARY, b"a"))
        self.assertEqual(self.receiver.received, [b"a"])
