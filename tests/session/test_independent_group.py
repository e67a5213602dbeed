"""Broadcasts between this implementation and the independent one, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from porttunnel.keys.primitives import SigningKey
from porttunnel.session import record
from porttunnel.session.broadcast_receiver import BroadcastReceiver
from porttunnel.session.broadcast_sender import BroadcastSender
from porttunnel.session.event import BroadcastEnded, BroadcastReceived
from porttunnel.session.packet import ALL_MEMBERS, MASTER, decode_header
from tests.independent.handshake import group_key
from tests.independent.packet import (
    GROUP,
    Header,
    PacketError,
    Record,
    encode_record,
    open_group,
    seal_group,
)

SESSION_ID = b"0123456789abcdef"
KEYS = (b"a" * 32, b"b" * 32)


def nobody_told(*_told: Any) -> None:
    raise AssertionError("nothing is missing here")


def sent_here(key: SigningKey) -> list[bytes]:
    """Two packets of one epoch and one of the next."""
    packets: list[bytes] = []
    sender = BroadcastSender(
        SESSION_ID,
        key,
        send_group=lambda packet: packets.append(bytes(packet)),
        tell=nobody_told,
        room=lambda: True,
        events=[],
    )
    sender.begin_epoch(KEYS[0])
    sender.add_member(2)
    for text in (b"one", b"two"):
        sender.write(7, text, 0.0)
        sender.flush(0.0)
    sender.begin_epoch(KEYS[1])
    sender.write(7, b"three", 0.0)
    sender.end(7, 0.0)
    sender.flush(0.0)
    return packets


def test_what_is_sent_here_opens_there() -> None:
    key = SigningKey.generate()
    found = [
        open_group(group_key(SESSION_ID, epoch, KEYS[epoch - 1]), SESSION_ID, key.public, packet)
        for epoch, packet in zip((1, 1, 2), sent_here(key), strict=True)
    ]
    assert found == [
        [Record("DATA", 7, b"one")],
        [Record("DATA", 7, b"two")],
        [Record("DATA", 7, b"three"), Record("END", 7, b"")],
    ]


def test_what_somebody_else_signed_does_not() -> None:
    packet = sent_here(SigningKey.generate())[0]
    keys = group_key(SESSION_ID, 1, KEYS[0])
    with pytest.raises(PacketError, match="not the master's"):
        open_group(keys, SESSION_ID, SigningKey.generate().public, packet)
    with pytest.raises(PacketError, match="does not open"):
        open_group(group_key(SESSION_ID, 2, KEYS[0]), SESSION_ID, bytes(32), packet)


class There:
    """The independent master; what its packets come to here."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.events: list[Any] = []
        self.told: list[record.GroupAck] = []
        self.receiver = BroadcastReceiver(
            SESSION_ID,
            self.key.public_key().public_bytes_raw(),
            1,
            KEYS[0],
            tell=self.told.append,
            events=self.events,
        )

    def make(self, number: int, body: bytes, *, epoch: int = 1, **changes: Any) -> bytes:
        values: dict[str, Any] = {"master": self.key, "session_id": SESSION_ID} | changes
        return seal_group(
            group_key(SESSION_ID, epoch, KEYS[epoch - 1]),
            header=Header("DATA", MASTER, ALL_MEMBERS, number, 0, epoch, GROUP),
            body=body,
            **values,
        )

    def receive(self, packet: bytes) -> None:
        self.receiver.receive_group(decode_header(packet), memoryview(bytearray(packet)), 0.0)


def test_what_is_sent_there_opens_here() -> None:
    there = There()
    for number, text in enumerate((b"one", b"two")):
        there.receive(there.make(number, encode_record("DATA", 7, text)))
    there.receiver.receive_epoch(record.Epoch(epoch=2, key=KEYS[1], previous_end=2), 0.0)
    last = encode_record("DATA", 7, b"three") + encode_record("END", 7)
    there.receive(there.make(0, last, epoch=2))
    assert [bytes(e.data) for e in there.events if isinstance(e, BroadcastReceived)] == [
        b"one",
        b"two",
        b"three",
    ]
    assert there.events[-1] == BroadcastEnded(7)
    assert there.told == []


@pytest.mark.parametrize(
    "changes",
    [{"master": Ed25519PrivateKey.generate()}, {"session_id": bytes(16)}],
    ids=["another key", "another session"],
)
def test_a_signature_that_is_not_right_is_dropped_and_asked_for(changes: dict[str, Any]) -> None:
    there = There()
    there.receive(there.make(0, encode_record("DATA", 7, b"false"), **changes))
    assert there.events == []
    assert there.told == [record.GroupAck(epoch=1, next=0, missing=True)]
    there.receive(there.make(0, encode_record("DATA", 7, b"right")))
    assert [bytes(event.data) for event in there.events] == [b"right"]
