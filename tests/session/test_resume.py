"""Nothing is lost when links break: whole members on the tunnel in memory."""

from __future__ import annotations

import pytest

from porttunnel.errors import CutOff, SessionEnded
from porttunnel.session import request
from porttunnel.session.client import ClientMachine
from porttunnel.session.event import (
    BroadcastEnded,
    BroadcastReceived,
    ConnectionFailed,
    LinkLost,
    LinkRestored,
    MemberAway,
    MemberBack,
    StreamDataReceived,
    StreamOffered,
)
from porttunnel.session.member import Member
from porttunnel.session.packet import MASTER
from tests.tunnel import MemoryTunnel


def open_stream(tunnel: MemoryTunnel, client: ClientMachine) -> int:
    stream = client.streams.open("web")
    tunnel.run()
    assert tunnel.events_of(tunnel.master, StreamOffered)[-1].stream == stream
    tunnel.master.streams(client.member).accept(stream)
    tunnel.run()
    return stream


def received(tunnel: MemoryTunnel, core: Member) -> bytes:
    return b"".join(bytes(e.data) for e in tunnel.events_of(core, StreamDataReceived))


@pytest.mark.parametrize("who", ["client", "master"])
def test_what_was_under_way_comes_once_after_a_cut(who: str) -> None:
    tunnel = MemoryTunnel()
    client = tunnel.enter()
    stream = open_stream(tunnel, client)
    cut = client.member if who == "client" else MASTER
    client.streams.write(stream, b"before ")
    tunnel.run()
    tunnel.cut(cut)
    client.streams.write(stream, b"while away ")
    tunnel.master.streams(client.member).write(stream, b"answer")
    tunnel.pass_time(3)
    assert received(tunnel, tunnel.master) == b"before "
    tunnel.resume(cut)
    tunnel.run()
    client.streams.write(stream, b"after")
    tunnel.run()
    assert received(tunnel, tunnel.master) == b"before while away after"
    assert received(tunnel, client) == b"answer"
    core = client if who == "client" else tunnel.master
    other = tunnel.master if who == "client" else client
    assert len(tunnel.events_of(core, LinkLost)) == len(tunnel.events_of(core, LinkRestored)) == 1
    assert (
        len(tunnel.events_of(other, MemberAway)) == len(tunnel.events_of(other, MemberBack)) == 1
    )


def test_a_server_crash_cuts_both_and_either_may_come_back_first() -> None:
    for first, second in ((MASTER, 2), (2, MASTER)):
        tunnel = MemoryTunnel()
        client = tunnel.enter()
        stream = open_stream(tunnel, client)
        for line in list(tunnel.lines.values()):
            tunnel.break_link(line)
        client.streams.write(stream, b"one")
        tunnel.master.streams(client.member).write(stream, b"two")
        tunnel.resume(first)
        tunnel.pass_time(0.5)
        tunnel.resume(second)
        tunnel.run()
        assert received(tunnel, tunnel.master) == b"one"
        assert received(tunnel, client) == b"two"


def test_lost_answers_lock_nobody_out() -> None:
    tunnel = MemoryTunnel()
    client = tunnel.enter()
    stream = open_stream(tunnel, client)
    tunnel.lines[client.member].answers_lost = 3
    for _ in range(4):
        tunnel.cut(client.member)
        tunnel.resume(client.member)
        tunnel.run()
    client.streams.write(stream, b"here")
    tunnel.run()
    assert received(tunnel, tunnel.master) == b"here"


def test_the_last_packet_dropped_without_a_word_is_sent_again() -> None:
    tunnel = MemoryTunnel()
    client = tunnel.enter()
    stream = open_stream(tunnel, client)
    tunnel.liar = lambda header, packet: []
    client.streams.write(stream, b"lost")
    tunnel.run()
    tunnel.liar = lambda header, packet: [packet]
    tunnel.pass_time(12)
    assert received(tunnel, tunnel.master) == b"lost"


def test_a_member_that_stays_away_too_long_has_left() -> None:
    tunnel = MemoryTunnel()
    client = tunnel.enter()
    tunnel.cut(client.member)
    tunnel.pass_time(90_000)
    failed = tunnel.events_of(client, ConnectionFailed)
    assert isinstance(failed[0].error, CutOff)


def test_a_session_that_ended_meanwhile_is_told_as_such() -> None:
    tunnel = MemoryTunnel()
    client = tunnel.enter()
    tunnel.cut(client.member)
    tunnel.lines[client.member].token = tunnel.lines[client.member].old_token = b"other"
    tunnel.resume(client.member)
    tunnel.run()
    assert isinstance(tunnel.events_of(client, ConnectionFailed)[0].error, SessionEnded)


def test_requests_that_nobody_answered_are_told_again() -> None:
    tunnel = MemoryTunnel()
    client = tunnel.enter()
    tunnel.cut(MASTER)
    tunnel.master.kick(client.member)
    tunnel.resume(MASTER)
    tunnel.run()
    assert client in tunnel.put_out


def test_a_restart_is_announced_with_its_delay() -> None:
    tunnel = MemoryTunnel()
    client = tunnel.enter()
    tunnel.tell(client.member, request.GoingAway(retry_after_s=2.5))
    tunnel.run()
    assert tunnel.events_of(client, LinkLost)[0].retry_after_seconds == 2.5


def test_a_broadcast_comes_to_all_also_around_cuts_and_keys() -> None:
    tunnel = MemoryTunnel()
    first = tunnel.enter("Ben")
    second = tunnel.enter("Cleo")
    broadcast = tunnel.master.broadcast
    assert broadcast.write(7, b"one ", tunnel.now)
    tunnel.run()
    tunnel.cut(first.member)
    broadcast.write(7, b"two ", tunnel.now)
    tunnel.run()
    third = tunnel.enter("Dora")
    broadcast.write(7, b"three", tunnel.now)
    broadcast.end(7, tunnel.now)
    tunnel.run()
    tunnel.resume(first.member)
    tunnel.pass_time(3)
    for client, expected in (
        (first, b"one two three"),
        (second, b"one two three"),
        (third, b"three"),
    ):
        came = b"".join(bytes(e.data) for e in tunnel.events_of(client, BroadcastReceived))
        assert came == expected
        assert len(tunnel.events_of(client, BroadcastEnded)) == 1
