"""Packets, sealing and records: docs/session-protocol, sections 2, 5 (keys) and 6."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = [
    "BODY_BYTES",
    "GROUP",
    "HEADER_BYTES",
    "KINDS",
    "RESYNC",
    "SYNCED",
    "TYPES",
    "Generation",
    "Header",
    "PacketError",
    "Record",
    "decode_header",
    "decode_records",
    "encode_packet",
    "encode_record",
    "expand",
    "extract",
    "open_group",
    "open_packet",
    "seal_group",
    "seal_packet",
    "sha256",
]

HEADER = struct.Struct(">2sBBHHIHHQQI")
HEADER_BYTES = HEADER.size
GROUP, RESYNC, SYNCED = 1, 2, 4

TYPES = {"C1": 1, "M2": 2, "C3": 3, "M4": 4, "DATA": 0x10, "ACK": 0x11, "REQUEST": 0x20} | {
    "REPLY": 0x21,
    "EVENT": 0x22,
    "PING": 0x30,
    "PONG": 0x31,
    "ERROR": 0x3F,
}
# What a body may measure: single sizes, or all from the first to the last.
BODY_BYTES = {
    "C1": (1540, 1572),
    "M2": (1387, 1419),
    "C3": (64,),
    "M4": (32,),
    "DATA": range(16, 65_553),
    "ACK": (16,),
    "REQUEST": range(1, 4_097),
    "REPLY": range(1, 65_537),
    "EVENT": range(1, 4_097),
    "PING": (8,),
    "PONG": (8,),
    "ERROR": range(1, 1_025),
}
NAMES = {number: name for name, number in TYPES.items()}
HANDSHAKE = ("C1", "M2", "C3", "M4")
KINDS = {"CONTROL": 0, "OPEN": 1, "ACCEPT": 2, "REFUSE": 3, "DATA": 4, "CREDIT": 5, "END": 6} | {
    "RESET": 7
}
KIND_NAMES = {number: name for name, number in KINDS.items()}
STREAM_CODES = (1, 2, 3, 4, 5, 6, 7, 8)


class PacketError(Exception):
    """The bytes are not what the page allows."""


class Header(NamedTuple):
    """A packet's header without what is always the same."""

    type: str
    sender: int
    target: int
    number: int = 0
    ack: int = 0
    epoch: int = 0
    flags: int = 0


class Record(NamedTuple):
    """One record."""

    kind: str
    stream: int
    payload: bytes


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-SHA256's first half."""
    return hmac.digest(salt, ikm, "sha256")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256's second half."""
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


def encode_packet(header: Header, body: bytes) -> bytes:
    """A whole packet; for tests also one that nobody may send."""
    return _encode_header(header, len(body)) + body


def _encode_header(header: Header, length: int) -> bytes:
    kind, sender, target, number, ack, epoch, flags = header
    fields = (TYPES[kind], 1, flags, epoch, sender, target, number, ack, length)
    return HEADER.pack(b"PT", 1, *fields)


def decode_header(data: bytes) -> tuple[Header, int]:
    """The header and the length of the body behind it."""
    if len(data) != HEADER_BYTES:
        raise PacketError("a header has 36 bytes")
    magic, version, kind, suite, flags, epoch, sender, target, number, ack, length = HEADER.unpack(
        data
    )
    if (magic, version, suite) != (b"PT", 1, 1) or kind not in NAMES:
        raise PacketError("magic, version, suite or type")
    name = NAMES[kind]
    if flags not in {"DATA": (0, GROUP), "ACK": (0, RESYNC, SYNCED)}.get(name, (0,)):
        raise PacketError("flags")
    if length not in BODY_BYTES[name]:
        raise PacketError("length")
    if name in HANDSHAKE and (epoch, ack, number) != (0, 0, int(name in ("C3", "M4"))):
        raise PacketError("a handshake packet with a number, epoch or ack")
    if name in ("DATA", "ACK") and 0 in (sender, target):
        raise PacketError("sealed, from or to the server")
    if flags & GROUP and ack:
        raise PacketError("a group packet with an ack")
    return Header(name, sender, target, number, ack, epoch, flags), length


@dataclass(frozen=True)
class Generation:
    """The keys of one direction and generation.

    :param secret: 32 bytes; ``number`` counts generations from 0.
    """

    secret: bytes
    number: int = 0

    @property
    def data(self) -> tuple[bytes, bytes]:
        """Key and iv of DATA."""
        return expand(self.secret, b"key", 32), expand(self.secret, b"iv", 12)

    @property
    def ack(self) -> tuple[bytes, bytes]:
        """Key and iv of ACK."""
        return expand(self.secret, b"ack key", 32), expand(self.secret, b"ack iv", 12)

    def following(self) -> Generation:
        """The next one."""
        return Generation(expand(self.secret, b"upd", 32), self.number + 1)

    def keys_for(self, kind: str) -> tuple[bytes, bytes]:
        """Key and iv for a type of packet."""
        return self.ack if kind == "ACK" else self.data


def _nonce(iv: bytes, number: int) -> bytes:
    return bytes(a ^ b for a, b in zip(iv, struct.pack(">IQ", 0, number), strict=True))


def seal_packet(keys: tuple[bytes, bytes], header: Header, plaintext: bytes) -> bytes:
    """A whole sealed packet."""
    head = _encode_header(header, len(plaintext) + 16)
    return head + AESGCM(keys[0]).encrypt(_nonce(keys[1], header.number), plaintext, head)


def open_packet(keys: tuple[bytes, bytes], packet: bytes) -> bytes:
    """The plaintext of a whole sealed packet."""
    head, body = packet[:HEADER_BYTES], packet[HEADER_BYTES:]
    number = decode_header(head)[0].number
    try:
        return AESGCM(keys[0]).decrypt(_nonce(keys[1], number), body, head)
    except InvalidTag:
        raise PacketError("does not open") from None


def open_group(
    keys: tuple[bytes, bytes], session_id: bytes, master: bytes, packet: bytes
) -> list[Record]:
    """The records of a group packet that the master has signed, section 8.

    :param keys: of the group epoch.
    :param master: its public Ed25519 key, from WELCOME.
    """
    plaintext = open_packet(keys, packet)
    signature, body = plaintext[:64], plaintext[64:]
    covered = b"ptun1 group" + session_id + packet[:HEADER_BYTES] + sha256(body)
    try:
        Ed25519PublicKey.from_public_bytes(master).verify(signature, covered)
    except InvalidSignature:
        raise PacketError("not the master's") from None
    return decode_records(body)


def seal_group(
    keys: tuple[bytes, bytes],
    session_id: bytes,
    master: Ed25519PrivateKey,
    header: Header,
    body: bytes,
) -> bytes:
    """A whole group packet."""
    head = _encode_header(header, 64 + len(body) + 16)
    signature = master.sign(b"ptun1 group" + session_id + head + sha256(body))
    return seal_packet(keys, header, signature + body)


def encode_record(kind: str, stream: int = 0, payload: bytes = b"") -> bytes:
    """One record."""
    return struct.pack(">BII", KINDS[kind], stream, len(payload)) + payload


def decode_records(plaintext: bytes) -> list[Record]:
    """All records of a sealed body; they fill it exactly."""
    records, offset = [], 0
    while offset < len(plaintext):
        if offset + 9 > len(plaintext):
            raise PacketError("a record ended too early")
        kind, stream, length = struct.unpack_from(">BII", plaintext, offset)
        offset += 9
        payload = plaintext[offset : offset + length]
        if kind not in KIND_NAMES or len(payload) != length:
            raise PacketError("an unknown record, or one that ended too early")
        records.append(_checked(Record(KIND_NAMES[kind], stream, payload)))
        offset += length
    return records


def _checked(record: Record) -> Record:
    kind, stream, payload = record
    if (kind == "CONTROL") != (stream == 0):
        raise PacketError("stream 0 is for control messages")
    match kind:
        case "OPEN":
            fits = 1 <= len(_text(payload[4:])) <= 64
        case "REFUSE":
            fits = payload != b"" and len(_text(payload[1:])) <= 200
        case "CONTROL" | "DATA":
            fits = payload != b""
        case _:
            fits = len(payload) == {"ACCEPT": 4, "CREDIT": 4, "END": 0, "RESET": 1}[kind]
    if not fits:
        raise PacketError(f"a payload that {kind} can't have")
    if kind in ("REFUSE", "RESET") and payload[0] not in STREAM_CODES:
        raise PacketError("an unknown code")
    return record


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise PacketError("not UTF-8") from None


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()
