"""Key generations of whole members: they turn while links break, and nothing is lost or shown."""

from __future__ import annotations

import random

import pytest

from porttunnel.keys import sealing
from porttunnel.session.event import ConnectionFailed, RunFailed, StreamDataReceived
from porttunnel.session.packet import MASTER, Header
from tests.tunnel import MemoryTunnel

PACKETS = 6  # of a generation


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_turn_while_links_are_cut(monkeypatch: pytest.MonkeyPatch, seed: int, lossy: bool) -> None:
    monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", PACKETS)
    tunnel = MemoryTunnel(seed=seed)
    clients = [tunnel.enter(name) for name in ("Ben", "Cleo")]
    streams = {}
    for client in clients:
        streams[client.member] = client.streams.open("web")
        tunnel.run()
        tunnel.master.streams(client.member).accept(streams[client.member])
        tunnel.run()
    source = random.Random(seed)
    up = {client.member: bytearray() for client in clients}
    down = {client.member: bytearray() for client in clients}

    def lose(_header: Header, packet: bytes) -> list[bytes]:
        return [] if source.random() < 0.1 else [packet]

    away: set[int] = set()
    for _ in range(150):
        if lossy:
            tunnel.liar = lose
        for client in clients:
            member, stream = client.member, streams[client.member]
            for kept, end in (
                (up[member], client.streams),
                (down[member], tunnel.master.streams(member)),
            ):
                text = source.randbytes(source.randrange(100))
                kept += text
                end.write(stream, text)
        who = source.choice((MASTER, 2, 3))
        if who in away:
            away.remove(who)
            tunnel.resume(who)
        elif source.random() < 0.4:
            away.add(who)
            tunnel.cut(who)
        tunnel.pass_time(source.choice((0.01, 0.1, 2.0)))
    tunnel.liar = lambda header, packet: [packet]
    for who in away:
        tunnel.resume(who)
    tunnel.pass_time(60.0)
    for client in clients:
        for events, member, kept in (
            (tunnel.events[MASTER], client.member, up[client.member]),
            (tunnel.events[client.member], MASTER, down[client.member]),
        ):
            came = b"".join(
                bytes(event.data)
                for event in events
                if isinstance(event, StreamDataReceived) and event.member == member
            )
            assert came == bytes(kept)
        ours = client.peers[MASTER].pair
        theirs = tunnel.master.peers[client.member].pair
        assert min(ours._sealer.generation, theirs._sealer.generation) > 10
        # Either side has followed the other, to its last packet.
        assert theirs._opener.generation == ours._sealer.generation
        assert ours._opener.generation == theirs._sealer.generation
    for events in tunnel.events.values():
        assert not any(isinstance(event, ConnectionFailed | RunFailed) for event in events)
