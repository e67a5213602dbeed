"""Whose packets go where, whose turn it is, and when which pair wants a call."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    LimitExceeded,
    PorttunnelError,
    RemoteProtocolError,
)
from porttunnel.session.event import (
    MemberAway,
    MemberBack,
    PathChanged,
    PathKind,
    StreamDataReceived,
    StreamOffered,
    StreamWritable,
)
from porttunnel.session.multiplex import MAX_CONTROL_BYTES
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import (
    FLAG_RESYNC,
    FLAG_SYNCED,
    MASTER,
    MAX_PACKET_BYTES,
    PacketType,
    decode_header,
)
from porttunnel.session.path import Path
from porttunnel.session.peer import LEFT_BY_THE_OTHER, Peer
from porttunnel.session.peer_book import LOOK_SECONDS, PeerBook
from porttunnel.session.question import RESYNC_SECONDS
from porttunnel.session.receipt import ACK_AFTER_SECONDS, GAP_SECONDS
from porttunnel.session.record import RecordKind, encode_record
from tests.session.pairs import drain
from tests.session.test_pair import cut
from tests.session.test_peer import establish

NOW = 100.0
CLIENT = 2


class End:
    """A member's book, and what it reported."""

    def __init__(self, member: int) -> None:
        self.member = member
        self.pool = SlotPool()
        self.events: list[Any] = []
        self.control: list[bytes] = []
        self.failed: list[tuple[Peer, PorttunnelError]] = []
        self.drop_at_control = False
        self.woken: list[Path] = []
        self.link = self.make_path(PathKind.RELAY)
        self.book = PeerBook(self.link, self.events, self._receive_control, self._fail)

    def make_path(self, kind: PathKind) -> Path:
        path = Path(kind, self.pool)
        path.wake = lambda: self.woken.append(path)
        return path

    def add(self, remote: int, established: Any) -> Peer:
        peer = Peer(
            self.member,
            remote,
            established,
            pool=self.pool,
            path=self.link,
            events=self.events,
            wants_turn=self.book.want_turn,
        )
        peer.streams.admitted = True
        self.book.add(peer)
        return peer

    def _receive_control(self, peer: Peer, payload: memoryview, now: float) -> None:
        assert now == NOW
        self.control.append(bytes(payload))
        if self.drop_at_control:
            self.book.drop(peer)

    def _fail(self, peer: Peer, error: PorttunnelError) -> None:
        self.failed.append((peer, error))
        self.book.drop(peer)

    def receive(self, peer: Peer, packets: list[bytes], path: Path | None = None) -> None:
        for packet in packets:
            header, copy = decode_header(packet), memoryview(bytearray(packet))
            self.book.receive_sealed(peer, header, copy, path or self.book.link, NOW)
        self.book.reading_done()

    def sent(self, path: Path | None = None) -> list[bytes]:
        """What goes out on a path, the link if nothing else is said."""
        path = path or self.book.link
        self.book.take_turns(path)
        return cut(drain(path.outbox))


class Two:
    """A client and the master, with each other in their books."""

    def __init__(self) -> None:
        at_client, at_master = establish()
        self.client, self.master = End(CLIENT), End(MASTER)
        self.theirs = self.client.add(MASTER, at_client)  # the master, as the client sees it
        self.ours = self.master.add(CLIENT, at_master)

    def exchange(self, ours: Path | None = None, theirs: Path | None = None) -> None:
        """Until nothing is to be sent on these two ends of a path."""
        moved = True
        while moved:
            to_master, to_client = self.client.sent(theirs), self.master.sent(ours)
            self.master.receive(self.ours, to_master, ours)
            self.client.receive(self.theirs, to_client, theirs)
            moved = bool(to_master or to_client)

    def meet(self) -> tuple[Path, Path]:
        """A direct path that both go by; the master's end and the client's."""
        ours = self.master.make_path(PathKind.DIRECT)
        theirs = self.client.make_path(PathKind.DIRECT)
        ours.reason, theirs.reason = "knocked", "answered"
        self.client.book.attach_direct(self.theirs, theirs, NOW)
        self.master.book.attach_direct(self.ours, ours, NOW)
        self.exchange(ours, theirs)
        assert (self.ours.pair.path, self.theirs.pair.path) == (ours, theirs)
        return ours, theirs

    def settle(self, now: float = NOW) -> None:
        """Whatever waits is exchanged and acknowledged."""
        for _ in range(2):
            self.exchange()
            for end in (self.client, self.master):
                end.book.handle_timeout(now + ACK_AFTER_SECONDS)
        self.exchange()


@pytest.fixture
def two() -> Two:
    return Two()


def flags(packets: list[bytes]) -> list[int]:
    """Of the ACKs; -1 for DATA."""
    headers = [decode_header(packet) for packet in packets]
    return [h.flags if h.kind is PacketType.ACK else -1 for h in headers]


class TestBook:
    def test_knows_its_peers(self, two: Two) -> None:
        book = two.master.book
        other = two.master.add(5, establish()[1])
        assert len(book) == 2
        assert list(book) == [two.ours, other]
        assert CLIENT in book
        assert 3 not in book
        assert book[5] is book.get(5) is other
        assert book.get(3) is None
        for peer in book:
            book.drop(peer)  # while it is walked through
        assert len(book) == 0

    def test_a_dropped_peer_has_no_turn_no_deadline_and_no_keys(self, two: Two) -> None:
        book = two.master.book
        two.ours.streams.open("web")
        two.master.sent()
        book.ask_on_link(two.ours, NOW)
        two.ours.streams.open("wiki")
        assert CLIENT in two.master.link.turns
        book.drop(two.ours)
        assert CLIENT not in book
        assert not two.master.link.turns
        assert not book.is_busy()
        book.handle_timeout(NOW + GAP_SECONDS)
        assert book.next_deadline(NOW) is None
        # What was queued still goes out.
        assert flags(two.master.sent()) == [FLAG_RESYNC]
        book.drop(two.ours)


class TestReceiving:
    def test_records_go_to_streams_and_control(self, two: Two) -> None:
        stream = two.theirs.streams.open("web")
        two.theirs.streams.send_control(encode_record(RecordKind.CONTROL, 0, b"message"))
        two.exchange()
        assert two.master.events == [StreamOffered(CLIENT, stream, "web")]
        assert two.master.control == [b"message"]
        assert two.master.book.next_deadline(NOW) == NOW + ACK_AFTER_SECONDS

    def test_a_peer_that_a_message_drops_is_left_alone(self, two: Two) -> None:
        two.master.drop_at_control = True
        two.theirs.streams.send_control(encode_record(RecordKind.CONTROL, 0, b"message"))
        two.exchange()
        assert two.master.control == [b"message"]
        assert two.master.book.next_deadline(NOW) is None
        assert two.master.failed == []

    @pytest.mark.parametrize("kind", list(PathKind))
    def test_what_is_no_record_ends_the_pair_wherever_it_came(
        self, two: Two, kind: PathKind
    ) -> None:
        assert two.theirs.pair.append(b"no record at all")
        two.theirs.pair.seal()
        path = two.master.make_path(PathKind.DIRECT) if kind is PathKind.DIRECT else None
        two.master.receive(two.ours, two.client.sent(), path)
        ((peer, error),) = two.master.failed
        assert peer is two.ours
        assert isinstance(error, RemoteProtocolError)

    @pytest.mark.parametrize("what", ["DATA", "ACK"])
    def test_what_does_not_open_ends_the_pair_on_the_relay_only(self, two: Two, what: str) -> None:
        if what == "DATA":
            two.theirs.streams.open("web")
        else:
            two.client.book.ask_on_link(two.theirs, NOW)
        (packet,) = two.client.sent()
        forged = packet[:-1] + bytes([packet[-1] ^ 1])
        direct = two.master.make_path(PathKind.DIRECT)
        with pytest.raises(AuthenticationFailed):
            two.master.receive(two.ours, [forged], direct)
        assert two.master.failed == []
        two.master.receive(two.ours, [forged])
        ((peer, error),) = two.master.failed
        assert peer is two.ours
        assert isinstance(error, AuthenticationFailed)

    def test_an_acknowledgement_brings_the_turn_back(self, two: Two) -> None:
        stream = two.theirs.streams.open("web")
        two.exchange()
        two.ours.streams.accept(stream)
        two.settle()
        two.theirs.streams.write(stream, bytes(20_000))
        two.exchange()
        taken = sum(len(e.data) for e in two.master.events if isinstance(e, StreamDataReceived))
        assert taken == 20_000
        two.theirs.streams.write(stream, b"lost")
        lost = two.client.sent()
        two.client.book.ask_on_link(two.theirs, NOW)
        two.master.receive(two.ours, two.client.sent())
        assert not two.client.link.turns
        # The answer tells of the loss, so there is something to send.
        two.client.receive(two.theirs, two.master.sent())
        assert list(two.client.link.turns) == [MASTER]
        assert two.client.sent() == lost

    def test_without_a_path_nothing_is_sent(self, two: Two) -> None:
        two.theirs.streams.open("web")
        packets = two.client.sent()
        two.master.book.leave_link()
        two.master.receive(two.ours, packets)
        two.ours.streams.open("back")
        assert not two.master.link.turns
        assert two.master.woken == []
        assert two.master.sent() == []

    def test_what_is_acknowledged_on_another_path_wakes_that(self, two: Two) -> None:
        _, theirs = two.meet()
        two.client.woken.clear()
        two.ours.pair.resync(two.master.link, NOW)
        (question,) = two.master.sent()
        two.client.receive(two.theirs, [question], two.client.link)
        # The question leads to the relay, where the answer is put.
        assert two.theirs.pair.path is two.client.link
        assert two.client.woken == [theirs]
        two.client.woken.clear()
        two.client.receive(two.theirs, [question], theirs)
        assert two.client.woken == [two.client.link]


class TestTurns:
    def test_who_has_something_to_send_wakes_its_path(self, two: Two) -> None:
        two.ours.streams.open("web")
        assert two.master.woken == [two.master.link]
        assert list(two.master.link.turns) == [CLIENT]
        assert flags(two.master.sent()) == [-1]
        assert not two.master.link.turns

    def test_a_full_path_gives_none(self, two: Two) -> None:
        two.ours.streams.open("web")
        two.master.link.outbox.append(bytes(two.master.link.outbox.limit_bytes))
        two.master.book.take_turns(two.master.link)
        assert list(two.master.link.turns) == [CLIENT]
        two.master.link.outbox.clear()
        assert flags(two.master.sent()) == [-1]

    def test_who_fills_the_path_comes_again_behind_the_others(self, two: Two) -> None:
        other = two.master.add(5, establish()[1])
        two.master.link.outbox.limit_bytes = 100
        two.master.link.outbox.append(bytes(10))
        two.master.link.outbox.sent(0)
        for peer in (two.ours, other):
            peer.streams.open("web")
        two.master.book.take_turns(two.master.link)
        assert list(two.master.link.turns) == [CLIENT, 5]
        drain(two.master.link.outbox)
        assert [decode_header(packet).target for packet in two.master.sent()] == [CLIENT, 5]
        assert not two.master.link.turns

    def test_a_turn_of_who_is_gone_is_nobodys(self, two: Two) -> None:
        two.master.link.turns.wait(9)
        assert two.master.sent() == []
        assert not two.master.link.turns

    def test_who_is_refused_for_a_promise_keeps_its_place(self, two: Two) -> None:
        peers = [two.ours, *(two.master.add(member, establish()[1]) for member in (5, 6))]
        link = two.master.link
        for peer in peers:
            for _ in range(2):
                accept = encode_record(RecordKind.ACCEPT, peer.streams.open("web"), b"\0\1\0\0")
                two.master.sent()
                peer.streams.receive(memoryview(accept), lambda _: None)
        link.outbox.append(bytes(link.outbox.limit_bytes))
        for peer in peers:
            for number in list(peer.streams._streams):
                assert peer.streams.writable_views(number) == ()
        link.outbox.clear()
        two.master.events.clear()
        served = []
        for _ in range(9):
            # Whose streams still wait comes behind the others, not before them.
            for _ in range(3):
                two.master.book.take_turns(link)
            (told,) = (event for event in two.master.events if type(event) is StreamWritable)
            two.master.events.clear()
            served.append(told.member)
            streams = two.master.book[told.member].streams
            assert streams.writable_views(told.stream) != ()
            streams.written(told.stream, 1)
            assert streams.writable_views(told.stream) == ()
            drain(link.outbox)
        assert served == [CLIENT, 5, 6] * 3

    def test_nobody_waits_for_ever_for_who_was_told(self, two: Two) -> None:
        other = two.master.add(5, establish()[1])
        link = two.master.link
        for peer in (two.ours, other):
            accept = encode_record(RecordKind.ACCEPT, peer.streams.open("web"), b"\0\1\0\0")
            two.master.sent()
            peer.streams.receive(memoryview(accept), lambda _: None)
        two.settle()
        link.outbox.append(bytes(link.outbox.limit_bytes))
        for peer in (two.ours, other):
            (number,) = peer.streams._streams
            assert peer.streams.writable_views(number) == ()
        link.outbox.clear()
        assert self.turn(two) == {CLIENT}
        assert self.turn(two) == set()
        assert two.master.book.is_busy()
        now = NOW
        for _ in range(2):
            two.master.book.next_deadline(now)
            now += LOOK_SECONDS
            two.master.book.handle_timeout(now)
        assert two.master.woken[-1] is link
        assert self.turn(two) == {5}

    def turn(self, two: Two) -> set[int]:
        """Of which members a stream is told that there is room."""
        two.master.book.take_turns(two.master.link)
        told = {event.member for event in two.master.events if type(event) is StreamWritable}
        two.master.events.clear()
        return told

    def test_members_that_fill_packets_get_as_much_in_whatever_order(self, two: Two) -> None:
        peers = [two.ours, *(two.master.add(member, establish()[1]) for member in (5, 6))]
        link = two.master.link
        streams = {peer.member: peer.streams.open("web") for peer in peers}
        two.master.sent()
        for peer in peers:
            accept = encode_record(RecordKind.ACCEPT, streams[peer.member], bytes(4))
            peer.streams.receive(memoryview(accept), lambda _: None)
        two.master.events.clear()
        link.outbox.limit_bytes = 3 * MAX_PACKET_BYTES
        sent = dict.fromkeys(streams, 0)
        reading = set(streams)
        for _ in range(100):
            for peer in peers:
                credit = encode_record(RecordKind.CREDIT, streams[peer.member], b"\0\1\0\0")
                if peer.streams._streams[streams[peer.member]].send_credit < 1 << 20:
                    peer.streams.receive(memoryview(credit), lambda _: None)
                # The reactor reads who has bytes, always in this order.
                if peer.member in reading:
                    number = streams[peer.member]
                    count = sum(map(len, peer.streams.writable_views(number, 12)))
                    if count:
                        peer.streams.written(number, count)
                        sent[peer.member] += count
                    else:
                        reading.discard(peer.member)
                reading |= self.turn(two)
            # The link takes some, never all.
            link.outbox.sent(max(0, min(link.outbox.waiting_bytes - 1, MAX_PACKET_BYTES)))
            for peer in peers:
                peer.pair._window.accept(max(0, peer.pair._window.sealed - 4))
            reading |= self.turn(two)
        assert min(sent.values()) > 0
        assert max(sent.values()) < 2 * min(sent.values())

    def test_who_waits_for_its_window_has_none(self, two: Two) -> None:
        peer, pair = two.ours, two.ours.pair
        while room := pair.room():
            assert pair.append(bytes(room))
            pair.seal()
            drain(two.master.link.outbox)
        peer.streams.open("web")
        assert two.master.sent() == []
        assert peer.has_work
        assert not two.master.link.turns

    def test_who_has_moved_takes_it_on_its_path(self, two: Two) -> None:
        two.ours.streams.open("web")
        direct = two.master.make_path(PathKind.DIRECT)
        other_end = two.client.make_path(PathKind.DIRECT)
        two.client.book.attach_direct(two.theirs, other_end, NOW)
        two.master.receive(two.ours, two.client.sent(other_end), direct)
        direct.turns.clear()
        assert list(two.master.link.turns) == [CLIENT]
        two.master.book.take_turns(two.master.link)
        assert two.master.link.outbox.waiting_bytes == 0
        assert list(direct.turns) == [CLIENT]
        assert two.master.woken[-1] is direct
        assert flags(two.master.sent(direct)) == [FLAG_SYNCED, -1]


class TestPaths:
    def test_a_new_link_is_asked_first_and_used_when_answered(self, two: Two) -> None:
        stream = two.theirs.streams.open("web")
        lost = two.client.sent()
        two.client.link.close()
        two.client.book.leave_link()
        assert two.theirs.pair.path is None
        two.client.book.ask_on_link(two.theirs, NOW)
        assert two.client.sent() == []
        new = two.client.make_path(PathKind.RELAY)
        two.client.book.link = new
        two.client.book.use_link(NOW)
        assert two.client.book.link is new
        assert two.client.woken[-1] is new
        assert two.client.book.next_deadline(NOW) == NOW + RESYNC_SECONDS
        question = two.client.sent()
        assert flags(question) == [FLAG_RESYNC]
        two.master.receive(two.ours, question)
        two.client.receive(two.theirs, two.master.sent())
        assert two.client.sent() == lost
        two.master.receive(two.ours, lost)
        assert two.master.events == [StreamOffered(CLIENT, stream, "web")]
        # It is the relay as before: nothing to report.
        assert two.client.events == []

    def test_a_direct_path_is_used_and_reported_by_both(self, two: Two) -> None:
        ours, theirs = two.meet()
        assert two.ours.direct is ours
        assert two.master.events == [PathChanged(CLIENT, PathKind.DIRECT, "knocked")]
        assert two.client.events == [PathChanged(MASTER, PathKind.DIRECT, "answered")]
        two.theirs.streams.open("web")
        two.exchange(ours, theirs)
        assert two.master.events[1:] == [StreamOffered(CLIENT, 1, "web")]
        assert two.client.sent() == two.master.sent() == []

    def test_a_working_direct_path_is_not_left_for_a_new_link(self, two: Two) -> None:
        _, theirs = two.meet()
        two.client.link.close()
        two.client.book.leave_link()
        assert two.theirs.pair.path is theirs
        two.client.book.link = two.client.make_path(PathKind.RELAY)
        two.client.book.use_link(NOW)
        assert two.client.sent() == []
        assert two.theirs.pair.path is theirs

    def test_an_old_question_on_the_relay_does_not_lead_away_for_long(self, two: Two) -> None:
        ours, theirs = two.meet()
        # As if asked before there was a direct path.
        two.theirs.pair.resync(two.client.link, NOW)
        two.master.receive(two.ours, two.client.sent())
        assert two.ours.pair.path is two.master.link
        two.exchange(ours, theirs)
        assert two.ours.pair.path is ours
        assert two.theirs.pair.path is theirs
        assert [event.path for event in two.master.events] == ["direct", "relay", "direct"]

    def test_what_was_sealed_without_a_turn_is_seen_to(self, two: Two) -> None:
        # As an acknowledgement does, when it must begin a generation.
        book, pair = two.master.book, two.ours.pair
        pair.append(encode_record(RecordKind.CONTROL, 0, b"x"))
        pair.flush()
        assert not book.is_busy()
        book.watch(two.ours)
        assert book.is_busy()

    def test_a_link_that_waits_for_its_resumption_is_not_asked_on(self, two: Two) -> None:
        _, theirs = two.meet()
        two.client.link.held = True
        two.client.book.lose_direct(two.theirs, theirs, "it was cut", NOW)
        assert two.client.sent() == []
        two.client.link.held = False
        two.client.book.use_link(NOW)
        assert flags(two.client.sent()) == [FLAG_RESYNC]

    def test_a_lost_direct_path_leads_back_to_the_relay(self, two: Two) -> None:
        ours, theirs = two.meet()
        two.theirs.streams.open("web")
        lost = two.client.sent(theirs)
        two.client.book.lose_direct(two.theirs, theirs, "it was cut", NOW)
        assert theirs.closed
        assert two.theirs.direct is None
        assert two.theirs.pair.path is None
        two.master.book.lose_direct(two.ours, ours, "it was cut here too", NOW)
        question = two.client.sent()
        assert flags(question) == [FLAG_RESYNC]
        two.master.receive(two.ours, question)
        two.client.receive(two.theirs, two.master.sent())
        assert two.client.sent()[1:] == lost
        assert two.client.events[-1] == PathChanged(MASTER, PathKind.RELAY, "it was cut")
        assert two.master.events[-1] == PathChanged(CLIENT, PathKind.RELAY, "it was cut here too")

    def test_who_is_led_back_to_the_relay_hears_a_reason_too(self, two: Two) -> None:
        _, theirs = two.meet()
        two.client.book.lose_direct(two.theirs, theirs, "it was cut", NOW)
        two.exchange()
        assert two.client.events[-1] == PathChanged(MASTER, PathKind.RELAY, "it was cut")
        assert two.master.events[-1] == PathChanged(CLIENT, PathKind.RELAY, LEFT_BY_THE_OTHER)
        two.meet()
        assert two.theirs.relay_reason == LEFT_BY_THE_OTHER

    def test_a_member_is_away_until_it_has_answered(self, two: Two) -> None:
        book = two.master.book
        two.client.book.ask_on_link(two.theirs, NOW)
        old = two.client.sent()
        two.master.receive(two.ours, old)
        two.master.sent()
        for _ in range(2):
            book.move(two.ours, up=False, now=NOW)
        assert two.master.events == [MemberAway(CLIENT)]
        assert two.ours.pair.path is None
        # What it said before it went is no sign of life.
        two.master.receive(two.ours, old)
        book.move(two.ours, up=True, now=NOW)
        assert two.master.events == [MemberAway(CLIENT)]
        two.client.receive(two.theirs, two.master.sent())
        two.master.receive(two.ours, two.client.sent())
        assert two.master.events == [MemberAway(CLIENT), MemberBack(CLIENT)]
        two.exchange()
        assert two.master.events == [MemberAway(CLIENT), MemberBack(CLIENT)]

    def test_a_member_with_a_direct_path_is_not_away(self, two: Two) -> None:
        ours, _ = two.meet()
        two.master.events.clear()
        two.master.book.move(two.ours, up=False, now=NOW)
        assert two.ours.pair.path is ours
        two.master.book.move(two.ours, up=True, now=NOW)
        assert two.master.sent() == []
        assert two.master.events == []

    def test_of_who_is_not_admitted_nobody_hears(self, two: Two) -> None:
        two.ours.streams.admitted = False
        two.master.book.move(two.ours, up=False, now=NOW)
        assert two.ours.pair.path is None
        assert two.master.events == []

    def test_a_newer_direct_path_takes_the_place_of_the_former(self, two: Two) -> None:
        _, former = two.meet()
        newer = two.client.make_path(PathKind.DIRECT)
        two.client.book.attach_direct(two.theirs, newer, NOW)
        assert former.closed
        assert two.theirs.direct is newer
        assert "newer" in two.theirs.relay_reason
        # The former one's end is told late, and changes nothing any more.
        two.client.book.lose_direct(two.theirs, former, "cut", NOW)
        assert two.theirs.direct is newer
        assert "newer" in two.theirs.relay_reason
        assert not newer.closed

    def test_a_dropped_peers_direct_path_asks_nothing(self, two: Two) -> None:
        _, theirs = two.meet()
        two.client.book.drop(two.theirs)
        assert theirs.closed
        two.client.book.lose_direct(two.theirs, theirs, "cut", NOW)
        assert two.theirs.direct is None
        assert two.client.sent() == []


class TestTime:
    def test_busy_is_who_waits_for_anything(self, two: Two) -> None:
        book = two.client.book
        assert not book.is_busy()
        two.theirs.streams.open("web")
        assert book.is_busy()
        packets = two.client.sent()
        assert book.is_busy()
        two.master.receive(two.ours, packets)
        two.master.book.handle_timeout(NOW + ACK_AFTER_SECONDS)
        two.client.receive(two.theirs, two.master.sent())
        assert not book.is_busy()

    def test_the_earliest_deadline_of_all_pairs_counts(self, two: Two) -> None:
        other = two.master.add(5, establish()[1])
        book = two.master.book
        assert book.next_deadline(NOW) is None
        other.pair.resync(two.master.link, NOW + 5)
        book.watch(other)
        assert book.next_deadline(NOW) == NOW + 5 + RESYNC_SECONDS
        two.ours.pair.resync(two.master.link, NOW)
        book.watch(two.ours)
        assert book.next_deadline(NOW) == NOW + RESYNC_SECONDS
        two.ours.pair.resync(two.master.link, NOW + 9)
        book.watch(two.ours)
        two.master.sent()
        book.handle_timeout(NOW + RESYNC_SECONDS - 0.001)
        assert two.master.sent() == []
        book.handle_timeout(NOW + RESYNC_SECONDS)
        (question,) = two.master.sent()
        assert decode_header(question).target == CLIENT
        assert set(two.master.woken) == {two.master.link}
        assert book.next_deadline(NOW) == NOW + 3 * RESYNC_SECONDS

    def test_a_deadline_without_anything_to_send_wakes_nobody(self, two: Two) -> None:
        book = two.master.book
        book.watch(two.ours)
        assert book.next_deadline(NOW) is None
        two.theirs.streams.open("web")
        two.exchange()
        two.master.book.leave_link()
        two.master.woken.clear()
        book.handle_timeout(NOW + ACK_AFTER_SECONDS)
        assert two.master.woken == []
        assert book.next_deadline(NOW) is None

    def test_a_pair_that_fails_takes_no_other_with_it(self, two: Two) -> None:
        other = two.master.add(5, establish()[1])
        two.theirs.streams.open("web")
        two.client.sent()
        two.theirs.streams.open("wiki")
        two.master.receive(two.ours, two.client.sent())
        other.pair.resync(two.master.link, NOW)
        two.master.book.watch(other)
        two.master.sent()
        two.master.book.handle_timeout(NOW + GAP_SECONDS)
        ((peer, error),) = two.master.failed
        assert peer is two.ours
        assert isinstance(error, LimitExceeded)
        (question,) = two.master.sent()
        assert decode_header(question).target == 5

    def test_who_acknowledges_nothing_is_asked(self, two: Two) -> None:
        book, now = two.client.book, NOW
        two.theirs.streams.open("web")
        two.client.sent()  # and the server drops it: the other side is away
        assert book.next_deadline(now) == now + LOOK_SECONDS
        book.handle_timeout(now + LOOK_SECONDS - 0.001)
        for _ in range(2):
            assert two.client.sent() == []
            now += LOOK_SECONDS
            book.handle_timeout(now)
        assert flags(two.client.sent()) == [FLAG_RESYNC]
        assert two.client.woken[-1] is two.client.link
        assert book.next_deadline(now) == now + RESYNC_SECONDS

    def test_who_acknowledges_is_not_asked(self, two: Two) -> None:
        book, now = two.client.book, NOW
        two.theirs.streams.open("first")
        packets = two.client.sent()
        for name in ("second", "third", "fourth"):
            two.theirs.streams.open(name)
            later = two.client.sent()
            two.master.receive(two.ours, packets)
            two.master.book.handle_timeout(now + ACK_AFTER_SECONDS)
            two.client.receive(two.theirs, two.master.sent())
            assert book.is_busy()
            assert book.next_deadline(now) == now + LOOK_SECONDS
            now += LOOK_SECONDS
            book.handle_timeout(now)
            assert two.client.sent() == []
            packets = later

    def test_nobody_is_looked_at_who_has_all_acknowledged(self, two: Two) -> None:
        two.theirs.streams.open("web")
        two.exchange()
        assert two.client.book.next_deadline(NOW) == NOW + LOOK_SECONDS
        two.settle()
        two.client.book.handle_timeout(NOW + LOOK_SECONDS)
        assert two.client.book.next_deadline(NOW) is None
        assert two.client.sent() == []

    def test_nobody_is_asked_without_a_path(self, two: Two) -> None:
        two.theirs.streams.open("web")
        two.client.sent()
        two.client.book.leave_link()
        for count in range(1, 4):
            now = NOW + count * LOOK_SECONDS
            assert two.client.book.next_deadline(now - LOOK_SECONDS) == now
            two.client.book.handle_timeout(now)
        assert two.client.sent() == []

    def test_who_reads_nothing_while_more_and_more_is_told_is_given_up(self, two: Two) -> None:
        """Its link is up, its window full, and it acknowledges nothing."""
        book, peer = two.master.book, two.ours
        other = two.master.add(5, establish()[1])
        other.streams.send_control(TOLD)
        fill_window(two)
        flood(peer, MAX_CONTROL_BYTES - peer.streams.control_bytes)
        assert peer.streams.control_bytes <= MAX_CONTROL_BYTES
        assert book.next_deadline(NOW) == NOW + LOOK_SECONDS
        book.handle_timeout(NOW + LOOK_SECONDS)
        assert two.master.failed == []
        peer.streams.send_control(TOLD)
        # Not at once: whoever tells all members walks through them.
        assert two.master.failed == []
        book.handle_timeout(NOW + 2 * LOOK_SECONDS)
        ((failed, error),) = two.master.failed
        assert failed is peer
        assert isinstance(error, LimitExceeded)
        assert 5 in book

    def test_who_is_away_is_not_told_for_ever_either(self, two: Two) -> None:
        """Nothing of it is unacknowledged: it went after it had read all."""
        book, peer = two.master.book, two.ours
        book.leave_link()
        peer.streams.send_control(TOLD)
        assert book.is_busy()
        now = NOW
        for _ in range(3):
            assert book.next_deadline(now) == now + LOOK_SECONDS
            now += LOOK_SECONDS
            book.handle_timeout(now)
        assert two.master.failed == []
        flood(peer, MAX_CONTROL_BYTES)
        book.handle_timeout(now + LOOK_SECONDS)
        ((failed, error),) = two.master.failed
        assert failed is peer
        assert isinstance(error, LimitExceeded)
        assert not book.is_busy()

    def test_who_is_out_is_looked_at_no_more(self, two: Two) -> None:
        book = two.master.book
        book.leave_link()
        book.drop(two.ours)
        two.ours.streams.send_control(TOLD)
        assert not book.is_busy()
        assert book.next_deadline(NOW) is None


TOLD = encode_record(RecordKind.CONTROL, 0, bytes(60_000))


def flood(peer: Peer, count: int) -> None:
    """About so many bytes, and no more, of records to one that takes none."""
    for _ in range(count // len(TOLD)):
        peer.streams.send_control(TOLD)


def fill_window(two: Two) -> None:
    """As much goes out as may be unacknowledged, and gets lost."""
    two.ours.streams.send_control(TOLD)
    while two.master.sent():
        two.ours.streams.send_control(TOLD)
