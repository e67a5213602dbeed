"""Vectors of section 2 and of records: what may be said, and what nobody may accept."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from tests.independent.handshake_vectors import group_keys, runs
from tests.independent.packet import (
    BODY_BYTES,
    GROUP,
    HEADER_BYTES,
    RESYNC,
    SYNCED,
    TYPES,
    Generation,
    Header,
    PacketError,
    decode_header,
    decode_records,
    encode_packet,
    encode_record,
    open_packet,
    seal_packet,
)
from tests.independent.vector_inputs import Inputs

__all__ = ["headers", "records", "refused_headers", "refused_records", "sealed", "unopened"]

CLIENT, MASTER, SERVER, NOBODY, ALL = 2, 1, 0, 0xFFFE, 0xFFFF
PLAINTEXT = encode_record("DATA", 1, b"hello")


def _secrets(inputs: Inputs) -> dict[str, Generation]:
    run = runs(inputs)[0]
    return {
        direction: Generation(bytes.fromhex(run[direction]))
        for direction in ("client_to_master", "master_to_client")
    }


def _ends(direction: str) -> tuple[int, int]:
    return (CLIENT, MASTER) if direction == "client_to_master" else (MASTER, CLIENT)


def _sealed_with(inputs: Inputs, direction: str, header: Header, plaintext: bytes) -> bytes:
    generation = _secrets(inputs)[direction]
    for _ in range(header.epoch):
        generation = generation.following()
    return seal_packet(generation.keys_for(header.type), header, plaintext)


def sealed(inputs: Inputs) -> list[dict[str, Any]]:
    """Sealed packets that open."""
    found = []
    for direction in ("client_to_master", "master_to_client"):
        ends = _ends(direction)
        packets = {
            "the first DATA": (Header("DATA", *ends), PLAINTEXT),
            "DATA with an ack": (Header("DATA", *ends, 1, 7), PLAINTEXT * 3),
            "DATA of the next generation": (Header("DATA", *ends, 2, 7, 1), PLAINTEXT),
            "DATA of the generation after it": (Header("DATA", *ends, 3, 8, 2), PLAINTEXT),
            "DATA with a number of 64 bits": (Header("DATA", *ends, 1 << 63, 1 << 40), b"\0"),
            "DATA without records": (Header("DATA", *ends, 4), b""),
            "the largest DATA": (Header("DATA", *ends, 5), bytes(65_536)),
            "the first ACK": (Header("ACK", *ends), b""),
            "ACK of the next generation": (Header("ACK", *ends, 1, 9, 1), b""),
            "ACK with RESYNC": (Header("ACK", *ends, 2, 10, 0, RESYNC), b""),
            "ACK with SYNCED": (Header("ACK", *ends, 3, 10, 0, SYNCED), b""),
        }
        for name, (header, plaintext) in packets.items():
            packet = _sealed_with(inputs, direction, header, plaintext)
            if len(plaintext) == 65_536:
                # The tag alone says whether the rest is right.
                kept = {"plaintext_zeros": len(plaintext), "tag": packet[-16:].hex()}
            else:
                kept = {"plaintext": plaintext.hex(), "packet": packet.hex()}
            found.append({"name": name, "direction": direction, **header._asdict(), **kept})
    group = group_keys(inputs)[0]
    header = Header("DATA", MASTER, ALL, 3, 0, group["epoch"], GROUP)
    keys = bytes.fromhex(group["key"]), bytes.fromhex(group["iv"])
    found.append(
        {
            "name": "DATA to the group",
            "direction": "group",
            **header._asdict(),
            "plaintext": PLAINTEXT.hex(),
            "packet": seal_packet(keys, header, PLAINTEXT).hex(),
        }
    )
    return found


def unopened(inputs: Inputs) -> list[dict[str, Any]]:
    """Sealed packets that do not open with the keys of the client's direction."""
    packets: dict[str, tuple[int, bytes]] = {}
    data = _sealed_with(inputs, "client_to_master", Header("DATA", 2, 1, 5, 3), PLAINTEXT)
    ack = _sealed_with(inputs, "client_to_master", Header("ACK", 2, 1, 5, 3), b"")
    reply = _sealed_with(inputs, "master_to_client", Header("DATA", 1, 2, 5, 3), PLAINTEXT)
    following = _sealed_with(inputs, "client_to_master", Header("DATA", 2, 1, 5, 3, 1), PLAINTEXT)
    flips = {"epoch": 11, "sender": 13, "target": 15, "number": 23, "ack": 31}
    flips |= {"first byte of the body": HEADER_BYTES, "tag": len(data) - 1}
    for name, offset in flips.items():
        packets[f"DATA: a bit of the {name}"] = 0, _flip(data, offset)
    for name in ("sender", "number", "ack"):
        packets[f"ACK: a bit of the {name}"] = 0, _flip(ack, flips[name])
    packets["ACK: a bit of the tag"] = 0, _flip(ack, len(ack) - 1)
    packets["ACK: with RESYNC put in"] = 0, _flip(ack, 7, RESYNC)
    packets["ACK: with SYNCED put in"] = 0, _flip(ack, 7, SYNCED)
    packets["DATA: with GROUP put in"] = 0, _flip(data, 7, GROUP)
    packets["DATA: sent back to its sender"] = 0, reply
    turned = reply[:12] + data[12:16] + reply[16:]
    packets["DATA: sent back with the ends changed"] = 0, turned
    packets["DATA: of the generation before"] = 1, data
    packets["DATA: of the generation after"] = 0, following
    packets["DATA: an ACK with another type"] = 0, _flip(ack, 3)
    packets["DATA: the last byte of the plaintext is missing"] = 0, _shortened(data)
    packets["DATA: body of one packet, header of another"] = (
        0,
        (
            _sealed_with(inputs, "client_to_master", Header("DATA", 2, 1, 6, 3), PLAINTEXT)[:36]
            + data[36:]
        ),
    )
    found = []
    for name, (generation, packet) in packets.items():
        _assert_unopened(inputs, generation, packet, name)
        found.append({"name": name, "generation": generation, "packet": packet.hex()})
    return found


def _flip(data: bytes, offset: int, bits: int = 1) -> bytes:
    return data[:offset] + bytes([data[offset] ^ bits]) + data[offset + 1 :]


def _shortened(packet: bytes) -> bytes:
    """One byte less of ciphertext, and a header that says so."""
    head = packet[:32] + struct.pack(">I", len(packet) - HEADER_BYTES - 1)
    return head + packet[HEADER_BYTES:-17] + packet[-16:]


def _assert_unopened(inputs: Inputs, generation: int, packet: bytes, name: str) -> None:
    keys = _secrets(inputs)["client_to_master"]
    for _ in range(generation):
        keys = keys.following()
    kind = "ACK" if packet[3] == TYPES["ACK"] else "DATA"
    try:
        open_packet(keys.keys_for(kind), packet)
    except PacketError:
        return
    raise AssertionError(f"{name} opened")


def headers() -> list[dict[str, Any]]:
    """Every type with its shortest and its longest body."""
    ends = {"C1": (2, 1), "M2": (1, 2), "C3": (2, 1), "M4": (1, 2), "DATA": (2, 1)} | {
        "ACK": (1, 2),
        "REQUEST": (NOBODY, SERVER),
        "REPLY": (SERVER, NOBODY),
        "EVENT": (SERVER, MASTER),
        "PING": (2, SERVER),
        "PONG": (SERVER, 2),
        "ERROR": (1, 2),
    }
    found = []
    for kind, (sender, target) in ends.items():
        number = int(kind in ("C3", "M4", "REQUEST", "REPLY"))
        header = Header(kind, sender, target, number)
        for length in sorted({BODY_BYTES[kind][0], BODY_BYTES[kind][-1]}):
            head = encode_packet(header, bytes(length))[:HEADER_BYTES]
            assert decode_header(head) == (header, length)
            found.append({**header._asdict(), "length": length, "header": head.hex()})
    return found


def _wrong_headers() -> Iterator[tuple[str, bytes]]:
    data = encode_packet(Header("DATA", 2, 1), bytes(16))[:HEADER_BYTES]
    ack = encode_packet(Header("ACK", 2, 1), bytes(16))[:HEADER_BYTES]
    yield "the first letter", _flip(data, 0)
    yield "the second letter", _flip(data, 1)
    yield "version 0", _flip(data, 2)
    yield "version 2", _flip(data, 2, 3)
    yield "suite 0", _flip(data, 5)
    yield "suite 257", _flip(data, 4)
    for unknown in (0x00, 0x05, 0x0F, 0x13, 0x1F, 0x23, 0x2F, 0x32, 0x3E, 0x40, 0xFF):
        yield f"type {unknown:#04x}", data[:3] + bytes([unknown]) + data[4:]
    yield "RESYNC in DATA", _flip(data, 7, RESYNC)
    yield "SYNCED in DATA", _flip(data, 7, SYNCED)
    yield "GROUP in ACK", _flip(ack, 7, GROUP)
    yield "RESYNC and SYNCED in one ACK", _flip(ack, 7, RESYNC | SYNCED)
    yield "an unknown flag", _flip(data, 7, 8)
    yield "an unknown flag in the high byte", _flip(data, 6)
    for kind in TYPES:
        number = int(kind in ("C3", "M4"))
        sender, target = (1, 2) if kind in ("M2", "M4", "ERROR") else (2, 1)
        if kind in ("REQUEST", "PING", "PONG"):
            target = SERVER
        if kind in ("REPLY", "EVENT"):
            sender = SERVER
        head = encode_packet(Header(kind, sender, target, number), b"")[:32]
        allowed = BODY_BYTES[kind]
        for length in sorted({allowed[0] - 1, allowed[-1] + 1, 0, 0xFFFFFFFF} - {-1}):
            yield f"{kind} with a body of {length}", head + struct.pack(">I", length)
        if kind in ("C1", "M2", "C3", "M4"):
            whole = head + struct.pack(">I", allowed[0])
            yield f"{kind} with a flag", _flip(whole, 7)
        if kind in ("REQUEST", "REPLY", "EVENT", "PING", "PONG", "ERROR"):
            whole = head + struct.pack(">I", allowed[0])
            yield f"{kind} with a flag", _flip(whole, 7)


def refused_headers() -> list[dict[str, str]]:
    """Headers that are fatal for a link, whatever state it is in."""
    found = []
    for name, head in _wrong_headers():
        try:
            decode_header(head)
        except PacketError:
            found.append({"name": name, "header": head.hex()})
            continue
        raise AssertionError(f"{name} was read")
    return found


def records() -> list[dict[str, Any]]:
    """Bodies of records that are read."""
    window = struct.pack(">I", 65_536)
    bodies = {
        "OPEN": [("OPEN", 1, window + b"web")],
        "OPEN with the longest name": [("OPEN", 3, window + "ü".encode() * 64)],
        "ACCEPT": [("ACCEPT", 2, window)],
        "REFUSE without a text": [("REFUSE", 1, b"\3")],
        "REFUSE with the longest text": [("REFUSE", 1, b"\1" + "€".encode() * 200)],
        "DATA": [("DATA", 5, b"x")],
        "CREDIT": [("CREDIT", 0xFFFFFFFF, window)],
        "END": [("END", 1, b"")],
        **{f"RESET {code}": [("RESET", 1, bytes([code]))] for code in range(1, 9)},
        "several": [("DATA", 1, b"a"), ("DATA", 1, b"b"), ("END", 1, b""), ("ACCEPT", 2, window)],
    }
    found = []
    for name, parts in bodies.items():
        body = b"".join(encode_record(*part) for part in parts)
        assert [tuple(record) for record in decode_records(body)] == parts
        fields = [
            {"kind": kind, "stream": stream, "payload": payload.hex()}
            for kind, stream, payload in parts
        ]
        found.append({"name": name, "records": fields, "body": body.hex()})
    return found


def refused_records() -> list[dict[str, str]]:
    """Bodies that are fatal for a pair.

    So they are to a master with which the client has opened stream 1, and that has opened
    stream 2 itself: what is wrong is the form and nothing else.
    """
    window = struct.pack(">I", 65_536)
    bodies = {
        "an unknown kind": struct.pack(">BII", 8, 1, 0),
        "kind 255": struct.pack(">BII", 255, 1, 1) + b"x",
        "no more than a kind": b"\4",
        "a header that ends too early": PLAINTEXT[:8],
        "a payload that ends too early": PLAINTEXT[:-1],
        "a byte behind the last record": PLAINTEXT + b"\0",
        "DATA without bytes": encode_record("DATA", 1),
        "DATA for stream 0": encode_record("DATA", 0, b"x"),
        "CONTROL for a stream": encode_record("CONTROL", 1, b"\x80"),
        "CONTROL without a message": encode_record("CONTROL"),
        "OPEN without a name": encode_record("OPEN", 3, window),
        "OPEN without a window": encode_record("OPEN", 3, b"\0\0\0"),
        "OPEN with a name of 65": encode_record("OPEN", 3, window + b"x" * 65),
        "OPEN with a name that is no text": encode_record("OPEN", 3, window + b"\xff"),
        "ACCEPT of 3 bytes": encode_record("ACCEPT", 2, window[:3]),
        "ACCEPT of 5 bytes": encode_record("ACCEPT", 2, window + b"\0"),
        "REFUSE without a code": encode_record("REFUSE", 2),
        "REFUSE with code 0": encode_record("REFUSE", 2, b"\0"),
        "REFUSE with code 9": encode_record("REFUSE", 2, b"\x09"),
        "REFUSE with a text of 201": encode_record("REFUSE", 2, b"\1" + b"x" * 201),
        "REFUSE with a text that is none": encode_record("REFUSE", 2, b"\1\xc3"),
        "CREDIT of 3 bytes": encode_record("CREDIT", 1, window[:3]),
        "END with a payload": encode_record("END", 1, b"x"),
        "RESET without a code": encode_record("RESET", 1),
        "RESET with code 0": encode_record("RESET", 1, b"\0"),
        "RESET with code 9": encode_record("RESET", 1, b"\x09"),
        "RESET with two codes": encode_record("RESET", 1, b"\1\1"),
    }
    found = []
    for name, body in bodies.items():
        try:
            decode_records(body)
        except PacketError:
            found.append({"name": name, "body": body.hex()})
            continue
        raise AssertionError(f"{name} was read")
    return found
