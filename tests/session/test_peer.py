"""A pair, its streams, and the secrets beside them."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.keys.handshake import Established
from porttunnel.session.event import PathKind, StreamOffered
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import FLAG_RESYNC, MASTER, decode_header
from porttunnel.session.path import Path
from porttunnel.session.peer import LEFT_BY_THE_OTHER, PairSecrets, Peer
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
    path: Path | None = None,
    events: list[Any] | None = None,
    turns: list[Peer] | None = None,
) -> Peer:
    pool = SlotPool()
    return Peer(
        local,
        remote,
        establish()[0] if established is None else established,
        pool=pool,
        path=Path(PathKind.RELAY, pool) if path is None else path,
        events=[] if events is None else events,
        wants_turn=(turns if turns is not None else []).append,
    )


@pytest.fixture
def link() -> Path:
    return Path(PathKind.RELAY, SlotPool())


def test_both_sides_understand_each_other(link: Path) -> None:
    at_client, at_master = establish()
    turns: list[Peer] = []
    events: list[Any] = []
    client = make_peer(2, MASTER, established=at_client, path=link, turns=turns)
    master = make_peer(MASTER, 2, established=at_master, events=events)
    assert (client.member, master.member) == (MASTER, 2)

    assert not client.has_work
    stream = client.streams.open("web")
    assert turns == [client]
    assert client.has_work
    assert stream == 1
    client.take_turn()
    assert not client.has_work
    packet = bytearray(drain(link.outbox))
    plaintext = master.pair.receive_data(decode_header(packet), memoryview(packet), link, 0.0)
    assert plaintext is not None
    master.streams.admitted = True
    master.streams.receive(plaintext, lambda _: None)
    assert events == [StreamOffered(2, stream, "web")]
    assert master.streams.open("back") == 2


def test_begins_on_the_relay_with_nothing_reported(link: Path) -> None:
    peer = make_peer(2, MASTER, path=link)
    assert peer.pair.path is link
    assert peer.direct is None
    assert (peer.path_kind, peer.relay_reason) == (PathKind.RELAY, LEFT_BY_THE_OTHER)
    assert not peer.is_away
    assert peer.acknowledged_before != peer.pair.acknowledged


def test_records_that_wait_for_their_packet_are_work(link: Path) -> None:
    peer = make_peer(2, MASTER, path=link)
    link.outbox.append(b"busy")
    link.outbox.sent(0)
    peer.streams.send_control(b"record")
    peer.take_turn()
    assert peer.has_work
    assert peer.pair.has_work
    assert not peer.streams.has_work
    drain(link.outbox)
    peer.take_turn()
    assert not peer.has_work


def test_a_turn_sends_first_what_the_other_side_lacks(link: Path) -> None:
    at_client, at_master = establish()
    client = make_peer(2, MASTER, established=at_client, path=link)
    master = make_peer(MASTER, 2, established=at_master)
    client.streams.open("web")
    client.take_turn()
    lost = drain(link.outbox)
    assert master.pair.path is not None
    master.pair.resync(master.pair.path, 0.0)
    question = drain(master.pair.path.outbox)
    header = decode_header(question)
    assert header.flags == FLAG_RESYNC
    client.pair.receive_ack(header, memoryview(question), link, 0.0)
    drain(link.outbox)
    assert client.has_work
    client.streams.open("wiki")
    client.take_turn()
    sent = drain(link.outbox)
    assert sent[: len(lost)] == lost
    assert decode_header(sent[len(lost) :]).number == 1
    assert not client.has_work


def test_keeps_the_secrets_for_direct_paths_and_for_coming_back() -> None:
    at_client, at_master = establish()
    client, master = make_peer(2, MASTER, established=at_client).secrets, PairSecrets(at_master)
    assert client.direct_client == master.direct_client
    assert client.direct_master == master.direct_master
    assert client.rejoin == master.rejoin
    assert len({client.direct_client, client.direct_master, client.rejoin}) == 3
    assert client.rejoin.hex() not in repr(client)


@pytest.mark.parametrize("with_direct", [False, True])
def test_closing_ends_streams_and_erases_all_keys(link: Path, with_direct: bool) -> None:
    peer = make_peer(2, MASTER, path=link)
    direct = Path(PathKind.DIRECT, SlotPool())
    if with_direct:
        peer.direct = direct
    stream = peer.streams.open("web")
    peer.take_turn()
    peer.close()
    assert direct.closed == with_direct
    with pytest.raises(LocalProtocolError):
        peer.streams.write(stream, b"x")
    # What was sealed goes out, and nothing is sealed after it.
    assert decode_header(drain(link.outbox)).number == 0
    with pytest.raises(LocalProtocolError):
        peer.pair.resync(link, 0.0)
    with pytest.raises(LocalProtocolError):
        _ = peer.secrets.rejoin


def test_is_settled_when_nobody_waits_for_anything(link: Path) -> None:
    peer = make_peer(2, MASTER, path=link)
    assert peer.is_settled
    peer.streams.send_control(b"record")
    assert not peer.is_settled
    peer.take_turn()
    assert not peer.is_settled
    peer.pair._window.accept(1)
    assert peer.is_settled
    peer.streams.turns.tell(1)
    assert not peer.is_settled
