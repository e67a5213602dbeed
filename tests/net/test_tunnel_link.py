"""A link on a carrier that takes as much as the test says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net.tunnel_link import CLOSE_SECONDS, LiveSession, TunnelLink
from porttunnel.net.waiting import WaitingTotal
from porttunnel.session import request
from porttunnel.session.packet import NO_MEMBER, SERVER, PacketType, encode_packet
from porttunnel.session.relay import ConnectionFailed, RequestReceived, Run

PING = encode_packet(PacketType.PING, NO_MEMBER, SERVER, b"12345678")
PONG = encode_packet(PacketType.PONG, SERVER, NO_MEMBER, b"12345678")


class FakeCarrier:
    def __init__(self) -> None:
        self.room = 1 << 30
        self.sent = bytearray()
        self.calls: list[str] = []

    def send(self, views: Sequence[memoryview]) -> int:
        taken = 0
        for view in views:
            part = view[: self.room]
            self.sent += part
            self.room -= len(part)
            taken += len(part)
        return taken

    def __getattr__(self, name: str) -> Any:
        if name in ("end", "close", "abort"):
            return lambda: self.calls.append(name)
        raise AttributeError(name)


class FakeServer:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.forwarded: list[tuple[int, bytes]] = []

    def forward(self, source: TunnelLink, run: Run, views: Sequence[memoryview]) -> None:
        self.forwarded.append((run.target, b"".join(views)))

    def answer(self, link: TunnelLink, asked: RequestReceived) -> None:
        self.told.append("asked")

    def token_arrived(self, link: TunnelLink) -> None:
        self.told.append("token")

    def link_failed(self, link: TunnelLink, failed: ConnectionFailed) -> None:
        self.told.append(failed.error.code.value)

    def link_ended(self, link: TunnelLink) -> None:
        self.told.append("ended")

    def link_gone(self, link: TunnelLink) -> None:
        self.told.append("gone")

    def waiting_grew(self) -> None:
        self.told.append("grew")


class LinkTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = FakeServer()
        self.total = WaitingTotal()
        self.carrier = FakeCarrier()
        self.link = TunnelLink(self.clock, self.server, self.total)
        self.link.carrier_made(self.carrier)

    def lose(self) -> None:
        self.link.carrier_lost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.total.count, 0)


class SendingTests(LinkTestCase):
    def test_what_the_carrier_takes_is_not_kept(self) -> None:
        self.assertTrue(self.link.take(1, [memoryview(b"abc"), memoryview(b"def")]))
        self.assertEqual(self.carrier.sent, b"abcdef")
        self.assertEqual((self.total.count, self.server.told), (0, []))

    def test_what_it_does_not_take_goes_later_in_order(self) -> None:
        self.carrier.room = 4
        self.link.take(1, [memoryview(b"abc"), memoryview(b"def")])
        self.carrier.room = 100
        # It has room again, but what waits goes first.
        self.link.take(2, [memoryview(b"ghi")])
        self.assertEqual(self.carrier.sent, b"abcd")
        self.assertEqual(self.total.count, 5)
        self.carrier.room = 2
        self.link.carrier_writable()
        self.assertEqual(self.carrier.sent, b"abcdef")
        self.carrier.room = 100
        self.link.carrier_writable()
        self.assertEqual(self.carrier.sent, b"abcdefghi")
        self.assertEqual((self.total.count, self.carrier.calls), (0, []))

    def test_one_turn_sends_all_that_can_go(self) -> None:
        self.carrier.room = 0
        for flow in range(200):
            self.link.take(flow, [memoryview(b"x")])
        self.carrier.room = 1_000
        self.link.carrier_writable()
        self.assertEqual(len(self.carrier.sent), 200)


class EndingTests(LinkTestCase):
    def test_the_last_words_go_out_before_the_end(self) -> None:
        self.carrier.room = 0
        self.link.take(1, [memoryview(b"abc")])
        self.link.close(b"goodbye")
        self.assertEqual(self.server.told, ["grew", "grew", "ended"])
        self.assertEqual(self.carrier.calls, [])
        self.carrier.room = 100
        self.link.carrier_writable()
        self.assertEqual(self.carrier.sent, b"abcgoodbye")
        # Half, so that unread bytes of the peer's don't reset the connection.
        self.assertEqual(self.carrier.calls, ["end"])
        self.link.carrier_ended()
        self.assertEqual(self.carrier.calls, ["end", "close"])
        self.lose()
        self.assertEqual(self.server.told[-1], "gone")

    def test_a_peer_that_does_not_close_is_cut_off(self) -> None:
        self.link.close()
        self.clock.advance(CLOSE_SECONDS)
        self.assertEqual(self.carrier.calls, ["end", "abort"])
        self.lose()
        self.assertEqual(self.server.told, ["ended", "gone"])

    def test_a_closing_link_reads_and_says_nothing_more(self) -> None:
        self.link.close()
        self.link.close(b"again")
        self.link.send(b"more")
        self.link.carrier_received(memoryview(PING))
        self.assertEqual(self.carrier.sent, b"")
        self.assertEqual(self.server.told, ["ended"])

    def test_a_peer_that_half_closes_gets_what_waits(self) -> None:
        self.carrier.room = 0
        self.link.take(1, [memoryview(b"abc")])
        self.link.carrier_ended()
        self.assertEqual(self.carrier.calls, [])
        self.carrier.room = 100
        self.link.carrier_writable()
        self.assertEqual(self.carrier.calls, ["close"])

    def test_a_peer_that_half_closes_an_idle_link(self) -> None:
        self.link.carrier_ended()
        self.assertEqual(self.carrier.calls, ["close"])
        self.lose()
        self.assertEqual(self.server.told, ["ended", "gone"])

    def test_a_peer_that_half_closes_while_we_wait_for_room(self) -> None:
        self.carrier.room = 0
        self.link.close(b"goodbye")
        self.link.carrier_ended()
        self.assertEqual(self.carrier.calls, [])
        self.carrier.room = 100
        self.link.carrier_writable()
        self.assertEqual(self.carrier.calls, ["close"])

    def test_a_lost_link_is_told_once(self) -> None:
        self.lose()
        self.link.abort()
        self.link.close()
        self.link.send(b"more")
        self.assertEqual(self.server.told, ["ended", "gone"])
        self.assertEqual((self.carrier.calls, self.carrier.sent), ([], b""))

    def test_an_aborted_link_drops_what_waits(self) -> None:
        self.carrier.room = 0
        self.link.take(1, [memoryview(b"abc")])
        self.link.abort()
        self.assertEqual((self.total.count, self.carrier.calls), (0, ["abort"]))
        self.assertEqual(self.server.told, ["grew", "ended"])
        self.lose()

    def test_a_program_that_gives_up_gets_no_answer(self) -> None:
        goodbye = encode_packet(PacketType.ERROR, NO_MEMBER, SERVER, b"text")
        self.link.carrier_received(memoryview(goodbye))
        self.assertEqual((self.carrier.sent, self.carrier.calls), (b"", ["end"]))
        self.assertEqual(self.server.told, ["ended"])

    def test_the_core_is_woken_at_its_deadline_and_not_before(self) -> None:
        self.clock.advance(10.0)
        self.link.carrier_received(memoryview(PING))
        self.assertEqual(self.carrier.sent, PONG)
        self.clock.advance(5.0)
        self.assertEqual(self.server.told, ["too-late", "ended"])

    def test_a_timer_that_comes_early_is_set_again(self) -> None:
        join = request.encode(request.Join(number=12_345))
        self.link.carrier_received(
            memoryview(encode_packet(PacketType.REQUEST, NO_MEMBER, SERVER, join))
        )
        self.clock.advance(15.0)
        self.assertEqual(self.server.told, ["asked"])
        self.clock.advance(45.0)
        self.assertEqual(self.server.told, ["asked", "too-late", "ended"])


class ForwardingTests(LinkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.link.core._state = self.link.core._state.MEMBER
        self.link.core._member = 1

    def test_a_kept_packet_and_what_follows_go_together(self) -> None:
        packets = encode_packet(PacketType.DATA, 1, 2, bytes(100)) * 3
        self.link.carrier_received(memoryview(packets[:50]))
        self.link.carrier_received(memoryview(packets[50:]))
        self.assertEqual(self.server.forwarded, [(2, packets)])

    def test_the_order_of_packets_and_requests_is_kept(self) -> None:
        two, three = (encode_packet(PacketType.DATA, 1, to, bytes(100)) for to in (2, 3))
        status = request.encode(request.Status())
        asks = encode_packet(PacketType.REQUEST, 1, SERVER, status)
        order: list[Any] = []
        self.server.forward = lambda source, run, views: order.append(run.target)
        self.server.answer = lambda link, asked: order.append("asked")
        self.link.carrier_received(memoryview(two + three + asks + two + asks + asks))
        self.assertEqual(order, [2, 3, "asked", 2, "asked", "asked"])


class LiveSessionTests(SynchronousTestCase):
    def test_without_a_master_nobody_hears_of_clients(self) -> None:
        session = LiveSession(bytes(16))
        session.links[2] = TunnelLink(Clock(), FakeServer(), WaitingTotal())
        self.assertEqual(session.concerned(2), [])
        self.assertEqual(session.concerned(1), [session.links[2]])
