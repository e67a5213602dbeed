"""Streams of a pair under any order of writes, reads, ends, deliveries and ticks.

What is delivered is a prefix of what was sent; no number is sealed twice; every bound holds; a
stream that nobody reads stops no other; and once everybody reads, everything arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from porttunnel.errors import StreamCode
from porttunnel.keys import sealing
from porttunnel.session import window
from porttunnel.session.credit import CREDIT_BUDGET_BYTES, MAX_STREAMS, MAX_WINDOW_BYTES
from porttunnel.session.event import (
    StreamAccepted,
    StreamClosed,
    StreamDataReceived,
    StreamEnded,
    StreamOffered,
    StreamRefusedRemotely,
    StreamResetRemotely,
    StreamWritable,
)
from porttunnel.session.packet import (
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    PacketSplitter,
    PacketType,
    decode_header,
)
from tests.session.pairs import PairOfSides, Side

# Small enough that a short run meets them.
WINDOW_BYTES = 400 * 1024
TINY_PACKET_BYTES = 8 * 1024
GENERATION_PACKETS = 7
LINK_BYTES = 100 * 1024
MAX_OPEN = 6

SIZES = st.one_of(st.integers(1, 200), st.integers(1, 20_000), st.integers(30_000, 200_000))
CHUNKS = st.one_of(st.integers(1, 3), st.integers(30, 100), st.just(1 << 20))


@cache
def pattern(stream: int, direction: int) -> bytes:
    """What is written: no two streams or places look alike for long."""
    seed = bytes((17 * i * (stream + 2) + 91 * direction + i // 251) % 256 for i in range(65_521))
    return seed * 60


@dataclass
class Half:
    """One direction of a stream, as it should be."""

    sent: int = 0
    received: int = 0
    unread: int = 0
    end_sent: bool = False
    ended: bool = False


@dataclass
class Model:
    """A stream, as it should be."""

    opener: Side
    accepted: bool = False
    broken: bool = False  # reset or refused: what came before may be incomplete
    halves: dict[int, Half] = field(default_factory=lambda: {0: Half(), 1: Half()})


class Wire:
    """One direction of the link: bytes under way, and what went onto it."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.sender_splitter = PacketSplitter()
        self.receiver_splitter = PacketSplitter()
        self.sealed: dict[tuple[PacketType, int], bytes] = {}
        self.nonces: set[tuple[PacketType, int, int]] = set()

    def put(self, data: bytes) -> None:
        self.bytes += data
        for header, packet in self.sender_splitter.split(memoryview(data)):
            nonce = (header.kind, header.epoch, header.number)
            assert nonce not in self.nonces, "one nonce twice under one key"
            self.nonces.add(nonce)
            assert (header.kind, header.number) not in self.sealed
            self.sealed[header.kind, header.number] = bytes(packet)


class Streams(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            mock.patch.object(window, "WINDOW_BYTES", WINDOW_BYTES),
            mock.patch.object(window, "MIN_PACKET_COST_BYTES", TINY_PACKET_BYTES),
            mock.patch.object(sealing, "MAX_GENERATION_PACKETS", GENERATION_PACKETS),
        ]
        for patch in self.patches:
            patch.start()
        self.two = PairOfSides()
        self.sides = (self.two.client, self.two.master)
        for side in self.sides:
            side.outbox.limit_bytes = LINK_BYTES
        self.wires = (Wire(), Wire())
        self.streams: dict[int, Model] = {}
        self.refused: tuple[set[int], set[int]] = (set(), set())

    # The link

    def put(self, index: int, limit: int | None = None) -> bool:
        """Let a link take bytes; whether there were any."""
        side = self.sides[index]
        side.pair.send_again()
        side.streams.advance()
        side.pair.flush()
        waiting = b"".join(side.outbox.views())[:limit]
        side.outbox.sent(len(waiting))
        self.wires[index].put(waiting)
        self.look(index)
        return bool(waiting)

    def deliver(self, index: int, count: int) -> bool:
        """Bring bytes to the other side; whether there were any."""
        wire = self.wires[index]
        data = bytearray(wire.bytes[:count])
        del wire.bytes[:count]
        target = 1 - index
        side = self.sides[target]
        for header, packet in wire.receiver_splitter.split(memoryview(data)):
            if header.kind is PacketType.ACK:
                side.pair.receive_ack(header, packet, side.path, self.two.now)
            else:
                plaintext = side.pair.receive_data(header, packet, side.path, self.two.now)
                assert plaintext is not None, "the link loses nothing"
                side.streams.receive(plaintext, lambda _: None)
            self.look(target)
        return bool(data)

    def look(self, index: int) -> None:
        """What a side has reported: is it right?"""
        for event in self.sides[index].taken_events():
            if isinstance(event, StreamOffered):
                assert self.streams[event.stream].opener is self.sides[1 - index]
                continue
            stream = self.streams[event.stream]
            incoming = stream.halves[1 - index]
            if isinstance(event, StreamDataReceived):
                assert not incoming.ended
                end = incoming.received + len(event.data)
                assert end <= incoming.sent, "more came than was sent"
                wanted = pattern(event.stream, 1 - index)[incoming.received : end]
                assert bytes(event.data) == wanted, "what came is not what was sent"
                incoming.received = end
                incoming.unread += len(event.data)
            elif isinstance(event, StreamAccepted):
                assert stream.accepted
            elif isinstance(event, StreamEnded):
                assert incoming.end_sent
                assert incoming.received == incoming.sent, "the end came before the data"
                incoming.ended = True
            elif isinstance(event, StreamResetRemotely | StreamRefusedRemotely):
                assert stream.broken
            elif isinstance(event, StreamClosed):
                assert incoming.ended
                assert stream.halves[index].end_sent
            else:
                assert isinstance(event, StreamWritable)
                self.come(index, event.stream)

    def come(self, index: int, number: int) -> None:
        """Who was refused room and is told of some comes for it, for others wait for that; it may
        have nothing to send any more.
        """
        if number in self.refused[index]:
            self.refused[index].discard(number)
            streams = self.sides[index].streams
            if streams.writable_views(number):
                streams.written(number, 0)
            elif streams.may_write(number):
                self.refused[index].add(number)

    def choose(self, data: st.DataObject, index: int, *, sending: bool) -> int | None:
        """A stream of this side whose half is open."""
        found = [
            number
            for number, stream in self.sides[index].streams._streams.items()
            if (stream.may_send if sending else True)
        ]
        return data.draw(st.sampled_from(found)) if found else None

    # What the applications do

    @initialize(openers=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def begin(self, openers: list[int]) -> None:
        """Most of what can go wrong needs streams that are open."""
        for index in openers:
            number = self.sides[index].streams.open("web")
            self.streams[number] = Model(self.sides[index], accepted=True)
            self.put(index)
            self.deliver(index, 1 << 20)
            self.sides[1 - index].streams.accept(number)
            self.put(1 - index)
            self.deliver(1 - index, 1 << 20)

    @precondition(lambda self: len(self.streams) < MAX_OPEN)
    @rule(index=st.integers(0, 1))
    def open(self, index: int) -> None:
        number = self.sides[index].streams.open("web")
        self.streams[number] = Model(self.sides[index])

    @rule(data=st.data(), index=st.integers(0, 1), yes=st.sampled_from([True, True, True, False]))
    def answer(self, data: st.DataObject, index: int, yes: bool) -> None:
        offered = [
            number
            for number, stream in self.sides[index].streams._streams.items()
            if stream.state.name == "OFFERED"
        ]
        if not offered:
            return
        number = data.draw(st.sampled_from(offered))
        if yes:
            self.streams[number].accepted = True
            self.sides[index].streams.accept(number)
        else:
            self.streams[number].broken = True
            self.sides[index].streams.refuse(number, StreamCode.ABORTED, "no")

    @rule(data=st.data(), index=st.integers(0, 1), size=SIZES)
    def write(self, data: st.DataObject, index: int, size: int) -> None:
        number = self.choose(data, index, sending=True)
        if number is None:
            return
        half = self.streams[number].halves[index]
        content = pattern(number, index)[half.sent : half.sent + size]
        half.sent += len(content)
        self.sides[index].streams.write(number, content)

    @rule(
        data=st.data(),
        index=st.integers(0, 1),
        size=SIZES,
        times=st.integers(1, 5),
        most=st.integers(1, 4),
    )
    def fill(self, data: st.DataObject, index: int, size: int, times: int, most: int) -> None:
        number = self.choose(data, index, sending=True)
        if number is not None:
            for _ in range(times):
                self.fill_once(index, number, size, most)

    def fill_once(self, index: int, number: int, size: int, most: int) -> None:
        kept = self.sides[index].streams._streams[number].pending_bytes
        views = self.sides[index].streams.writable_views(number, most)
        if not views:
            self.refused[index].add(number)
            return
        assert not kept, "room was lent before what waits"
        assert len(views) <= most
        half = self.streams[number].halves[index]
        room = sum(map(len, views))
        content = pattern(number, index)[half.sent : half.sent + min(size, room)]
        written = 0
        for view in views:
            part = content[written : written + len(view)]
            view[: len(part)] = part
            written += len(part)
        half.sent += written
        self.sides[index].streams.written(number, written)

    @rule(data=st.data(), index=st.integers(0, 1), share=st.sampled_from([0.1, 0.5, 1.0]))
    def consume(self, data: st.DataObject, index: int, share: float) -> None:
        number = self.choose(data, index, sending=False)
        if number is not None:
            incoming = self.streams[number].halves[1 - index]
            count = int(incoming.unread * share)
            incoming.unread -= count
            self.sides[index].streams.consumed(number, count)

    @rule(data=st.data(), index=st.integers(0, 1))
    def end(self, data: st.DataObject, index: int) -> None:
        number = self.choose(data, index, sending=True)
        if number is not None:
            self.streams[number].halves[index].end_sent = True
            self.sides[index].streams.end(number)

    @rule(
        data=st.data(),
        index=st.integers(0, 1),
        really=st.integers(0, 5).map(lambda drawn: drawn == 5),
    )
    def reset(self, data: st.DataObject, index: int, really: bool) -> None:
        number = self.choose(data, index, sending=False)
        if number is not None and really:
            self.streams[number].broken = True
            self.sides[index].streams.reset(number, StreamCode.ABORTED)

    # What link and clock do

    @rule(index=st.integers(0, 1), limit=st.one_of(st.none(), st.integers(1, 100_000)))
    def send(self, index: int, limit: int | None) -> None:
        self.put(index, limit)

    @rule(index=st.integers(0, 1), chunk=CHUNKS, count=st.integers(1, 200))
    def receive(self, index: int, chunk: int, count: int) -> None:
        for _ in range(count):
            if not self.deliver(index, chunk):
                break

    @rule(rounds=st.integers(1, 4), links=st.sampled_from([(0, 1), (0,), (1,), (1, 0)]))
    def carry(self, rounds: int, links: tuple[int, ...]) -> None:
        """The links do their work; nobody reads."""
        for _ in range(rounds):
            for index in links:
                self.put(index)
                self.deliver(index, 1 << 20)

    @rule(data=st.data(), index=st.integers(0, 1), count=st.integers(5, 50), acked=st.booleans())
    def trickle(self, data: st.DataObject, index: int, count: int, acked: bool) -> None:
        """Packets of one byte, one by one, one way only."""
        for _ in range(count):
            self.write(data, index, 1)
            self.put(index)
            if acked:
                self.deliver(index, 1 << 20)
                self.tick(0.03)
                self.put(1 - index)
                self.deliver(1 - index, 1 << 20)

    @rule(seconds=st.sampled_from([0.001, 0.025, 1.0]))
    def tick(self, seconds: float) -> None:
        self.two.now += seconds
        for side in self.sides:
            side.pair.handle_timeout(self.two.now)

    @rule(data=st.data(), index=st.integers(0, 1))
    def read_one_stream_only(self, data: st.DataObject, index: int) -> None:
        """All others are stalled; this one gets everything."""
        number = self.choose(data, index, sending=False)
        if number is None:
            return
        self.run_while_reading({number})
        self.assert_complete(number)

    def run_while_reading(self, numbers: set[int]) -> None:
        idle = 0
        while idle < 3:
            moved = False
            for index in (0, 1):
                moved |= self.put(index)
                moved |= self.deliver(index, 1 << 20)
                for number in numbers & set(self.sides[index].streams._streams):
                    incoming = self.streams[number].halves[1 - index]
                    count, incoming.unread = incoming.unread, 0
                    self.sides[index].streams.consumed(number, count)
            if moved:
                idle = 0
                continue
            # Acknowledgements that are due may open a window.
            idle += 1
            self.tick(0.03)

    def assert_complete(self, number: int) -> None:
        stream = self.streams[number]
        if stream.broken or not stream.accepted:
            return
        for half in stream.halves.values():
            assert half.received == half.sent
            assert half.ended == half.end_sent

    @invariant()
    def bounds_hold(self) -> None:
        for index, side in enumerate(self.sides):
            pair, streams = side.pair, side.streams
            assert pair.unacked_bytes <= WINDOW_BYTES
            assert side.outbox.waiting_bytes <= LINK_BYTES + 2 * MAX_PACKET_BYTES
            windows = 0
            for number, stream in streams._streams.items():
                assert stream.receive_credit >= 0
                assert stream.receive_credit + stream.unconsumed <= stream.window
                assert stream.window <= MAX_WINDOW_BYTES
                assert 0 <= stream.send_credit <= MAX_WINDOW_BYTES
                assert stream.unconsumed == self.streams[number].halves[1 - index].unread
                assert stream.pending_bytes == sum(map(len, stream.pending))
                windows += stream.window
            assert windows <= CREDIT_BUDGET_BYTES
            assert len(streams._streams) <= MAX_STREAMS

    @invariant()
    def what_is_kept_is_what_was_sealed(self) -> None:
        for side, wire in zip(self.sides, self.wires, strict=True):
            kept_slots = [slot for _, slot, _ in side.pair._window._kept if slot is not None]
            assert not {id(slot) for slot in kept_slots} & {id(slot) for slot in side.pool._free}
            assert len({id(slot) for slot in side.pool._free}) == len(side.pool._free)
            for _, _, packet in side.pair._window._kept:
                number = decode_header(packet).number
                sealed = wire.sealed.get((PacketType.DATA, number))
                if sealed is not None:
                    assert packet[: HEADER_BYTES + 16] == sealed[: HEADER_BYTES + 16]
                    assert packet[-16:] == sealed[-16:]
                    assert len(packet) == len(sealed)

    def teardown(self) -> None:
        try:
            self.run_while_reading(set(self.streams))
            for number in self.streams:
                self.assert_complete(number)
            for side in self.sides:
                assert side.pair.unacked_bytes == 0
                assert not side.streams.has_work
        finally:
            for patch in self.patches:
                patch.stop()


TestStreams = Streams.TestCase
TestStreams.settings = settings(deadline=None, max_examples=80, stateful_step_count=40)


@pytest.mark.long
def test_streams_for_long() -> None:
    run_state_machine_as_test(
        Streams, settings=settings(deadline=None, max_examples=3000, stateful_step_count=80)
    )
