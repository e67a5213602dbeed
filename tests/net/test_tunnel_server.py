"""The tunnel server with links of hand-made packets, in memory, on a clock of its own."""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.logger import LogLevel, capturedLogs, formatEvent

from porttunnel.errors import ConfigurationError, ErrorCode
from porttunnel.net import tunnel_link
from porttunnel.net.tunnel_server import EXPIRY_SECONDS, TunnelServerFactory
from porttunnel.session import request
from porttunnel.session.directory import Admission
from porttunnel.session.limit import RateLimiter
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    NO_MEMBER,
    SERVER,
    PacketType,
    encode_packet,
)
from tests.net.serving import CREATE, UNIX_TIME, Peer, ServerTestCase, sealed


class ComingInTests(ServerTestCase):
    async def test_create_is_answered_with_all_that_a_master_needs(self) -> None:
        peer = self.peer()
        peer.ask(CREATE, number=41)
        ((head, body),) = peer.received()
        self.assertEqual((head.kind, head.number, head.target), (PacketType.REPLY, 41, 1))
        created = request.decode_reply(body)
        assert isinstance(created, request.Created)
        self.assertEqual(len(str(created.number)), 5)
        self.assertEqual(created.limits.waiting_bytes, 8 << 20)
        self.assertEqual(created.limits.client_grace_s, 600)

    async def test_join_tells_the_client_and_the_master(self) -> None:
        _master, client = self.pair()
        self.assertEqual(client.member, 2)
        self.assertEqual(self.server.counters.requests["join", "done"], 1)

    async def test_a_wrong_number_is_refused_after_a_delay(self) -> None:
        client = self.peer()
        client.ask(request.Join(number=12_345), number=6)
        self.clock.advance(0.99)
        self.assertEqual(client.received(), [])
        self.clock.advance(0.02)
        ((head, body),) = client.received()
        self.assertEqual((head.kind, head.number), (PacketType.ERROR, 6))
        self.assertIs(request.decode_error(body).code, ErrorCode.NO_SUCH_NUMBER)
        self.assertFalse(client.closed)

    async def test_all_refusals_look_the_same(self) -> None:
        unknown = request.Join(number=99_999)
        locked = self.master()
        locked.ask(request.Lock(locked=True))
        full = self.master(request.Create(lifetime_s=60, max_clients=1, join_window_s=60))
        self.client(full)
        late = self.master(request.Create(lifetime_s=3_600, max_clients=1, join_window_s=1))
        ended = self.master()
        ended.ask(request.Close())
        self.clock.advance(2.0)
        seen = set()
        asked = [unknown, *(request.Join(number=m.number) for m in (locked, full, late, ended))]
        for place, message in enumerate(asked):
            client = self.peer(f"198.51.100.{place}")
            client.ask(message)
            self.clock.advance(0.9)
            assert client.received() == []
            self.clock.advance(0.2)
            seen.add(tuple((head._replace(number=0), body) for head, body in client.received()))
        self.assertEqual(len(seen), 1)

    async def test_the_delay_counts_from_the_requests_arrival(self) -> None:
        client = self.peer()
        self.thread.held = []
        client.ask(request.Join(number=12_345))
        self.clock.advance(0.7)
        self.thread.release()
        self.clock.advance(0.31)
        self.assertEqual(client.heard(), [ErrorCode.NO_SUCH_NUMBER])

    async def test_who_tries_too_often_hears_the_same(self) -> None:
        master = self.master()
        guesser = self.peer("203.0.113.9")
        for number in range(3):
            guesser.ask(request.Join(number=10_000 + number), number=number)
            self.clock.advance(1.0)
            self.assertEqual(guesser.heard(), [ErrorCode.NO_SUCH_NUMBER])
        right = self.peer("203.0.113.9")
        right.ask(request.Join(number=master.number))
        self.assertEqual(right.received(), [])
        self.clock.advance(1.0)
        self.assertEqual(right.heard(), [ErrorCode.NO_SUCH_NUMBER])
        self.assertIsInstance(
            self.peer("203.0.113.10").enter(request.Join(number=master.number)), request.Joined
        )

    async def test_many_tries_at_once_are_counted_too(self) -> None:
        guessers = [self.peer("203.0.113.9") for _ in range(8)]
        for guesser in guessers:
            guesser.ask(request.Join(number=10_000))
        self.clock.advance(1.0)
        self.assertEqual({tuple(g.heard()) for g in guessers}, {(ErrorCode.NO_SUCH_NUMBER,)})
        # Three of them reached the book.
        self.assertEqual(len(self.server._desk._join_limiter._overall), 3)

    async def test_a_link_over_a_local_socket(self) -> None:
        self.assertIsInstance(self.peer("").enter(CREATE), request.Created)

    async def test_who_goes_before_the_answer_leaves_no_trace(self) -> None:
        for message in (CREATE, request.Join(number=self.master().number)):
            peer = self.peer()
            self.thread.held = []
            peer.ask(message)
            peer.lose()
            self.thread.release()
            self.assertEqual(self.thread.called[-1], "link_changed")
        self.assertEqual(len(self.server.links), 1)
        self.assertEqual(len(self.server.sessions), 1)


class JoinLimitTests(ServerTestCase):
    """The limits as they are by default: docs/session-protocol, section 10."""

    def join_limiter(self) -> RateLimiter:
        return RateLimiter.for_join_failures()

    def looked_up(self) -> int:
        """How many JOINs have been looked up in the book."""
        return self.lookups.count("join")

    def setUp(self) -> None:
        super().setUp()
        self.lookups: list[str] = []
        join = self.directory.join

        def count(number: int, now: float) -> Admission:
            self.lookups.append("join")
            return join(number, now)

        self.patch(self.directory, "join", count)

    def guess(self, host: str, number: int = 99_999) -> Any:
        """One JOIN on a link of its own, and the answer."""
        peer = self.peer(host)
        peer.ask(request.Join(number=number))
        self.clock.advance(self.refusal_delay_seconds)
        (answer,) = peer.heard()
        peer.lose()
        return answer

    async def test_five_wrong_numbers_a_minute(self) -> None:
        master = self.master(request.Create(lifetime_s=9_000, max_clients=9, join_window_s=9_000))
        for _ in range(5):
            self.guess("203.0.113.9")
        self.assertEqual(self.looked_up(), 5)
        # The right number looks wrong, and is not even looked up.
        self.assertIs(self.guess("203.0.113.9", master.number), ErrorCode.NO_SUCH_NUMBER)
        self.assertEqual(self.looked_up(), 5)
        self.assertIsInstance(self.guess("203.0.113.8", master.number), request.Joined)
        self.clock.advance(54.0)
        self.assertIsInstance(self.guess("203.0.113.9", master.number), request.Joined)

    async def test_twenty_an_hour(self) -> None:
        for _ in range(40):
            self.guess("203.0.113.9")
            self.clock.advance(15.0)
        self.assertEqual(self.looked_up(), 20)
        self.guess("203.0.113.8")
        self.assertEqual(self.looked_up(), 21)
        self.clock.advance(3_600.0 - 40 * 16.0)
        self.guess("203.0.113.9")
        self.assertEqual(self.looked_up(), 22)

    async def test_one_ipv6_subscriber_is_one_prefix(self) -> None:
        for host in range(10):
            self.guess(f"2001:db8:1:2::{host:x}")
        self.assertEqual(self.looked_up(), 5)
        self.guess("2001:db8:1:3::1")
        self.assertEqual(self.looked_up(), 6)

    async def test_fifty_a_second_over_all(self) -> None:
        master = self.master()
        peers = [self.peer(f"198.51.100.{place}") for place in range(80)]
        for peer in peers:
            peer.ask(request.Join(number=99_999))
        self.assertEqual(self.looked_up(), 50)
        self.clock.advance(0.5)
        late = self.peer("192.0.2.77")
        late.ask(request.Join(number=master.number))
        self.clock.advance(0.5)
        self.assertEqual({tuple(p.heard()) for p in peers}, {(ErrorCode.NO_SUCH_NUMBER,)})
        self.assertEqual(self.looked_up(), 50)
        self.clock.advance(0.5)
        self.assertEqual(late.heard(), [ErrorCode.NO_SUCH_NUMBER])
        self.assertIsInstance(self.guess("192.0.2.77", master.number), request.Joined)

    async def test_who_is_right_is_not_counted(self) -> None:
        master = self.master(request.Create(lifetime_s=9_000, max_clients=30, join_window_s=9_000))
        for _ in range(30):
            self.assertIsInstance(self.guess("203.0.113.9", master.number), request.Joined)

    async def test_members_are_not_held_up(self) -> None:
        _, client = self.pair()
        for _ in range(10):
            self.guess("192.0.2.1")
        self.assertNotEqual(self.resume(client).token, b"")


class CreateLimitTests(ServerTestCase):
    def create_limiter(self) -> RateLimiter:
        return RateLimiter.for_creates(per_minute=3, per_hour=5)

    def create(self, host: str = "192.0.2.1") -> Peer:
        peer = self.peer(host)
        peer.ask(CREATE, number=8)
        return peer

    def refusal(self, peer: Peer) -> request.ErrorReport:
        ((head, body),) = peer.received()
        self.assertEqual((head.kind, head.number), (PacketType.ERROR, 8))
        return request.decode_error(body)

    async def test_who_opens_too_many_hears_when_to_try_again(self) -> None:
        for _ in range(3):
            self.create()
            self.clock.advance(1.25)
        refused = self.create()
        report = self.refusal(refused)
        self.assertIs(report.code, ErrorCode.LIMIT)
        self.assertIn("try again in 57 s;", report.text)
        self.assertTrue(report.text.endswith("creates_per_hour in [limits]"), report.text)
        self.assertFalse(refused.closed)
        self.assertEqual(len(self.server.sessions), 3)
        self.assertEqual(self.server.counters.requests["create", "limit"], 1)

    async def test_others_go_on_and_later_it_is_allowed_again(self) -> None:
        for _ in range(3):
            self.create()
        self.assertIs(self.refusal(self.create()).code, ErrorCode.LIMIT)
        self.assertIsInstance(self.peer("192.0.2.2").enter(CREATE), request.Created)
        self.clock.advance(60.0)
        self.assertIsInstance(self.peer().enter(CREATE), request.Created)

    async def test_a_refused_link_may_ask_again(self) -> None:
        masters = [self.create() for _ in range(3)]
        for peer in masters:
            peer.lose()
        self.clock.advance(50.0)
        refused = self.create()
        self.assertIs(self.refusal(refused).code, ErrorCode.LIMIT)
        self.clock.advance(10.0)
        self.assertIsInstance(refused.enter(CREATE), request.Created)

    async def test_what_opened_no_session_does_not_count(self) -> None:
        self.thread.failure = OSError("disk full")
        for _ in range(5):
            self.assertIs(self.refusal(self.create()).code, ErrorCode.INTERNAL)
        self.flushLoggedErrors(OSError)
        self.thread.failure = None
        self.assertIsInstance(self.peer().enter(CREATE), request.Created)

    async def test_a_full_disk_is_one_line_in_the_log(self) -> None:
        self.thread.failure = ConfigurationError("/book: the disk is full; make room")
        with capturedLogs() as logged:
            self.assertIs(self.refusal(self.create()).code, ErrorCode.INTERNAL)
        (event,) = (one for one in logged if one["log_level"] is LogLevel.critical)
        self.assertIn("the disk is full; make room", formatEvent(event))
        self.assertNotIn("log_failure", event)

    async def test_many_at_once_are_counted_too(self) -> None:
        self.thread.held = []
        peers = [self.create() for _ in range(8)]
        self.thread.release()
        kinds = [head.kind for peer in peers for head, _ in peer.received()]
        self.assertEqual(kinds, [PacketType.REPLY] * 3 + [PacketType.ERROR] * 5)


class RelayTests(ServerTestCase):
    async def test_packets_go_both_ways_unchanged(self) -> None:
        master, client = self.pair()
        to_client = sealed(1, 2, secrets.token_bytes(5_000)) * 3
        to_master = sealed(2, 1, secrets.token_bytes(100))
        master.send(to_client)
        client.send(to_master)
        self.assertEqual(client.transport.value(), to_client)
        self.assertEqual(master.transport.value(), to_master)
        self.assertEqual(self.server.counters.relayed_bytes, len(to_client + to_master))

    async def test_the_handshake_goes_through(self) -> None:
        master, client = self.pair()
        for kind, size, here, there in (
            (PacketType.C1, 1_572, client, master),
            (PacketType.M2, 1_419, master, client),
            (PacketType.C3, 64, client, master),
            (PacketType.M4, 32, master, client),
        ):
            packet = encode_packet(kind, here.member, there.member, bytes(size))
            for place in range(0, len(packet), 500):
                here.send(packet[place : place + 500])
            self.assertEqual(there.transport.value(), packet)
            there.transport.clear()
        self.assertNotIn("establish", self.thread.called)

    async def test_a_broadcast_reaches_every_client(self) -> None:
        master = self.master()
        clients = [self.client(master) for _ in range(3)]
        packet = sealed(1, ALL_MEMBERS, flags=FLAG_GROUP)
        master.send(packet)
        self.assertEqual([c.transport.value() for c in clients], [packet] * 3)
        self.assertEqual(master.received(), [])

    async def test_sessions_are_worlds_apart(self) -> None:
        master, _ = self.pair()
        _, stranger = self.pair()
        master.send(sealed(1, 2))
        self.assertEqual(stranger.received(), [])

    async def test_what_is_for_nobody_is_dropped(self) -> None:
        master, client = self.pair()
        client.lose()
        master.heard()
        master.send(sealed(1, 2) + sealed(1, 77))
        self.assertFalse(master.closed)

    async def test_the_first_sealed_packet_establishes_a_client_once(self) -> None:
        master, client = self.pair()
        client.send(sealed(2, 1))
        self.assertNotIn("establish", self.thread.called)
        master.send(sealed(1, 2))
        master.send(sealed(1, 2))
        self.assertEqual(self.thread.called.count("establish"), 1)
        self.advance(70.0)
        self.assertFalse(client.closed)

    async def test_a_sealed_packet_establishes_behind_a_plain_one_too(self) -> None:
        master, client = self.pair()
        master.send(encode_packet(PacketType.M4, 1, 2, bytes(32), number=1) + sealed(1, 2))
        self.assertEqual(client.heard(), [bytes(32), b"never opened 0123"])
        self.assertEqual(self.thread.called.count("establish"), 1)

    async def test_a_ping_is_answered(self) -> None:
        _, client = self.pair()
        client.send(encode_packet(PacketType.PING, 2, SERVER, b"abcdefgh"))
        self.assertEqual(client.heard(), [b"abcdefgh"])

    async def test_garbage_after_a_good_packet(self) -> None:
        master, client = self.pair()
        client.send(sealed(2, 1) + b"\x00" * 100)
        self.assertEqual(client.heard(), [ErrorCode.MALFORMED])
        self.assertTrue(client.closed)
        self.assertEqual(master.heard(), [b"never opened 0123", request.Link(member=2, up=False)])
        self.assertFalse(master.closed)
        self.assertEqual(self.server.counters.failed_links, {"malformed": 1})

    async def test_the_end_of_one_client_does_not_reach_another(self) -> None:
        master, client = self.pair()
        other = self.client(master)
        client.send(sealed(2, 3))
        self.assertEqual(client.heard(), [ErrorCode.NOT_ALLOWED])
        self.assertEqual(other.received(), [])
        other.send(sealed(3, 1))
        self.assertEqual(len(master.received()), 2)


class WaitingTests(ServerTestCase):
    async def test_a_slow_member_gets_everything_in_order(self) -> None:
        master, client = self.pair()
        client.stall()
        sent = [sealed(1, 2, secrets.token_bytes(size)) for size in (30, 65_000, 20, 65_552)]
        for packet in sent:
            master.send(packet)
        self.assertEqual(client.received(), [])
        self.assertEqual(self.server.waiting.count, sum(map(len, sent)))
        client.go_on()
        self.assertEqual(client.transport.value(), b"".join(sent))
        self.assertEqual(self.server.waiting.count, 0)

    async def test_a_client_that_reads_nothing_is_closed_and_the_others_live(self) -> None:
        master, slow = self.pair()
        other = self.client(master)
        slow.stall()
        packet = sealed(1, 2, bytes(60_000))
        for _ in range(tunnel_link.MAX_FLOW_BYTES // len(packet)):
            master.send(packet)
        self.assertFalse(slow.closed)
        master.send(sealed(1, 3))
        self.assertEqual(other.heard(), [b"never opened 0123"])
        master.send(packet * 2)
        # Not the master: else whoever reads nothing could end the session of all.
        self.assertFalse(master.closed)
        self.assertEqual(master.heard(), [request.Link(member=2, up=False)])
        master.send(sealed(1, 3))
        self.assertEqual(other.heard(), [b"never opened 0123"])
        self.clock.advance(tunnel_link.CLOSE_SECONDS)
        self.assertTrue(slow.closed)

    async def test_a_client_above_its_window_is_closed_and_the_others_live(self) -> None:
        master, client = self.pair()
        other = self.client(master)
        master.stall()
        packet = sealed(2, 1, bytes(60_000))
        for _ in range(tunnel_link.MAX_FLOW_BYTES // len(packet) + 2):
            client.send(packet)
        self.assertEqual(client.heard(), [ErrorCode.LIMIT])
        self.assertTrue(client.closed)
        self.assertFalse(master.closed)
        other.send(sealed(3, 1))
        # What waits for the slow one is not lost.
        master.go_on()
        self.assertGreater(len(master.received()), 100)

    async def test_one_sources_window_is_not_anothers(self) -> None:
        master, client = self.pair()
        other = self.client(master)
        master.stall()
        packet = sealed(2, 1, bytes(60_000))
        for _ in range(tunnel_link.MAX_FLOW_BYTES // len(packet)):
            client.send(packet)
        other.send(sealed(3, 1, bytes(60_000)) * 20)
        self.assertFalse(client.closed)
        self.assertFalse(other.closed)

    async def test_a_broadcast_waits_for_nobody(self) -> None:
        master, slow = self.pair()
        fast = self.client(master)
        slow.stall()
        packet = sealed(1, ALL_MEMBERS, bytes(60_000), flags=FLAG_GROUP)
        count = 2 * tunnel_link.MAX_FLOW_BYTES // len(packet)
        for _ in range(count):
            master.send(packet)
        self.assertEqual(len(fast.received()), count)
        self.assertFalse(master.closed)
        self.assertLessEqual(self.server.waiting.count, tunnel_link.MAX_FLOW_BYTES)
        # The pair with the slow one has its own room, and what came is whole packets.
        master.send(sealed(1, 2))
        slow.go_on()
        *group, pair = slow.received()
        self.assertEqual({head.length for head, _ in group}, {60_000})
        self.assertEqual(pair[1], b"never opened 0123")

    async def test_who_pings_and_never_reads_is_cut_off(self) -> None:
        _, client = self.pair()
        client.stall()
        ping = encode_packet(PacketType.PING, 2, SERVER, bytes(8)) * 100
        for _ in range(100):
            if not client.closed:
                client.send(ping)
        self.assertTrue(client.transport.disconnected)
        self.assertEqual(self.server.waiting.count, 0)

    async def test_who_is_cut_off_with_its_answer_leaves_no_trace(self) -> None:
        # It pings, reads nothing, and has so much waiting that its answer is too much.
        ping = encode_packet(PacketType.PING, NO_MEMBER, SERVER, bytes(8))
        many = ping * (tunnel_link.MAX_OWN_BYTES // len(ping))
        master, client = self.pair()
        for message in (
            CREATE,
            request.Join(number=master.number),
            request.Resume(session_id=client.session_id, member=2, token=client.token),
        ):
            silent = self.peer("192.0.2.3")
            silent.stall()
            silent.send(many)
            self.assertFalse(silent.closed)
            silent.ask(message)
            self.assertTrue(silent.transport.disconnected)
            silent.lose()
            self.assertEqual(self.server.waiting.count, 0)
        client.lose()
        (session,) = self.server.sessions.values()
        self.assertEqual(list(session.links), [1])
        # The directory knows that nobody is there: it may lapse.
        for member in (2, 3):
            row = self.store.member(master.session_id, member)
            assert row is not None
            self.assertIsNotNone(row.unlinked_since)
        self.assertEqual(
            [told for told in master.heard() if told == request.Link(member=2, up=True)], []
        )
        self.assertNotEqual(self.resume(client).token, b"")

    async def test_a_lost_link_takes_its_queue_along(self) -> None:
        master, client = self.pair()
        client.stall()
        master.send(sealed(1, 2, bytes(60_000)))
        client.lose()
        self.assertEqual(self.server.waiting.count, 0)


class TotalTests(ServerTestCase):
    max_waiting_bytes = 1 << 20

    async def test_above_the_total_the_one_with_the_most_goes(self) -> None:
        master, worst = self.pair()
        slow, fine = self.client(master), self.client(master)
        worst.stall()
        slow.stall()
        for _ in range(4):
            master.send(sealed(1, 3, bytes(60_000)))
        for _ in range(15):
            master.send(sealed(1, 2, bytes(60_000)))
        self.assertTrue(worst.transport.disconnected)
        self.assertEqual([master.closed, slow.closed, fine.closed], [False] * 3)
        self.assertLess(self.server.waiting.count, 1 << 20)
        worst.lose()
        master.heard()
        again = self.resume(worst)
        master.send(sealed(1, 2))
        self.assertEqual(again.heard(), [b"never opened 0123"])


class RequestTests(ServerTestCase):
    async def test_status(self) -> None:
        master, client = self.pair()
        client.lose()
        master.heard()
        master.ask(request.Lock(locked=True))
        master.ask(request.Status(), number=3)
        self.assertEqual(
            master.heard(),
            [
                request.Done(),
                request.StatusReport(members=[1, 2], linked=[1], locked=True, ends_in_s=3_600),
            ],
        )

    async def test_leaving(self) -> None:
        master, client = self.pair()
        client.ask(request.Leave())
        left = request.Left(member=2, reason="it left")
        self.assertEqual(client.heard(), [request.Done(), left])
        self.assertTrue(client.closed)
        self.assertEqual(master.heard(), [left])
        self.assertEqual(self.resume(client).heard(), [])
        self.assertEqual(self.server.counters.requests["resume", "session-ended"], 1)

    async def test_who_leaves_and_hangs_up_at_once_has_left(self) -> None:
        master, client = self.pair()
        self.thread.held = []
        client.ask(request.Status())
        client.ask(request.Leave(), number=2)
        client.lose()
        self.thread.release()
        self.assertIn("leave", self.thread.called)
        self.assertEqual(
            master.heard(),
            [request.Link(member=2, up=False), request.Left(member=2, reason="it left")],
        )

    async def test_kicking(self) -> None:
        master, client = self.pair()
        other = self.client(master)
        master.ask(request.Kick(member=2))
        left = request.Left(member=2, reason="the master put it out")
        self.assertEqual(client.heard(), [left])
        self.assertTrue(client.closed)
        self.assertEqual(master.heard(), [request.Done(), left])
        self.assertEqual(other.received(), [])
        master.send(sealed(1, 2))
        self.assertEqual(client.received(), [])

    async def test_the_master_cannot_kick_itself_or_leave(self) -> None:
        master = self.master()
        master.ask(request.Kick(member=1))
        master.ask(request.Leave())
        self.assertEqual(master.heard(), [ErrorCode.NOT_ALLOWED] * 2)
        self.assertFalse(master.closed)

    async def test_a_client_may_not_do_what_the_master_may(self) -> None:
        master, client = self.pair()
        for message in (request.Kick(member=2), request.Lock(locked=True), request.Close()):
            client.ask(message)
        self.assertEqual(client.heard(), [ErrorCode.NOT_ALLOWED] * 3)
        self.assertFalse(client.closed)
        self.assertEqual(master.received(), [])

    async def test_closing(self) -> None:
        master, client = self.pair()
        master.ask(request.Close())
        closed = request.Closed(reason="the master closed it")
        self.assertEqual(client.heard(), [closed])
        self.assertEqual(master.heard(), [request.Done(), closed])
        self.assertTrue(client.closed)
        self.assertTrue(master.closed)
        self.assertEqual(self.server.sessions, {})
        client.lose()
        master.lose()
        self.assertEqual(self.server.links, set())

    async def test_requests_are_answered_in_order(self) -> None:
        master = self.master()
        self.thread.held = []
        for number in range(5):
            master.ask(request.Status(), number=number)
        self.assertEqual(master.received(), [])
        self.thread.release()
        self.assertEqual([head.number for head, _ in master.received()], [0, 1, 2, 3, 4])

    async def test_too_many_waiting_requests(self) -> None:
        master = self.master()
        self.thread.held = []
        for number in range(17):
            master.ask(request.Status(), number=number)
        self.assertEqual(master.heard(), [ErrorCode.LIMIT])
        self.assertTrue(master.closed)

    async def test_a_broken_store_is_told_and_logged_and_the_server_goes_on(self) -> None:
        master, client = self.pair()
        self.thread.failure = OSError("the disk is gone")
        master.ask(request.Status())
        self.assertEqual(master.heard(), [ErrorCode.INTERNAL])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        master.send(sealed(1, 2))
        self.assertEqual(client.heard(), [b"never opened 0123"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        newcomer = self.peer()
        newcomer.ask(CREATE)
        self.assertEqual(newcomer.heard(), [ErrorCode.INTERNAL])
        self.thread.failure = None
        self.assertIsInstance(newcomer.enter(CREATE), request.Created)
        self.flushLoggedErrors(OSError)

    async def test_a_status_of_very_many_fits(self) -> None:
        master = self.master()
        status = self.directory.status(master.session_id, UNIX_TIME)
        many = tuple(range(1, 65_000))
        self.patch(
            self.directory, "status", lambda *_: type(status)(many, False, status.ends_in_s)
        )
        master.ask(request.Status())
        (report,) = master.heard()
        self.assertEqual(len(report.members), 10_000)


class ResumeTests(ServerTestCase):
    async def test_a_new_link_replaces_the_old_one(self) -> None:
        master, client = self.pair()
        again = self.resume(client)
        self.assertEqual(client.heard(), [ErrorCode.REPLACED])
        self.assertTrue(client.closed)
        client.lose()
        self.assertEqual(master.heard(), [request.Link(member=2, up=True)])
        master.send(sealed(1, 2))
        self.assertEqual(again.heard(), [b"never opened 0123"])
        again.send(sealed(2, 1))
        self.assertEqual(master.heard(), [b"never opened 0123"])
        self.assertNotIn("link_changed", self.thread.called)

    async def test_resumed_is_the_first_packet(self) -> None:
        master, client = self.pair()
        client.lose()
        again = self.peer()
        again.member = 2
        self.thread.held = []
        again.ask(
            request.Resume(session_id=client.session_id, member=2, token=client.token), number=8
        )
        master.send(sealed(1, 2))
        self.assertEqual(again.received(), [])
        self.thread.release()
        master.send(sealed(1, 2))
        first, second = again.received()
        self.assertEqual((first[0].kind, first[0].number), (PacketType.REPLY, 8))
        self.assertIs(second[0].kind, PacketType.DATA)

    async def test_all_clients_hear_of_their_master(self) -> None:
        master = self.master()
        clients = [self.client(master) for _ in range(2)]
        master.lose()
        self.assertEqual([c.heard() for c in clients], [[request.Link(member=1, up=False)]] * 2)
        self.resume(master)
        self.assertEqual([c.heard() for c in clients], [[request.Link(member=1, up=True)]] * 2)

    async def test_the_first_packet_makes_the_old_token_void(self) -> None:
        _master, client = self.pair()
        again = self.resume(client)
        again.send(sealed(2, 1))
        self.assertEqual(self.thread.called.count("confirm_token"), 1)
        late = self.resume(client)
        self.assertEqual(late.token, b"")
        self.assertFalse(again.closed)

    async def test_until_then_the_old_token_is_good(self) -> None:
        _master, client = self.pair()
        self.resume(client).lose()
        self.assertNotEqual(self.resume(client).token, b"")

    async def test_a_wrong_token_changes_nothing(self) -> None:
        master, client = self.pair()
        peer = self.peer()
        peer.ask(request.Resume(session_id=client.session_id, member=2, token=bytes(32)))
        self.assertEqual(peer.heard(), [ErrorCode.SESSION_ENDED])
        self.assertFalse(client.closed)
        self.assertEqual(master.received(), [])

    async def test_the_whole_session_may_come_back(self) -> None:
        master, client = self.pair()
        master.lose()
        client.lose()
        self.assertEqual(self.server.sessions, {})
        master, client = self.resume(master), self.resume(client)
        master.heard()
        master.send(sealed(1, 2))
        self.assertEqual(client.heard(), [b"never opened 0123"])

    async def test_the_old_links_end_is_not_told_after_the_new_ones_beginning(self) -> None:
        master, client = self.pair()
        self.thread.held = []
        again = self.peer()
        again.member = 2
        again.ask(request.Resume(session_id=client.session_id, member=2, token=client.token))
        # The directory has heard of the new link, and hears now of the old one's end.
        client.lose()
        self.thread.release()
        self.assertEqual(self.thread.called[-2:], ["link_changed", "link_changed"])
        row = self.store.member(client.session_id, 2)
        assert row is not None
        self.assertIsNone(row.unlinked_since)
        self.assertEqual(
            master.heard(),
            [request.Link(member=2, up=False), request.Link(member=2, up=True)],
        )

    async def test_an_old_links_packet_does_not_void_a_token_under_way(self) -> None:
        _master, client = self.pair()
        first = self.resume(client)
        self.thread.held = []
        second = self.peer()
        second.member = 2
        second.ask(request.Resume(session_id=client.session_id, member=2, token=first.token))
        first.send(sealed(2, 1))
        second.lose()
        self.thread.release()
        # The answer to the second one never came: the first one's token is all that it has.
        self.assertEqual(self.thread.called.count("confirm_token"), 1)
        self.assertNotEqual(self.resume(first).token, b"")

    async def test_a_resume_that_nobody_waits_for_leaves_the_old_link(self) -> None:
        master, client = self.pair()
        self.thread.held = []
        again = self.peer()
        again.ask(request.Resume(session_id=client.session_id, member=2, token=client.token))
        again.lose()
        self.thread.release()
        self.assertFalse(client.closed)
        master.send(sealed(1, 2))
        self.assertEqual(client.heard(), [b"never opened 0123"])
        row = self.store.member(client.session_id, 2)
        assert row is not None
        self.assertIsNone(row.unlinked_since)

    async def test_what_a_full_disk_did_not_take_is_told_later(self) -> None:
        master, client = self.pair()
        other = self.client(master)
        self.thread.failure = ConfigurationError("the disk is full")
        client.lose()
        other.lose()
        self.advance(2 * EXPIRY_SECONDS)
        self.thread.failure = None
        again = self.resume(other)
        self.assertGreater(len(self.flushLoggedErrors(ConfigurationError)), 1)
        self.advance(EXPIRY_SECONDS)
        rows = [self.store.member(client.session_id, member) for member in (2, 3)]
        self.assertEqual(
            [None if row is None else row.unlinked_since is None for row in rows], [False, True]
        )
        self.assertFalse(again.closed)

    async def test_what_is_told_later_does_not_end_a_resumption_under_way(self) -> None:
        _master, client = self.pair()
        self.thread.failure = ConfigurationError("the disk is full")
        client.lose()
        self.thread.failure = None
        self.thread.held = []
        again = self.peer()
        again.member = 2
        again.ask(request.Resume(session_id=client.session_id, member=2, token=client.token))
        held, self.thread.held = self.thread.held, None
        # The directory has heard of the new link, its answer is on the way.
        self.clock.advance(EXPIRY_SECONDS)
        self.thread.held = held
        self.thread.release()
        row = self.store.member(client.session_id, 2)
        assert row is not None
        self.assertIsNone(row.unlinked_since)
        self.assertEqual(len(self.flushLoggedErrors(ConfigurationError)), 1)


class TimeTests(ServerTestCase):
    async def test_who_asks_nothing_goes(self) -> None:
        peer = self.peer()
        self.clock.advance(14.9)
        self.assertFalse(peer.closed)
        self.clock.advance(0.2)
        self.assertEqual(peer.heard(), [ErrorCode.TOO_LATE])
        self.assertTrue(peer.closed)

    async def test_a_silent_member_is_taken_for_dead(self) -> None:
        master, client = self.pair()
        master.send(sealed(1, 2))
        self.clock.advance(50.0)
        master.send(encode_packet(PacketType.PING, 1, SERVER, bytes(8)))
        self.clock.advance(10.5)
        self.assertTrue(client.closed)
        self.assertFalse(master.closed)
        self.assertIn(request.Link(member=2, up=False), master.heard())

    async def test_an_unfinished_handshake_lapses(self) -> None:
        master, client = self.pair()
        self.advance(70.0)
        left = request.Left(member=2, reason="it did not finish its handshake")
        self.assertIn(left, client.heard())
        self.assertTrue(client.closed)
        self.assertIn(left, master.heard())

    async def test_a_session_ends_with_its_time(self) -> None:
        master = self.master(request.Create(lifetime_s=60, max_clients=1, join_window_s=60))
        client = self.client(master)
        master.send(sealed(1, 2))
        self.advance(70.0)
        closed = request.Closed(reason="its time is over")
        self.assertIn(closed, master.heard())
        self.assertIn(closed, client.heard())

    async def test_what_nobody_is_linked_to_ends_quietly(self) -> None:
        self.master(request.Create(lifetime_s=60, max_clients=1, join_window_s=60)).lose()
        lost = self.client(self.master())
        lost.lose()
        self.advance(100.0)
        self.assertEqual(len(self.server.sessions), 1)

    async def test_a_failed_expiry_is_tried_again(self) -> None:
        master = self.master(request.Create(lifetime_s=60, max_clients=1, join_window_s=60))
        self.thread.failure = OSError("full")
        self.advance(70.0)
        self.assertGreater(len(self.flushLoggedErrors(OSError)), 1)
        self.thread.failure = None
        self.advance(10.0)
        self.assertTrue(master.closed)

    async def test_a_closed_link_that_takes_nothing_is_cut_off(self) -> None:
        master, client = self.pair()
        client.stall()
        master.ask(request.Close())
        self.assertFalse(client.closed)
        self.clock.advance(5.1)
        self.assertTrue(client.transport.disconnected)
        self.assertEqual(self.server.waiting.count, 0)

    async def test_a_closed_links_last_words_are_waited_for(self) -> None:
        master, client = self.pair()
        client.stall()
        master.send(sealed(1, 2, bytes(1_000)))
        master.ask(request.Close())
        client.send(sealed(2, 1))
        client.go_on()
        relayed, closed = client.heard()
        self.assertEqual(relayed, bytes(1_000))
        self.assertEqual(closed, request.Closed(reason="the master closed it"))
        self.assertTrue(client.transport.disconnecting)


class EndTests(ServerTestCase):
    def drain(self) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self.server.drain())

    async def test_all_are_told_to_come_back(self) -> None:
        master, client = self.pair()
        stranger = self.peer()
        drained = self.drain()
        peers = (master, client, stranger)
        waits = [peer.heard()[-1].retry_after_s for peer in peers]
        self.assertTrue(all(1.0 <= wait <= 5.0 for wait in waits))
        self.assertEqual(len(set(waits)), 3)
        self.assertNoResult(drained)
        for peer in peers:
            peer.lose()
        self.assertIsNone(self.successResultOf(drained))
        self.assertIsNone(self.server.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        # As after a crash, the directory counts from when service begins again.
        self.assertNotIn("link_changed", self.thread.called)

    async def test_the_waits_are_spread_over_the_whole_time(self) -> None:
        """A server that all come back to in the same second is down again in the next."""
        peers = [self.peer(f"198.51.100.{place % 250}") for place in range(400)]
        self.drain()
        waits = [peer.heard()[-1].retry_after_s for peer in peers]
        # By chance alone one of these is empty once in 10^49 runs.
        seconds = {int(wait) for wait in waits}
        self.assertEqual(seconds, {1, 2, 3, 4})
        self.assertEqual(len(set(waits)), 400)
        for peer in peers:
            peer.lose()

    async def test_with_nobody_there_it_ends_at_once(self) -> None:
        self.assertIsNone(self.successResultOf(self.drain()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_who_waits_for_a_refusal_does_not_hold_it_up(self) -> None:
        client = self.peer()
        client.ask(request.Join(number=12_345))
        drained = self.drain()
        client.lose()
        self.assertIsNone(self.successResultOf(drained))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_server_that_never_began_can_be_drained(self) -> None:
        server = TunnelServerFactory(self.clock, self.directory, self.thread.run)
        self.assertIsNone(self.successResultOf(defer.Deferred.fromCoroutine(server.drain())))

    async def test_a_half_closed_link_is_closed(self) -> None:
        _, client = self.pair()
        client.protocol.readConnectionLost()
        self.assertTrue(client.closed)

    async def test_a_half_close_while_closing(self) -> None:
        master, client = self.pair()
        client.stall()
        master.ask(request.Close())
        client.protocol.readConnectionLost()
        self.assertFalse(client.closed)
        client.go_on()
        self.assertTrue(client.closed)

    async def test_nothing_of_what_members_say_is_logged(self) -> None:
        master, client = self.pair()
        canary = b"canary-31415926-canary"
        master.send(sealed(1, 2, canary))
        client.send(sealed(2, 1, canary))
        client.send(sealed(2, 9, canary))
        client.send(canary * 10)
        self.assertIn(canary, client.transport.value())
        text = repr(self.logged) + repr(vars(self.server))
        self.assertNotIn(canary.decode(), text)
        self.assertNotIn(str(master.number), text)
        # Nor who they are, and a stranger who says nonsense writes no line each time.
        self.assertEqual(self.server.counters.failed_links["not-allowed"], 1)
        self.peer("192.0.2.3").send(canary * 10)
        self.assertEqual(self.server.counters.failed_links["malformed"], 1)
        self.assertEqual(self.logged, [])
