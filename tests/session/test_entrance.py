"""The client's way to keys: what it sends, what it sends again, and what ends it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.keys.handshake import Established, HandshakeMode, MasterHandshake, decode_c1
from porttunnel.session.code import SessionCode
from porttunnel.session.entrance import Entrance
from porttunnel.session.packet import MASTER, Header, PacketType
from porttunnel.session.rejoin import RejoinTicket
from tests.keys.runs import MEMBER, NUMBER, SESSION_ID, hybrid_key, make_master, values_of

PIN, LINK, SAS, REJOIN = (
    HandshakeMode.PIN,
    HandshakeMode.LINK,
    HandshakeMode.SAS,
    HandshakeMode.REJOIN,
)
SECRET = bytes(range(32))
CODES = {
    PIN: SessionCode(NUMBER, pin="604219"),
    LINK: SessionCode(NUMBER, link_secret="A" * 26),
    SAS: SessionCode(NUMBER),
    REJOIN: SessionCode(NUMBER, pin="604219"),
}
PASSWORDS = {PIN: b"604219", LINK: b"A" * 26, SAS: b"", REJOIN: SECRET.hex().encode()}


class Way:
    """An entrance whose packets are collected, and the master that it comes to."""

    def __init__(self, mode: HandshakeMode = PIN) -> None:
        self.mode = mode
        self.sent: list[tuple[PacketType, int, bytes, int]] = []
        ticket = RejoinTicket(NUMBER, SESSION_ID, 5, SECRET) if mode is REJOIN else None
        self.entrance = Entrance(
            CODES[mode], ticket, token_bytes=random.Random(4).randbytes, send=self.send
        )

    def send(self, kind: PacketType, target: int, body: bytes, number: int = 0) -> None:
        self.sent.append((kind, target, body, number))

    def begin(self) -> MasterHandshake:
        """C1 goes out; the master that it meets."""
        self.entrance.begin(SESSION_ID, MEMBER, hybrid_key())
        (kind, target, c1, number) = self.sent[-1]
        assert (kind, target, number) == (PacketType.C1, MASTER, 0)
        return make_master(c1, self.mode, prs=PASSWORDS[self.mode])

    def receive(self, kind: PacketType, body: bytes) -> bool | Established:
        number = 1 if kind is PacketType.M4 else 0
        return self.entrance.receive(
            Header(kind, 0, 0, MASTER, MEMBER, number, 0, len(body)), body
        )


@pytest.mark.parametrize("mode", [PIN, LINK, SAS, REJOIN])
def test_leads_to_the_masters_keys(mode: HandshakeMode) -> None:
    way = Way(mode)
    master = way.begin()
    opening = decode_c1(way.sent[0][2])
    assert (opening.mode, opening.former) == (mode, 5 if mode is REJOIN else 0)
    assert way.receive(PacketType.M2, master.m2) is True
    kind, target, c3, number = way.sent[-1]
    assert (kind, target, number) == (PacketType.C3, MASTER, 1)
    finished = master.receive_c3(c3)
    established = way.receive(PacketType.M4, finished.m4)
    assert isinstance(established, Established)
    assert values_of(established) == values_of(finished.established)
    # What went out is not said again.
    way.sent.clear()
    way.entrance.repeat()
    assert way.sent == []


def test_says_the_last_message_again_bit_identical() -> None:
    way = Way()
    way.entrance.repeat()
    assert way.sent == []
    master = way.begin()
    way.entrance.repeat()
    assert way.sent == [way.sent[0]] * 2
    way.receive(PacketType.M2, master.m2)
    confirmed = way.sent[-1]
    way.entrance.repeat()
    assert way.sent[-2:] == [confirmed] * 2


def test_the_same_m2_again_is_nothing() -> None:
    way = Way()
    master = way.begin()
    way.receive(PacketType.M2, master.m2)
    sent = list(way.sent)
    assert way.receive(PacketType.M2, master.m2) is False
    assert way.sent == sent
    assert way.receive(PacketType.M4, master.receive_c3(sent[-1][2]).m4)


def test_another_m2_ends_the_run() -> None:
    way = Way()
    master = way.begin()
    way.receive(PacketType.M2, master.m2)
    other = make_master(way.sent[0][2], prs=PASSWORDS[PIN], nonce=b"n" * 32)
    assert other.m2 != master.m2
    with pytest.raises(RemoteProtocolError, match="order"):
        way.receive(PacketType.M2, other.m2)
    # For good: the right answer comes too late.
    with pytest.raises(RemoteProtocolError, match="order"):
        way.receive(PacketType.M4, master.receive_c3(way.sent[-1][2]).m4)


@pytest.mark.parametrize("kind", [PacketType.M4, PacketType.C1, PacketType.C3])
@pytest.mark.parametrize("begun", [False, True])
def test_messages_have_their_order(kind: PacketType, begun: bool) -> None:
    way = Way()
    if begun:
        way.begin()
    header = Header(kind, 0, 0, MASTER, MEMBER, int(kind > PacketType.M2), 0, 32)
    with pytest.raises(RemoteProtocolError, match="order"):
        way.entrance.receive(header, bytes(32))


def test_an_m2_before_the_opening_is_out_of_order() -> None:
    with pytest.raises(RemoteProtocolError, match="order"):
        Way().receive(PacketType.M2, bytes(1_419))


def test_the_clear_header_has_one_form() -> None:
    way = Way()
    master = way.begin()
    with pytest.raises(RemoteProtocolError, match="header"):
        way.entrance.receive(Header(PacketType.M2, 0, 0, MASTER, MEMBER, 7, 0, 1_419), master.m2)
    # Nothing was taken in.
    assert way.receive(PacketType.M2, master.m2) is True


def test_a_master_that_does_not_know_the_code() -> None:
    way = Way()
    way.begin()
    stranger = make_master(way.sent[0][2], prs=b"000000")
    way.receive(PacketType.M2, stranger.m2)
    with pytest.raises(AuthenticationFailed):
        stranger.receive_c3(way.sent[-1][2])
    with pytest.raises(AuthenticationFailed):
        way.receive(PacketType.M4, bytes(32))


@pytest.mark.parametrize("confirming", [False, True])
def test_a_run_that_is_over_keeps_no_secret(confirming: bool) -> None:
    way = Way()
    master = way.begin()
    if confirming:
        way.receive(PacketType.M2, master.m2)
    handshake: Any = way.entrance._handshake
    way.entrance.close()
    way.entrance.close()
    take, message = (
        (handshake.receive_m4, bytes(32)) if confirming else (handshake.receive_m2, master.m2)
    )
    with pytest.raises(LocalProtocolError, match="erased"):
        take(message)
    way.sent.clear()
    way.entrance.repeat()
    assert way.sent == []
