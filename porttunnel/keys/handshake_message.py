"""The four messages of the handshake as bytes: exact sizes, nothing after the end.

docs/session-protocol, section 5. Decoding checks what can be known without a secret; whether a
message is from the right person is decided in ``handshake``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from porttunnel.errors import RemoteProtocolError
from porttunnel.keys.primitives import (
    MLKEM_CIPHERTEXT_BYTES,
    MLKEM_PUBLIC_BYTES,
    RSA_CIPHERTEXT_BYTES,
    RSA_PUBLIC_BYTES,
)
from porttunnel.wire import Reader, encode_u16, encode_vec

__all__ = [
    "C1",
    "C3",
    "COMMIT_BYTES",
    "FIRST_CLIENT",
    "HANDSHAKE_VERSION",
    "LAST_CLIENT",
    "M2",
    "M4",
    "SESSION_ID_BYTES",
    "SUITE",
    "HandshakeMode",
]

HANDSHAKE_VERSION = 1
SUITE = 1  # the only one: nothing to downgrade
SESSION_ID_BYTES = 16
NONCE_BYTES = 32  # a party's contribution to the transcript
COMMIT_BYTES = 32  # SHA-256
MAC_BYTES = 32  # HMAC-SHA256
SHARE_BYTES = 32  # an X25519 point
FIRST_CLIENT = 2  # 0 is the server, 1 the master
LAST_CLIENT = 0xFFFD  # 0xFFFE has no number yet, 0xFFFF is all

Buffer = bytes | bytearray | memoryview


class HandshakeMode(IntEnum):
    """How the two sides know each other."""

    PIN = 1  # six digits, typed by the client's user
    SAS = 2  # nothing beforehand; six digits read out in both directions afterwards
    LINK = 3  # 128 bits in a link or QR code
    REJOIN = 4  # a secret kept from an earlier run with the same master


@dataclass(frozen=True, slots=True)
class C1:
    """The client's opening.

    :ivar former: in REJOIN the member number of the earlier run, else 0.
    :ivar share: the CPace share, 32 bytes; empty in SAS.
    :ivar commit: binds the client to its nonce before it sees the master's.
    """

    mode: HandshakeMode
    member: int
    former: int
    session_id: bytes
    share: bytes
    rsa_public: bytes
    mlkem_public: bytes
    commit: bytes
    version: int = HANDSHAKE_VERSION
    suite: int = SUITE

    def encode(self) -> bytes:
        """1,572 bytes, in SAS 1,540."""
        return b"".join(
            (
                self.version.to_bytes(1, "big"),
                encode_u16(self.suite),
                self.mode.to_bytes(1, "big"),
                encode_u16(self.member),
                encode_u16(self.former),
                self.session_id,
                encode_vec(self.share),
                encode_vec(self.rsa_public),
                encode_vec(self.mlkem_public),
                self.commit,
            )
        )

    @classmethod
    def decode(cls, body: Buffer) -> C1:
        """Read a C1.

        :raises RemoteProtocolError: malformed, of another version or suite, or with a mode or
            member numbers that don't exist.
        """
        reader = Reader(body)
        version, suite = _read_version(reader)
        mode = _read_mode(reader)
        message = cls(
            version=version,
            suite=suite,
            mode=mode,
            member=reader.u16(),
            former=reader.u16(),
            session_id=reader.take(SESSION_ID_BYTES),
            share=reader.vec(share_bytes(mode)),
            rsa_public=reader.vec(RSA_PUBLIC_BYTES),
            mlkem_public=reader.vec(MLKEM_PUBLIC_BYTES),
            commit=reader.take(COMMIT_BYTES),
        )
        reader.finish()
        if not is_client(message.member):
            raise RemoteProtocolError("the first handshake message names no client")
        if not may_name_former(mode, message.former):
            raise RemoteProtocolError("the former member number does not go with the mode")
        return message


@dataclass(frozen=True, slots=True)
class M2:
    """The master's answer.

    :ivar share: the CPace share, 32 bytes; empty in SAS.
    """

    member: int
    nonce: bytes
    share: bytes
    rsa_ciphertext: bytes
    mlkem_ciphertext: bytes
    version: int = HANDSHAKE_VERSION
    suite: int = SUITE

    def encode(self) -> bytes:
        """1,419 bytes, in SAS 1,387."""
        return b"".join(
            (
                self.version.to_bytes(1, "big"),
                encode_u16(self.suite),
                encode_u16(self.member),
                self.nonce,
                encode_vec(self.share),
                encode_vec(self.rsa_ciphertext),
                encode_vec(self.mlkem_ciphertext),
            )
        )

    @classmethod
    def decode(cls, body: Buffer, mode: HandshakeMode) -> M2:
        """Read an M2.

        :param mode: the mode of this run; the message itself does not say it.
        :raises RemoteProtocolError: malformed, or of another version or suite.
        """
        reader = Reader(body)
        version, suite = _read_version(reader)
        message = cls(
            version=version,
            suite=suite,
            member=reader.u16(),
            nonce=reader.take(NONCE_BYTES),
            share=reader.vec(share_bytes(mode)),
            rsa_ciphertext=reader.vec(RSA_CIPHERTEXT_BYTES),
            mlkem_ciphertext=reader.vec(MLKEM_CIPHERTEXT_BYTES),
        )
        reader.finish()
        return message


@dataclass(frozen=True, slots=True)
class C3:
    """The client opens its commitment and confirms."""

    nonce: bytes
    mac: bytes

    def encode(self) -> bytes:
        """64 bytes."""
        return self.nonce + self.mac

    @classmethod
    def decode(cls, body: Buffer) -> C3:
        """Read a C3.

        :raises RemoteProtocolError: not 64 bytes.
        """
        reader = Reader(body)
        message = cls(reader.take(NONCE_BYTES), reader.take(MAC_BYTES))
        reader.finish()
        return message


@dataclass(frozen=True, slots=True)
class M4:
    """The master confirms."""

    mac: bytes

    def encode(self) -> bytes:
        """32 bytes."""
        return self.mac

    @classmethod
    def decode(cls, body: Buffer) -> M4:
        """Read an M4.

        :raises RemoteProtocolError: not 32 bytes.
        """
        reader = Reader(body)
        message = cls(reader.take(MAC_BYTES))
        reader.finish()
        return message


def share_bytes(mode: HandshakeMode) -> int:
    """Length of a CPace share in this mode: in SAS there is no password, and so no CPace."""
    return 0 if mode is HandshakeMode.SAS else SHARE_BYTES


def is_client(member: int) -> bool:
    """Whether a client can have this member number."""
    return FIRST_CLIENT <= member <= LAST_CLIENT


def may_name_former(mode: HandshakeMode, former: int) -> bool:
    """Whether ``former`` is as the mode demands: a client's number in REJOIN, else 0."""
    return is_client(former) if mode is HandshakeMode.REJOIN else former == 0


def _read_version(reader: Reader) -> tuple[int, int]:
    version, suite = reader.u8(), reader.u16()
    if version != HANDSHAKE_VERSION or suite != SUITE:
        raise RemoteProtocolError(
            "the other side speaks another version of the handshake; update both"
        )
    return version, suite


def _read_mode(reader: Reader) -> HandshakeMode:
    try:
        return HandshakeMode(reader.u8())
    except ValueError:
        raise RemoteProtocolError("there is no such handshake mode") from None
