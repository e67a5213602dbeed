"""Direct paths: who gets one, what may come on it, and how packets go there and back."""

from __future__ import annotations

import random

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.keys import sealing
from porttunnel.session.client import ClientMachine
from porttunnel.session.direct import (
    PING_SECONDS,
    PROOF_SECONDS,
    DirectPath,
)
from porttunnel.session.direct_proof import D1_BYTES, D2_BYTES, D3_BYTES
from porttunnel.session.event import (
    ConnectionFailed,
    LinkLost,
    MemberLeft,
    PathChanged,
    PathKind,
    RunFailed,
    SessionFinished,
    StreamDataReceived,
)
from porttunnel.session.packet import (
    FLAG_GROUP,
    FLAG_RESYNC,
    HEADER_BYTES,
    MASTER,
    TAG_BYTES,
    PacketType,
    encode_header_into,
    encode_packet,
)
from porttunnel.session.path import MAX_MISSED_PINGS
from tests.session.test_member import heads
from tests.tunnel import MemoryTunnel

REASON = "192.168.1.5 answered"


class Cable:
    """A connection straight from a client to the master, beside the tunnel.

    :param chunk: how many bytes it delivers at a time; 0: all there are.
    """

    def __init__(self, tunnel: MemoryTunnel, client: ClientMachine, *, chunk: int = 0) -> None:
        self.tunnel = tunnel
        self.chunk = chunk
        self.dialled = client.dial(REASON, tunnel.now)
        self.accepted = tunnel.master.accept_direct(REASON, tunnel.now)
        self.ends: list[DirectPath] = [self.dialled, self.accepted]
        self.closed: list[DirectPath] = []
        self.proven: list[DirectPath] = []
        for end in self.ends:
            end.on_closed = lambda end=end: self.closed.append(end)  # type: ignore[misc]  # bound
            end.on_proven = lambda end=end: self.proven.append(end)  # type: ignore[misc]  # bound

    def take(self, end: DirectPath) -> bytes:
        """What one end sends now."""
        data = b"".join(end.data_to_send())
        end.data_sent(len(data))
        return data

    def give(self, end: DirectPath, data: bytes) -> None:
        """Bytes to one end."""
        size = self.chunk or max(len(data), 1)
        for start in range(0, len(data), size):
            piece = memoryview(bytearray(data[start : start + size]))
            end.receive_data(piece, self.tunnel.now)
            self.collect()

    def collect(self) -> None:
        for line in self.tunnel.lines.values():
            self.tunnel._collect(line)

    def carry(self) -> bool:
        """All that is to be sent now, from both ends."""
        moved = False
        for end, other in ((self.dialled, self.accepted), (self.accepted, self.dialled)):
            data = self.take(end)
            if data:
                self.give(other, data)
                moved = True
        return moved

    def settle(self) -> None:
        """Until nobody has anything to send, here and on the tunnel."""
        self.tunnel.run()
        while self.carry():
            self.tunnel.run()

    def pass_time(self, seconds: float) -> None:
        end = self.tunnel.now + seconds
        while self.tunnel.now < end:
            self.tunnel.pass_time(min(0.25, end - self.tunnel.now))
            for each in self.ends:
                each.handle_timeout(self.tunnel.now)
            self.collect()
            self.settle()

    def cut(self) -> None:
        """The connection breaks; what is on its way is lost."""
        for end in self.ends:
            self.take(end)
            end.receive_eof(self.tunnel.now)
        self.collect()


class Talk:
    """A session with a stream that both sides write to."""

    def __init__(self, *, chunk: int = 0) -> None:
        self.tunnel = MemoryTunnel()
        self.client = self.tunnel.enter()
        self.stream = self.client.streams.open("web")
        self.tunnel.run()
        self.tunnel.master.streams(2).accept(self.stream)
        self.tunnel.pass_time(1.0)
        self.chunk = chunk
        self.sent: dict[int, bytearray] = {MASTER: bytearray(), 2: bytearray()}

    def connect(self) -> Cable:
        """A direct path that is in use."""
        cable = self.dial()
        cable.settle()
        return cable

    def dial(self) -> Cable:
        return Cable(self.tunnel, self.client, chunk=self.chunk)

    def write(self, member: int, data: bytes) -> None:
        self.sent[member] += data
        streams = self.client.streams if member == 2 else self.tunnel.master.streams(2)
        streams.write(self.stream, data)

    def received(self, member: int) -> bytes:
        events = [e for e in self.tunnel.events[member] if isinstance(e, StreamDataReceived)]
        return b"".join(bytes(event.data) for event in events)

    def consume(self) -> None:
        """The applications have read everything."""
        for member in (MASTER, 2):
            streams = self.client.streams if member == 2 else self.tunnel.master.streams(2)
            streams.consumed(self.stream, streams._streams[self.stream].unconsumed)

    def assert_equal(self) -> None:
        assert self.received(MASTER) == bytes(self.sent[2])
        assert self.received(2) == bytes(self.sent[MASTER])

    def ways(self) -> tuple[PathKind | None, PathKind | None]:
        """Which way each side's packets go."""
        found = []
        for peer in (self.client.peers[MASTER], self.tunnel.master.peers[2]):
            found.append(None if peer.pair.path is None else peer.pair.path.kind)
        return found[0], found[1]

    def changes(self, member: int) -> list[tuple[PathKind, str]]:
        events = [e for e in self.tunnel.events[member] if isinstance(e, PathChanged)]
        return [(event.path, event.reason) for event in events]

    def assert_nothing_happened(self) -> None:
        for events in self.tunnel.events.values():
            for event in events:
                assert not isinstance(
                    event, ConnectionFailed | RunFailed | MemberLeft | LinkLost | SessionFinished
                )

    def assert_nothing_but_lost_links(self) -> None:
        for events in self.tunnel.events.values():
            for event in events:
                assert not isinstance(
                    event, ConnectionFailed | RunFailed | MemberLeft | SessionFinished
                )


DIRECT = (PathKind.DIRECT, PathKind.DIRECT)
RELAY = (PathKind.RELAY, PathKind.RELAY)


class TestProof:
    @pytest.mark.parametrize("chunk", [1, 7, 0])
    def test_leads_the_packets_over(self, chunk: int) -> None:
        talk = Talk(chunk=chunk)
        cable = talk.connect()
        assert cable.proven == [cable.dialled, cable.accepted]
        assert talk.ways() == DIRECT
        assert talk.changes(2) == talk.changes(MASTER) == [(PathKind.DIRECT, REASON)]
        talk.tunnel.relayed.clear()
        talk.write(2, b"to the master" * 500)
        talk.write(MASTER, b"to the client" * 500)
        cable.settle()
        talk.assert_equal()
        assert talk.tunnel.relayed == []

    def test_packets_may_follow_d3_in_the_same_read(self) -> None:
        talk = Talk()
        cable = talk.dial()
        d1 = cable.take(cable.dialled)
        assert len(d1) == D1_BYTES
        assert cable.take(cable.accepted) == b""
        cable.give(cable.accepted, d1)
        d2 = cable.take(cable.accepted)
        assert len(d2) == D2_BYTES
        cable.give(cable.dialled, d2)
        following = cable.take(cable.dialled)
        (question,) = heads(following[D3_BYTES:])
        assert (question.kind, question.flags) == (PacketType.ACK, FLAG_RESYNC)
        cable.give(cable.accepted, following)
        assert cable.accepted.peer is talk.tunnel.master.peers[2]
        cable.settle()
        assert talk.ways() == DIRECT

    @pytest.mark.parametrize("member", [3, 9, 0xFFFD])
    def test_a_stranger_gets_not_a_byte(self, member: int) -> None:
        talk = Talk()
        joining = talk.tunnel.join()
        assert joining.member == 3
        cable = talk.dial()
        d1 = bytearray(cable.take(cable.dialled))
        d1[20:22] = member.to_bytes(2)
        self.assert_mute(cable, bytes(d1))

    def test_nor_does_who_changes_a_bit(self) -> None:
        talk = Talk()
        for place in range(D1_BYTES):
            cable = talk.dial()
            d1 = bytearray(cable.take(cable.dialled))
            d1[place] ^= 1 << place % 8
            self.assert_mute(cable, bytes(d1))
        talk.assert_nothing_happened()
        assert talk.ways() == RELAY

    def test_nor_who_was_put_out(self) -> None:
        talk = Talk()
        cable = talk.dial()
        d1 = cable.take(cable.dialled)
        talk.tunnel.master.kick(2)
        self.assert_mute(cable, d1)

    @pytest.mark.parametrize("opening", [b"GET / HTTP/1.1\r\n" * 4, b"\x16\x03\x01" + bytes(60)])
    def test_nor_another_protocol(self, opening: bytes) -> None:
        self.assert_mute(Talk().dial(), opening)

    @staticmethod
    def assert_mute(cable: Cable, opening: bytes) -> None:
        cable.give(cable.accepted, opening)
        assert cable.closed == [cable.accepted]
        assert cable.take(cable.accepted) == b""
        cable.give(cable.accepted, opening)
        assert cable.take(cable.accepted) == b""
        assert cable.proven == []

    def test_who_is_put_out_between_its_proofs_is_not_let_in(self) -> None:
        talk = Talk()
        cable = talk.dial()
        cable.give(cable.accepted, cable.take(cable.dialled))
        cable.give(cable.dialled, cable.take(cable.accepted))
        talk.tunnel.master.kick(2)
        cable.give(cable.accepted, cable.take(cable.dialled))
        assert cable.accepted in cable.closed
        assert cable.accepted.peer is None

    @pytest.mark.parametrize("place", [0, 15, 16, 31])
    def test_a_false_master_gets_no_packet(self, place: int) -> None:
        talk = Talk()
        cable = talk.dial()
        cable.give(cable.accepted, cable.take(cable.dialled))
        d2 = bytearray(cable.take(cable.accepted))
        d2[place] ^= 1
        cable.give(cable.dialled, bytes(d2))
        assert cable.closed == [cable.dialled]
        assert cable.take(cable.dialled) == b""
        talk.assert_nothing_happened()

    def test_a_replayed_run_ends_at_d3(self) -> None:
        talk = Talk()
        cable = talk.dial()
        d1 = cable.take(cable.dialled)
        cable.give(cable.accepted, d1)
        cable.give(cable.dialled, cable.take(cable.accepted))
        d3 = cable.take(cable.dialled)[:D3_BYTES]
        again = talk.dial()
        again.give(again.accepted, d1)
        assert len(again.take(again.accepted)) == D2_BYTES
        again.give(again.accepted, d3)
        assert again.closed == [again.accepted]
        assert again.accepted.peer is None

    @pytest.mark.parametrize("end", [0, 1])
    def test_has_three_seconds(self, end: int) -> None:
        talk = Talk()
        cable = talk.dial()
        path = cable.ends[end]
        began = talk.tunnel.now
        assert PROOF_SECONDS == 3.0
        assert path.next_deadline() == began + PROOF_SECONDS
        path.handle_timeout(began + PROOF_SECONDS - 0.1)
        assert cable.closed == []
        path.handle_timeout(began + PROOF_SECONDS)
        assert cable.closed == [path]
        assert path.next_deadline() is None
        path.handle_timeout(began + 2 * PROOF_SECONDS)
        assert talk.ways() == RELAY

    def test_a_connection_that_breaks_before_it_changes_nothing(self) -> None:
        talk = Talk()
        cable = talk.dial()
        cable.cut()
        cable.cut()
        assert cable.closed == cable.ends
        talk.assert_nothing_happened()
        assert talk.changes(2) == []

    def test_who_is_no_member_can_not_dial(self) -> None:
        tunnel = MemoryTunnel()
        client = tunnel.join()
        with pytest.raises(LocalProtocolError, match="not a member"):
            client.dial(REASON, tunnel.now)


class TestPackets:
    @staticmethod
    def wrong(name: str, talk: Talk) -> bytes:
        if name == "rubbish":
            return b"HTTP/1.1 502 Bad Gateway\r\n\r\n" * 2
        if name == "in the clear":
            return encode_packet(PacketType.C1, 2, MASTER, bytes(1_572))
        sender, target = {"another sender": (3, MASTER), "another target": (2, 3)}.get(
            name, (2, MASTER)
        )
        packet = bytearray(HEADER_BYTES + TAG_BYTES)
        kind = PacketType.ACK if name == "a forged ack" else PacketType.DATA
        flags = FLAG_GROUP if name == "to all" else 0
        pair = talk.tunnel.master.peers[2].pair
        number = pair._expected_ack_number if kind is PacketType.ACK else pair._receipts.expected
        encode_header_into(packet, kind, sender, target, TAG_BYTES, number=number, flags=flags)
        return bytes(packet)

    @pytest.mark.parametrize(
        "name",
        [
            "rubbish",
            "in the clear",
            "another sender",
            "another target",
            "to all",
            "forged",
            "a forged ack",
        ],
    )
    def test_what_is_wrong_closes_this_path_only(self, name: str) -> None:
        talk = Talk()
        cable = talk.connect()
        talk.write(2, b"before ")
        cable.settle()
        cable.give(cable.accepted, self.wrong(name, talk))
        assert cable.accepted.closed
        # The connection goes, so the other end hears of it.
        cable.dialled.receive_eof(talk.tunnel.now)
        talk.write(2, b"after")
        talk.write(MASTER, b"and back")
        talk.tunnel.pass_time(3.0)
        talk.assert_equal()
        talk.assert_nothing_happened()
        assert talk.ways() == RELAY
        assert talk.changes(MASTER)[-1][0] is PathKind.RELAY

    def test_that_come_after_the_end_are_nothing(self) -> None:
        talk = Talk()
        cable = talk.connect()
        talk.write(2, b"lost")
        late = cable.take(cable.dialled)
        cable.accepted.receive_eof(talk.tunnel.now)
        cable.give(cable.accepted, late)
        assert talk.received(MASTER) == b""
        cable.dialled.receive_eof(talk.tunnel.now)
        talk.tunnel.pass_time(3.0)
        talk.assert_equal()

    def test_once_the_member_is_gone_nobody_is_answered(self) -> None:
        talk = Talk()
        cable = talk.dial()
        proof = cable.take(cable.dialled)
        talk.tunnel.master.close()
        cable.give(cable.accepted, proof)
        assert cable.take(cable.accepted) == b""
        assert cable.accepted.peer is None
        # Its time is over as any stranger's.
        cable.accepted.handle_timeout(talk.tunnel.now + PROOF_SECONDS)
        assert cable.closed == [cable.accepted]

    def test_what_its_dialler_is_answered_late_is_nothing(self) -> None:
        talk = Talk()
        cable = talk.dial()
        cable.give(cable.accepted, cable.take(cable.dialled))
        proof = cable.take(cable.accepted)
        talk.client.close()
        cable.give(cable.dialled, proof)
        assert cable.dialled.peer is None
        assert cable.proven == []
        assert cable.take(cable.dialled) == b""

    def test_no_more_is_queued_than_was_said(self) -> None:
        talk = Talk()
        cable = talk.connect()
        cable.dialled.limit_ahead(10_000)
        for streams in (talk.client.streams, talk.tunnel.master.streams(2)):
            streams._streams[talk.stream].send_credit = 1_000_000
            streams._streams[talk.stream].receive_credit = 1_000_000
        talk.write(2, bytes(range(250)) * 2_000)
        cable.dialled.data_to_send()
        assert cable.dialled.outbox.waiting_bytes < 100_000
        cable.settle()
        talk.assert_equal()

    def test_what_happens_is_the_members(self) -> None:
        talk = Talk()
        cable = talk.connect()
        talk.write(2, b"x")
        cable.accepted.receive_data(
            memoryview(bytearray(cable.take(cable.dialled))), talk.tunnel.now
        )
        (event,) = cable.accepted.events()
        assert isinstance(event, StreamDataReceived)


class TestDead:
    def test_an_idle_path_is_kept_alive(self) -> None:
        talk = Talk()
        cable = talk.connect()
        cable.pass_time(60.0)
        assert cable.closed == []
        assert talk.ways() == DIRECT

    @pytest.mark.parametrize("silent", [0, 1])
    def test_is_left_within_four_and_a_half_seconds(self, silent: int) -> None:
        talk = Talk()
        cable = talk.connect()
        assert PING_SECONDS * (MAX_MISSED_PINGS + 1) == 4.5
        path = cable.ends[1 - silent]
        talk.write(2, b"on its way")
        talk.write(MASTER, b"likewise")
        for end in cable.ends:
            cable.take(end)
        died = talk.tunnel.now
        while not path.closed:
            due = path.next_deadline()
            assert due is not None
            talk.tunnel.now = due
            path.handle_timeout(due)
            cable.take(path)
        assert talk.tunnel.now - died <= 4.5
        (kind, reason) = [(e.path, e.reason) for e in self.asked(talk, cable, path)][-1]
        assert kind is PathKind.RELAY
        assert "dead" in reason or "left" in reason
        talk.tunnel.pass_time(8.0)
        talk.assert_equal()

    @staticmethod
    def asked(talk: Talk, cable: Cable, path: DirectPath) -> list[PathChanged]:
        cable.collect()
        asked = [h for h in heads(b"".join(path._owner.data_to_send())) if h.flags & FLAG_RESYNC]
        assert len(asked) == 1
        talk.tunnel.run()
        member = 2 if path is cable.dialled else MASTER
        return [e for e in talk.tunnel.events[member] if isinstance(e, PathChanged)]


class TestSwitching:
    def test_a_newer_path_takes_the_place_of_the_last(self) -> None:
        talk = Talk()
        first = talk.connect()
        second = talk.connect()
        assert set(first.closed) == set(first.ends)
        assert talk.ways() == DIRECT
        assert talk.client.peers[MASTER].direct is second.dialled
        # What the older one still has to say is nobody's business.
        first.dialled.receive_eof(talk.tunnel.now)
        talk.tunnel.master.peers.lose_direct(
            talk.tunnel.master.peers[2], first.accepted, "late", talk.tunnel.now
        )
        talk.write(2, b"here")
        second.settle()
        talk.assert_equal()
        assert talk.ways() == DIRECT

    def test_the_link_may_be_away_meanwhile(self) -> None:
        talk = Talk()
        cable = talk.connect()
        for member in (2, MASTER):
            talk.tunnel.cut(member)
        talk.write(2, b"straight")
        talk.write(MASTER, b"ahead")
        cable.settle()
        talk.assert_equal()
        cable.cut()
        talk.write(2, b" and then")
        talk.tunnel.pass_time(1.0)
        for member in (2, MASTER):
            talk.tunnel.resume(member)
        talk.tunnel.pass_time(3.0)
        talk.assert_equal()

    def test_a_kick_closes_it(self) -> None:
        talk = Talk()
        cable = talk.connect()
        talk.tunnel.master.kick(2)
        assert cable.accepted.closed
        # The goodbye goes out there yet, and nothing else.
        last = heads(cable.take(cable.accepted))
        assert [header.kind for header in last] == [PacketType.DATA]
        talk.tunnel.keeps_kicked = True
        cable.give(cable.accepted, cable.take(cable.dialled))
        assert cable.take(cable.accepted) == b""

    def test_a_goodbye_goes_by_it(self) -> None:
        talk = Talk()
        cable = talk.connect()
        for member in (2, MASTER):
            talk.tunnel.cut(member)
        talk.client.close("done")
        cable.carry()
        (left,) = talk.tunnel.events_of(talk.tunnel.master, MemberLeft)
        assert (left.reason, left.cut_off) == ("done", False)

    @pytest.mark.parametrize("generations", [False, True])
    def test_two_hundred_times_in_one_stream(
        self, monkeypatch: pytest.MonkeyPatch, generations: bool
    ) -> None:
        if generations:
            monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 7)
        talk = Talk()
        source = random.Random(20)
        cable: Cable | None = None
        for _ in range(400):
            for member in (2, MASTER):
                talk.write(member, source.randbytes(source.randrange(1, 3_000)))
            if cable is None:
                cable = talk.dial()
                for _ in range(source.randrange(12)):
                    cable.carry()
                    if source.random() < 0.5:
                        talk.tunnel.run()
            else:
                for _ in range(source.randrange(3)):
                    cable.carry()
                cable.cut()
                cable = None
            if source.random() < 0.1:
                who = source.choice((2, MASTER))
                talk.tunnel.cut(who)
                talk.tunnel.pass_time(0.1)
                talk.tunnel.resume(who)
            if cable is None:
                talk.tunnel.pass_time(source.choice((0.01, 1.5)))
            talk.consume()
        if cable is not None:
            cable.cut()
        for _ in range(20):
            talk.tunnel.pass_time(3.0)
            talk.consume()
        talk.assert_equal()
        talk.assert_nothing_but_lost_links()
        assert len(talk.changes(2)) > 100
        assert len(talk.changes(MASTER)) > 100
        if generations:
            assert talk.client.peers[MASTER].pair._sealer.generation > 20
