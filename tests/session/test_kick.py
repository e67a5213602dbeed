"""A client that was put out, and a server that takes its side: nothing that comes after opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, PorttunnelError
from porttunnel.keys.handshake import Established, MasterHandshake
from porttunnel.keys.primitives import SigningKey, sha256
from porttunnel.keys.sealing import GroupOpener, GroupSealer, Opener, Sealer
from porttunnel.session import record, request
from porttunnel.session.client import ClientMachine
from porttunnel.session.direct_proof import DirectClient
from porttunnel.session.event import (
    BroadcastReceived,
    MemberLeft,
    RunFailed,
    StreamDataReceived,
    Welcomed,
)
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    SERVER,
    TAG_BYTES,
    Header,
    PacketType,
    encode_header_into,
)
from tests.session.test_member import heads
from tests.tunnel import MemoryTunnel


@dataclass
class Spy:
    """A client that keeps every key it ever had, and all that a helpful server gives it."""

    tunnel: MemoryTunnel
    client: ClientMachine
    established: dict[str, bytes]
    groups: list[tuple[int, bytes]]

    @classmethod
    def enter(cls, tunnel: MemoryTunnel, monkeypatch: pytest.MonkeyPatch) -> Spy:
        receive_c3 = MasterHandshake.receive_c3

        def keep(handshake: MasterHandshake, body: bytes) -> Any:
            # The master's are the same as the client's, which erases them once they are used.
            finished = receive_c3(handshake, body)
            established = finished.established
            values.append({name: getattr(established, name) for name in Established.__slots__})
            return finished

        values: list[dict[str, bytes]] = []
        monkeypatch.setattr(MasterHandshake, "receive_c3", keep)
        groups: list[tuple[int, bytes]] = []
        decode = record.decode_control

        def read(payload: memoryview) -> record.Control:
            message = decode(payload)
            if isinstance(message, record.Welcome):
                groups.append((message.epoch, message.group_key))
            elif isinstance(message, record.Epoch):
                groups.append((message.epoch, message.key))
            return message

        monkeypatch.setattr(record, "decode_control", read)
        client = tunnel.enter("Eve")
        monkeypatch.undo()
        return cls(tunnel, client, values[-1], groups)

    def openers(self) -> list[GroupOpener]:
        """One for every epoch and key that it has ever heard of, and those just behind."""
        session_id = self.tunnel.session_id
        newest = max(epoch for epoch, _ in self.groups)
        return [
            GroupOpener(session_id, epoch, key)
            for _, key in self.groups
            for epoch in range(1, newest + 4)
        ]

    def opens(self, header: Header, packet: bytes, openers: list[GroupOpener]) -> bool:
        """Whether any key of its opens a packet, pair or group."""
        for opener in openers:
            try:
                opener.open_group(memoryview(packet), header.number)
            except PorttunnelError:
                continue
            return True
        for name in ("master_to_client", "client_to_master"):
            pair = Opener(self.established[name])
            for generation in (0, 1):
                try:
                    pair.open_data(memoryview(packet), generation, header.number)
                except PorttunnelError:
                    continue
                return True
        return False


def write_on(tunnel: MemoryTunnel, member: int, count: int) -> list[tuple[Header, bytes]]:
    """What the master sends to all, and to a member that stays, from now on."""
    tunnel.relayed.clear()
    stream = tunnel.master.streams(member).open("back")
    tunnel.run()
    staying: Any = next(line.core for line in tunnel.lines.values() if line.member == member)
    staying.streams.accept(stream)
    tunnel.run()
    sent: list[tuple[Header, bytes]] = []
    while len(sent) < count:
        for number in range(64):
            tunnel.master.broadcast.write(1, b"secret %d" % number, tunnel.now)
            tunnel.master.streams(member).write(stream, b"secret")
            tunnel.run()
        tunnel.pass_time(0.1)
        unread = staying.streams._streams[stream].unconsumed
        staying.streams.consumed(stream, unread)
        sent += [(h, p) for h, p in tunnel.relayed if h.sender == MASTER]
        tunnel.relayed.clear()
        for events in tunnel.events.values():
            events[:] = [
                e for e in events if not isinstance(e, StreamDataReceived | BroadcastReceived)
            ]
    return sent[:count]


def check_that_it_opens_nothing(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    tunnel = MemoryTunnel()
    staying = tunnel.enter("Ben")
    spy = Spy.enter(tunnel, monkeypatch)
    openers = spy.openers()
    # The control: what comes before it is put out it opens.
    tunnel.relayed.clear()
    tunnel.master.broadcast.write(1, b"before", tunnel.now)
    tunnel.run()
    ((header, packet),) = [(h, p) for h, p in tunnel.relayed if h.flags & FLAG_GROUP]
    assert spy.opens(header, packet, openers)
    tunnel.keeps_kicked = True
    tunnel.master.kick(spy.client.member)
    tunnel.run()
    later = write_on(tunnel, staying.member, count)
    assert len(later) == count
    kinds = {bool(header.flags & FLAG_GROUP) for header, _ in later}
    assert kinds == {False, True}
    opened = sum(spy.opens(header, packet, openers) for header, packet in later)
    print(
        "A kicked client that keeps all its keys and a server that helps it: "
        f"{opened} of {count} later packets opened"
    )
    assert opened == 0


class TestKeys:
    def test_it_opens_nothing_that_comes_after(self, monkeypatch: pytest.MonkeyPatch) -> None:
        check_that_it_opens_nothing(monkeypatch, 2_000)

    @pytest.mark.long
    def test_nor_of_a_hundred_thousand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        check_that_it_opens_nothing(monkeypatch, 100_000)

    def test_the_masters_are_erased_at_once(self) -> None:
        tunnel = MemoryTunnel()
        client = tunnel.enter()
        peer = tunnel.master.peers[client.member]
        tunnel.master.kick(client.member)
        for name in ("direct_client", "direct_master", "rejoin"):
            with pytest.raises(LocalProtocolError, match="erased"):
                getattr(peer.secrets, name)
        with pytest.raises(LocalProtocolError, match="erased"):
            peer.pair._sealer.seal_ack(memoryview(bytearray(52)), 1_000)
        with pytest.raises(LocalProtocolError, match="erased"):
            peer.pair._opener.open_ack(memoryview(bytearray(52)), 0, 1_000)
        assert client.member not in tunnel.master.peers

    def test_those_who_stay_have_the_next_before_the_server_is_asked(self) -> None:
        tunnel = MemoryTunnel()
        staying, client = tunnel.enter("Ben"), tunnel.enter("Eve")
        tunnel.pass_time(1.0)
        epoch = tunnel.master.broadcast._window.epoch
        tunnel.master.kick(client.member)
        assert tunnel.master.broadcast._window.epoch == epoch + 1
        sent = heads(b"".join(tunnel.master.data_to_send()))
        assert [(header.kind, header.target) for header in sent] == [
            (PacketType.DATA, client.member),  # BYE
            (PacketType.DATA, staying.member),  # EPOCH
            (PacketType.REQUEST, SERVER),  # KICK
        ]

    def test_a_full_link_does_not_keep_the_server_from_being_asked(self) -> None:
        tunnel = MemoryTunnel()
        staying, client = tunnel.enter("Ben"), tunnel.enter("Eve")
        tunnel.pass_time(1.0)
        tunnel.master.limit_ahead(0)
        tunnel.master.kick(client.member)
        assert tunnel.master.link.untold == [request.Kick(member=client.member)]
        # The key waits for room, and what is sealed with it waits behind.
        assert tunnel.master.peers[staying.member].has_work


class TestPackets:
    def test_its_pair_is_dead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tunnel = MemoryTunnel()
        tunnel.enter("Ben")
        spy = Spy.enter(tunnel, monkeypatch)
        member = spy.client.member
        tunnel.keeps_kicked = True
        tunnel.master.kick(member)
        tunnel.run()
        tunnel.events[MASTER].clear()
        sealer = Sealer(spy.established["client_to_master"])
        tunnel.relayed.clear()
        for number in range(500):
            for kind in (PacketType.DATA, PacketType.ACK):
                packet = bytearray(HEADER_BYTES + TAG_BYTES)
                encode_header_into(packet, kind, member, MASTER, TAG_BYTES, number=number)
                if kind is PacketType.DATA:
                    sealer.seal_data(memoryview(packet), 0, number)
                else:
                    sealer.seal_ack(memoryview(packet), number)
                tunnel.deliver(MASTER, bytes(packet))
        tunnel.run()
        # Dropped, each of them: no answer, no event, no end.
        assert tunnel.events[MASTER] == []
        assert [header for header, _ in tunnel.relayed if header.target == member] == []
        assert not tunnel.master.over

    def test_its_handshake_is_not_answered_again(self) -> None:
        tunnel = MemoryTunnel()
        client = tunnel.enter()
        kept = [p for h, p in tunnel.relayed if h.kind in (PacketType.C1, PacketType.C3)]
        tunnel.keeps_kicked = True
        tunnel.master.kick(client.member)
        tunnel.run()
        tunnel.relayed.clear()
        for packet in kept:
            tunnel.deliver(MASTER, packet)
        tunnel.run()
        answers = [header.kind for header, _ in tunnel.relayed if header.target == client.member]
        assert PacketType.M2 not in answers
        assert PacketType.M4 not in answers
        assert tunnel.events_of(tunnel.master, RunFailed) == []

    def test_its_way_straight_is_shut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tunnel = MemoryTunnel()
        tunnel.enter("Ben")
        spy = Spy.enter(tunnel, monkeypatch)
        tunnel.keeps_kicked = True
        tunnel.master.kick(spy.client.member)
        keys = spy.established["direct_client"], spy.established["direct_master"]
        for number in range(50):
            proof = DirectClient(tunnel.session_id, spy.client.member, *keys, number.to_bytes(16))
            path = tunnel.master.accept_direct("", tunnel.now)
            path.receive_data(memoryview(proof.d1), tunnel.now)
            assert path.closed
            assert list(path.data_to_send()) == []

    def test_a_broken_pair_is_put_out_in_the_same_way(self) -> None:
        tunnel = MemoryTunnel()
        staying, client = tunnel.enter("Ben"), tunnel.enter("Eve")
        epoch = tunnel.master.broadcast._window.epoch
        peer = tunnel.master.peers[client.member]
        client.peers[MASTER].streams.send_control(
            record.encode_control(record.Hello(name="", capabilities=[]))
        )
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft)[-1].member == client.member
        assert tunnel.master.broadcast._window.epoch == epoch + 1
        with pytest.raises(LocalProtocolError, match="erased"):
            _ = peer.secrets.direct_client
        assert not staying.over


class TestEpoch:
    def test_turns_by_one_with_each_join_leave_and_kick(self) -> None:
        tunnel = MemoryTunnel()
        epochs = [tunnel.master.broadcast._window.epoch]

        def note() -> None:
            tunnel.run()
            epochs.append(tunnel.master.broadcast._window.epoch)

        clients = []
        for name in ("Ben", "Cleo", "Dora", "Eve"):
            clients.append(tunnel.enter(name))
            note()
        clients[0].close()
        note()
        tunnel.master.kick(clients[1].member)
        note()
        tunnel.tell(MASTER, request.Left(member=clients[2].member, reason="lapsed"))
        note()
        assert epochs == list(range(len(epochs)))
        # Who only knocks, or is refused, or is cut off, turns nothing.
        refused = tunnel.join(name="Fay")
        tunnel.master.refuse(refused.member)
        tunnel.run()
        tunnel.cut(clients[3].member)
        tunnel.resume(clients[3].member)
        tunnel.run()
        assert tunnel.master.broadcast._window.epoch == epochs[-1]
        assert clients[3]._broadcast is not None
        assert clients[3]._broadcast._epochs[-1].number == epochs[-1]

    def test_a_newcomer_opens_nothing_from_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tunnel = MemoryTunnel()
        tunnel.enter("Ben")
        before: list[tuple[Header, bytes]] = []
        for number in range(200):
            tunnel.relayed.clear()
            tunnel.master.broadcast.write(1, b"secret %d" % number, tunnel.now)
            tunnel.run()
            before += [(h, p) for h, p in tunnel.relayed if h.flags & FLAG_GROUP]
            tunnel.pass_time(0.1)
        spy = Spy.enter(tunnel, monkeypatch)
        openers = spy.openers()
        assert len(before) == 200
        assert sum(spy.opens(header, packet, openers) for header, packet in before) == 0
        # Nor does its program take one for what comes now.
        for _, packet in before:
            tunnel.deliver(spy.client.member, packet)
        assert tunnel.events_of(spy.client, BroadcastReceived) == []
        assert len(tunnel.events_of(spy.client, Welcomed)) == 1

    def test_another_members_word_is_not_the_masters(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All members have the group key: with it alone nobody can speak for the master."""
        tunnel = MemoryTunnel()
        victim = tunnel.enter("Ben")
        spy = Spy.enter(tunnel, monkeypatch)
        tunnel.pass_time(1.0)
        epoch, key = spy.groups[-1]
        records = record.encode_record(record.RecordKind.DATA, 1, b"I am the master")
        own = SigningKey.generate()
        for signature in (bytes(64), None):
            length = 64 + len(records)
            packet = bytearray(HEADER_BYTES + length + TAG_BYTES)
            encode_header_into(
                packet,
                PacketType.DATA,
                MASTER,
                ALL_MEMBERS,
                length + TAG_BYTES,
                epoch=epoch,
                flags=FLAG_GROUP,
            )
            header = memoryview(packet)[:HEADER_BYTES]
            signed = signature or own.sign(
                b"ptun1 group", tunnel.session_id, header, sha256(records)
            )
            packet[HEADER_BYTES : HEADER_BYTES + length] = signed + records
            GroupSealer(tunnel.session_id, epoch, key).seal_group(memoryview(packet), length, 0)
            tunnel.deliver(victim.member, bytes(packet))
        tunnel.pass_time(1.0)
        assert tunnel.events_of(victim, BroadcastReceived) == []
        assert not victim.over
        tunnel.master.broadcast.write(1, b"the master", tunnel.now)
        tunnel.pass_time(1.0)
        (came,) = tunnel.events_of(victim, BroadcastReceived)
        assert bytes(came.data) == b"the master"


def test_a_spy_has_what_the_client_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests above would show nothing."""
    tunnel = MemoryTunnel()
    spy = Spy.enter(tunnel, monkeypatch)
    assert spy.established["direct_client"] == spy.client.peers[MASTER].secrets.direct_client
    assert spy.groups
    stream = spy.client.streams.open("web")
    assert stream == 1
    packet = b"".join(spy.client.data_to_send())
    (header,) = heads(packet)
    opener = Opener(spy.established["client_to_master"])
    assert opener.open_data(memoryview(packet), header.epoch, header.number)
    with pytest.raises(AuthenticationFailed):
        Opener(spy.established["master_to_client"]).open_data(memoryview(packet), 0, 0)
