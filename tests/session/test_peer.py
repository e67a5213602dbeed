"""A pair and its streams."""

from __future__ import annotations

from typing import Any

from porttunnel.keys.handshake import Established
from porttunnel.session.event import StreamOffered
from porttunnel.session.outbox import Outbox, SlotPool
from porttunnel.session.packet import MASTER, decode_header
from porttunnel.session.peer import Peer
from tests.keys.runs import make_client, make_master
from tests.session.pairs import drain


def establish() -> tuple[Established, Established]:
    """The client's keys and the master's, of one run."""
    client = make_client()
    master = make_master(client.c1)
    confirming = client.receive_m2(master.m2)
    finished = master.receive_c3(confirming.c3)
    return confirming.receive_m4(finished.m4), finished.established


def make_peer(
    local: int,
    remote: int,
    *,
    established: Established | None = None,
    outbox: Outbox | None = None,
    events: list[Any] | None = None,
    turns: list[Peer] | None = None,
) -> Peer:
    pool = SlotPool()
    return Peer(
        local,
        remote,
        establish()[0] if established is None else established,
        pool=pool,
        outbox=Outbox(pool) if outbox is None else outbox,
        events=[] if events is None else events,
        wants_turn=(turns if turns is not None else []).append,
    )


def test_both_sides_understand_each_other() -> None:
    at_client, at_master = establish()
    outbox, turns, events = Outbox(SlotPool()), [], []
    client = make_peer(2, MASTER, established=at_client, outbox=outbox, turns=turns)
    master = make_peer(MASTER, 2, established=at_master, events=events)
    assert (client.member, master.member) == (MASTER, 2)

    assert not client.has_work
    stream = client.streams.open("web")
    assert turns == [client]
    assert client.has_work
    assert stream == 1
    client.take_turn()
    assert not client.has_work
    packet = bytearray(drain(outbox))
    plaintext = master.pair.receive_data(decode_header(packet), memoryview(packet), 0.0)
    assert plaintext is not None
    master.streams.admitted = True
    master.streams.receive(plaintext, lambda _: None)
    assert events == [StreamOffered(2, stream, "web")]
    assert master.streams.open("back") == 2


def test_records_that_wait_for_their_packet_are_work() -> None:
    pool = SlotPool()
    outbox = Outbox(pool)
    peer = make_peer(2, MASTER, outbox=outbox)
    outbox.append(b"busy")
    peer.streams.send_control(b"record")
    peer.take_turn()
    assert peer.has_work
    assert peer.pair.has_records
    drain(outbox)
    peer.take_turn()
    assert not peer.has_work
