"""A connection that carries packets: what it sends, gives on, answers itself; and its silence."""

from __future__ import annotations

import pytest

from porttunnel.errors import LinkBroken, RemoteProtocolError
from porttunnel.session.event import PathKind
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import (
    HEADER_BYTES,
    MASTER,
    NO_MEMBER,
    PacketType,
    decode_header,
    encode_packet,
)
from porttunnel.session.path import MAX_MISSED_PINGS, Path
from porttunnel.session.stream_turns import StreamTurns
from tests.session.pairs import PairOfSides, drain

PING = encode_packet(PacketType.PING, MASTER, 2, b"12345678")
PONG = encode_packet(PacketType.PONG, MASTER, 2, b"12345678")
DATA = encode_packet(PacketType.DATA, MASTER, 2, bytes(40))


@pytest.fixture
def path() -> Path:
    made = Path(PathKind.DIRECT, SlotPool())
    made.member = 2
    return made


def receive(path: Path, data: bytes, now: float = 0.0) -> list[bytes]:
    return [bytes(packet) for _, packet in path.receive(memoryview(data), now, MASTER)]


def test_is_idle_and_open_at_first() -> None:
    path = Path(PathKind.RELAY, SlotPool())
    assert path.kind is PathKind.RELAY
    assert path.member == NO_MEMBER
    assert not path.closed
    assert not path.turns
    path.wake()
    assert list(path.outbox.views()) == []


def test_sends_in_its_members_name(path: Path) -> None:
    path.send(PacketType.REQUEST, 0, b"body", 7)
    sent = drain(path.outbox)
    header = decode_header(sent)
    assert (header.kind, header.sender, header.target) == (PacketType.REQUEST, 2, 0)
    assert (header.number, sent[HEADER_BYTES:]) == (7, b"body")


def test_is_promised_while_somebody_is_told_of_room() -> None:
    pair = PairOfSides().client.pair
    path = pair.path
    assert path is not None
    assert not path.is_promised
    turns = StreamTurns(pair)
    turns.tell(1)
    assert path.is_promised
    turns.came(1)
    assert not path.is_promised


def test_sends_nothing_once_closed_not_even_what_was_queued(path: Path) -> None:
    path.outbox.append(b"packet")
    path.turns.wait(MASTER)
    path.close()
    assert path.closed
    assert not path.turns
    path.send(PacketType.PING, MASTER, bytes(8))
    assert drain(path.outbox) == b""


class TestReceiving:
    @pytest.mark.parametrize("size", [1, 7, 36, 1000])
    def test_gives_packets_and_answers_pings(self, path: Path, size: int) -> None:
        stream = DATA + PING + PONG + DATA
        found = [
            packet
            for start in range(0, len(stream), size)
            for packet in receive(path, stream[start : start + size])
        ]
        assert found == [DATA, DATA]
        assert drain(path.outbox) == encode_packet(PacketType.PONG, 2, MASTER, b"12345678")

    def test_a_flood_of_pings_makes_no_queue(self, path: Path) -> None:
        path.outbox.limit_bytes = 1_000
        assert receive(path, PING * 100) == []
        assert 1_000 <= path.outbox.waiting_bytes < 1_000 + len(PONG)

    def test_stops_where_a_packet_closed_it(self, path: Path) -> None:
        found = []
        for _, packet in path.receive(memoryview(DATA * 3), 0.0, MASTER):
            found.append(bytes(packet))
            path.close()
        assert found == [DATA]

    def test_what_is_no_packet_is_refused(self, path: Path) -> None:
        with pytest.raises(RemoteProtocolError):
            receive(path, b"GET / HTTP/1.1\r\n" * 4)


class TestSilence:
    def test_counts_from_the_start(self, path: Path) -> None:
        assert path.ping_deadline(5.0) is None
        path.start(100.0)
        assert path.ping_deadline(5.0) == 105.0
        receive(path, PING[:1], 103.0)
        assert path.ping_deadline(5.0) == 108.0

    def test_is_broken_by_pings_and_then_the_path_is_dead(self, path: Path) -> None:
        path.start(0.0)
        for count in range(1, MAX_MISSED_PINGS + 1):
            path.ping(5.0 * count, MASTER, "dead")
            assert drain(path.outbox) == encode_packet(PacketType.PING, 2, MASTER, bytes(8))
            assert path.ping_deadline(5.0) == 5.0 * (count + 1)
        with pytest.raises(LinkBroken, match="it is dead"):
            path.ping(99.0, MASTER, "it is dead")
        assert drain(path.outbox) == b""

    def test_any_byte_is_a_sign_of_life(self, path: Path) -> None:
        path.start(0.0)
        for count in range(3 * MAX_MISSED_PINGS):
            path.ping(float(count), MASTER, "dead")
            receive(path, PONG[count : count + 1], float(count))
        assert not path.closed
