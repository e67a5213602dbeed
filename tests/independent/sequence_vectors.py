"""Vectors of "Receiving DATA" and "Receiving ACK": what a pair makes of packets in some order."""

from __future__ import annotations

from typing import Any

from tests.independent.handshake_vectors import runs
from tests.independent.packet import (
    HEADER_BYTES,
    Generation,
    Header,
    PacketError,
    decode_header,
    encode_record,
    open_packet,
    seal_packet,
)
from tests.independent.vector_inputs import Inputs

__all__ = ["sequences"]

CLIENT, MASTER = 2, 1


class Receiver:
    """The rules of section 2, as a master that has sent ``sent`` packets itself follows them."""

    def __init__(self, secret: bytes, sent: int) -> None:
        self.generation = Generation(secret)
        self.sent = sent
        self.next = self.next_ack = 0

    def take(self, packet: bytes) -> str:
        """opened, dropped or fatal."""
        header, _ = decode_header(packet[:HEADER_BYTES])
        if header.type == "ACK":
            if header.number < self.next_ack or header.epoch < self.generation.number:
                return "dropped"
        elif header.number != self.next:
            return "dropped"
        keys = self.generation
        if header.epoch == keys.number + 1:
            keys = keys.following()
        if header.epoch != keys.number:
            return "fatal"
        try:
            open_packet(keys.keys_for(header.type), packet)
        except PacketError:
            return "fatal"
        if header.ack > self.sent:
            return "fatal"
        if header.type == "ACK":
            self.next_ack = header.number + 1
        else:
            self.next = header.number + 1
            self.generation = keys
        return "opened"


def sequences(inputs: Inputs) -> list[dict[str, Any]]:
    """Packets of a client, and what its master does with each; it has sent ``sent`` DATA."""
    secret = bytes.fromhex(runs(inputs)[0]["client_to_master"])

    def seal(kind: str, number: int, ack: int = 0, generation: int = 0) -> bytes:
        keys = Generation(secret)
        for _ in range(generation):
            keys = keys.following()
        # OPEN, so that the streams above have no reason to object.
        name = f"service-{number}".encode()
        plaintext = encode_record("OPEN", 2 * number + 1, b"\0\0\0\1" + name)
        header = Header(kind, CLIENT, MASTER, number, ack, generation)
        return seal_packet(keys.keys_for(kind), header, plaintext if kind == "DATA" else b"")

    first, changed = seal("DATA", 0), bytearray(seal("DATA", 0))
    changed[-1] ^= 1
    forged = bytearray(seal("DATA", 5, 9))
    forged[-1] ^= 1
    changed_ack = bytearray(seal("ACK", 0))
    changed_ack[-1] ^= 1
    given = {
        "in order": (0, [first, seal("DATA", 1), seal("DATA", 2)]),
        "a duplicate": (0, [first, first, seal("DATA", 1)]),
        "a gap that is filled": (0, [first, seal("DATA", 2), seal("DATA", 1), seal("DATA", 2)]),
        "a changed bit": (0, [bytes(changed)]),
        "a changed bit behind a gap: not looked at": (0, [bytes(forged), first]),
        "a changed bit in a duplicate: not looked at": (0, [first, bytes(changed)]),
        "two generations": (0, [first, seal("DATA", 1, 0, 1), seal("DATA", 2, 0, 2)]),
        "a generation left out": (0, [seal("DATA", 0, 0, 2)]),
        "back to the generation before": (0, [seal("DATA", 0, 0, 1), seal("DATA", 1)]),
        "an ack of nothing": (0, [first, seal("ACK", 0, 0)]),
        "an ack in DATA": (1, [seal("DATA", 0, 1)]),
        "an ack in DATA above what was sent": (1, [seal("DATA", 0, 2)]),
        "an ack below the last": (1, [seal("DATA", 0, 1), seal("DATA", 1, 0)]),
        "an ACK above what was sent": (1, [seal("ACK", 0, 2)]),
        "an ACK twice, the second changed: not looked at": (
            1,
            [seal("ACK", 0, 1), bytes(changed_ack), seal("ACK", 1, 1)],
        ),
        "an ACK with a number left out": (1, [seal("ACK", 3, 1), bytes(changed_ack)]),
        "a changed bit in an ACK": (1, [bytes(changed_ack)]),
        "an ACK of the next generation moves nothing": (
            1,
            [seal("ACK", 0, 1, 1), seal("DATA", 0, 1, 0), seal("DATA", 1, 1, 1)],
        ),
        "an ACK of the generation before: its key is gone, not looked at": (
            1,
            [seal("DATA", 0, 0, 1), bytes(changed_ack), seal("ACK", 0, 2), seal("ACK", 1, 1, 1)],
        ),
        "an ACK two generations ahead": (1, [seal("ACK", 0, 1, 2)]),
    }
    found = []
    for name, (sent, packets) in given.items():
        receiver = Receiver(secret, sent)
        steps = [{"packet": packet.hex(), "then": receiver.take(packet)} for packet in packets]
        assert all(step["then"] != "fatal" for step in steps[:-1]), name
        found.append({"name": name, "sent": sent, "steps": steps})
    return found
