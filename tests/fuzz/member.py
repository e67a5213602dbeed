"""Targets: the cores of master and client, before and after there are keys."""

from __future__ import annotations

from typing import Any

from porttunnel.errors import LocalProtocolError, StreamCode
from porttunnel.session import request
from porttunnel.session.event import (
    ConnectionFailed,
    ConsentAsked,
    MemberJoined,
    SessionFinished,
    StreamDataReceived,
    StreamOffered,
    Verified,
)
from porttunnel.session.member import Member
from porttunnel.session.packet import (
    MASTER,
    NO_MEMBER,
    SERVER,
    Header,
    PacketType,
    encode_packet,
)
from porttunnel.session.record import RECORD_HEADER
from porttunnel.session.relay import RelayLink, Run
from tests.fuzz.consume import FuzzedDataProvider, consume_packet
from tests.tunnel import MemoryTunnel

__all__ = ["client", "handshake", "master"]

CLIENT = 2
MAX_STEPS = 40


def handshake(data: bytes) -> None:
    """Whatever is changed in a handshake's packets, both cores end it by themselves and nobody is
    asked for consent, or nothing was changed.
    """
    source = FuzzedDataProvider(data)
    changed = False

    def lie(header: Header, packet: bytes) -> list[bytes]:
        nonlocal changed
        if header.kind > PacketType.M4 or not source.remaining_bytes():
            return [packet]
        lied = bytearray(packet)
        for _ in range(source.ConsumeIntInRange(0, 3)):
            lied[source.ConsumeIntInRange(36, len(lied) - 1)] ^= source.ConsumeIntInRange(0, 255)
        count = source.PickValueInList([1, 1, 1, 0, 2])
        # The same packet twice is what a resumed link brings: no change.
        changed |= bytes(lied) != packet or count == 0
        return [bytes(lied)] * count

    tunnel = MemoryTunnel()
    tunnel.liar = lie
    tunnel.join()
    tunnel.pass_time(source.PickValueInList([0.0, 20.0, 200.0]))
    asked = bool(tunnel.events_of(tunnel.master, ConsentAsked))
    verified = any(isinstance(event, Verified) for event in tunnel.events.get(CLIENT, ()))
    assert not (changed and verified)
    assert asked <= (not changed)
    assert not tunnel.master.over


def client(data: bytes) -> None:
    """Whatever master and server send to an admitted client, sealed rightly or not, its core
    never raises, and reports one end at most.
    """
    source = FuzzedDataProvider(data)
    tunnel = MemoryTunnel()
    joined = tunnel.enter()
    fuzz_member(source, tunnel, joined, CLIENT, attacker=tunnel.master, attacker_member=MASTER)


def master(data: bytes) -> None:
    """Whatever an admitted client sends, sealed rightly or not, the master's core never raises,
    and its session and its other members go on.
    """
    source = FuzzedDataProvider(data)
    tunnel = MemoryTunnel()
    attacker = tunnel.enter()
    bystander = tunnel.enter("Carla")
    fuzz_member(source, tunnel, tunnel.master, MASTER, attacker=attacker, attacker_member=CLIENT)
    assert not tunnel.master.over
    assert not bystander.over
    stream = bystander.streams.open("web")
    tunnel.run()
    assert StreamOffered(bystander.member, stream, "web") in tunnel.events[MASTER]


def fuzz_member(
    source: FuzzedDataProvider,
    tunnel: MemoryTunnel,
    victim: Member,
    victim_member: int,
    *,
    attacker: Member,
    attacker_member: int,
) -> None:
    """The attacker seals what the fuzzer says; the victim's program does what it can."""
    pair = attacker._peers[victim_member].pair
    # What the victim answers must not make the attacker's own core give up. Once it is put out,
    # it has no keys.
    tunnel.liar = lambda header, packet: (
        [] if (header.sender, header.target) == (victim_member, attacker_member) else [packet]
    )
    for _ in range(MAX_STEPS):
        if not source.remaining_bytes() or victim.over or attacker.over:
            break
        match source.ConsumeIntInRange(0, 9):
            case 0:
                seal(tunnel, pair, source.ConsumeBytes(source.ConsumeIntInRange(1, 200)))
            case 1 if victim_member != MASTER:
                # The server's own word: to the master it may end the session, so only here.
                tunnel.deliver(victim_member, consume_packet(source))
            case 1:
                deliver_unsealed(source, tunnel, victim_member, attacker_member)
            case 2:
                tunnel.pass_time(source.PickValueInList([0.1, 20.0]))
            case 3 | 4:
                act(source, victim, attacker_member)
            case _:
                seal(tunnel, pair, consume_records(source))
        tunnel.run()
        take_data(tunnel, victim, victim_member, attacker_member)
    ends = [
        event
        for event in tunnel.events[victim_member]
        if isinstance(event, ConnectionFailed | SessionFinished)
    ]
    assert len(ends) == victim.over
    if victim_member == MASTER:
        assert len(tunnel.events_of(victim, MemberJoined)) == 2


def seal(tunnel: MemoryTunnel, pair: Any, plaintext: bytes) -> None:
    """A packet that opens, whatever is in it."""
    if pair.append(plaintext):
        pair.seal()
        tunnel.run()


def deliver_unsealed(
    source: FuzzedDataProvider, tunnel: MemoryTunnel, victim_member: int, attacker_member: int
) -> None:
    """What the attacker may send by way of the server without any key."""
    lengths = {PacketType.C1: [1_572, 1_540], PacketType.C3: [64], PacketType.ACK: [16]}
    kinds = [PacketType.C1, PacketType.C3, PacketType.ERROR, PacketType.ACK, PacketType.DATA]
    kind = source.PickValueInList(kinds)
    length = source.PickValueInList(lengths.get(kind, [16, 17, 200]))
    body = source.ConsumeBytes(length).ljust(length, b"\0")
    number = source.PickValueInList([0, 1, 5, 2**64 - 1])
    packet = encode_packet(kind, attacker_member, victim_member, body, number=number)
    # The server lets through what is a packet, of this member and to whom it may talk.
    link = RelayLink(tunnel.now)
    asked = request.encode(request.Join(number=tunnel.number))
    asking = encode_packet(PacketType.REQUEST, NO_MEMBER, SERVER, asked)
    list(link.receive_data(memoryview(asking), tunnel.now))
    link.admit(attacker_member, resumed=False)
    for item in link.receive_data(memoryview(packet), tunnel.now):
        if isinstance(item, Run):
            tunnel.deliver(item.target, bytes(item.packets))


def consume_records(source: FuzzedDataProvider) -> bytes:
    """Records that mostly are some."""
    records = b""
    for _ in range(source.ConsumeIntInRange(1, 4)):
        kind = source.ConsumeIntInRange(0, 9)
        stream = source.PickValueInList([0, 1, 1, 2, 2, 3, 4, 2**32 - 1])
        payload = source.PickValueInList(
            [b"", b"\0\1\0\0", b"\0\1\0\0web", b"\1", b"\xff\xff\xff\xff", None]
        )
        if payload is None:
            payload = source.ConsumeBytes(source.ConsumeIntInRange(0, 60))
        records += RECORD_HEADER.pack(kind, stream, len(payload)) + payload
    return records


def act(source: FuzzedDataProvider, victim: Member, attacker_member: int) -> None:
    """The victim's own program, which may not know yet what the other side did."""
    peer = victim._peers.get(attacker_member)
    if peer is None:
        return
    streams, number = peer.streams, source.PickValueInList([1, 1, 2, 2, 3, 4])
    try:
        match source.ConsumeIntInRange(0, 6):
            case 0:
                streams.open("web")
            case 1 | 2:
                streams.accept(number)
            case 3:
                streams.refuse(number, StreamCode.NOT_ALLOWED, "no")
            case 4:
                streams.write(number, bytes(source.ConsumeIntInRange(0, 100_000)))
            case 5:
                streams.end(number)
            case _:
                streams.reset(number, StreamCode.ABORTED)
    except LocalProtocolError:
        # What a program must be told when it comes too late.
        return


def take_data(
    tunnel: MemoryTunnel, victim: Member, victim_member: int, attacker_member: int
) -> None:
    """The victim's program takes what came."""
    peer = victim._peers.get(attacker_member)
    events = tunnel.events[victim_member]
    for event in [event for event in events if isinstance(event, StreamDataReceived)]:
        events.remove(event)
        if peer is not None and event.member == attacker_member:
            peer.streams.consumed(event.stream, len(event.data))
