"""Sealed streams: a stream in segments that can't be changed, cut or put in another order.

Source: docs/gateway-protocol, section 4. The construction and, with full segments, the bytes are
those of Tink's AES256-GCM-HKDF streaming: a header with a salt and a nonce prefix, then segments,
each sealed with AES-256-GCM under a nonce of prefix, index and whether it is the last. Two things
go beyond Tink: a segment may be shorter, so that what is there can go out at once, and an empty
last one may follow, because the end is often known only afterwards.
"""

from __future__ import annotations

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.keys.primitives import KEY_BYTES, TAG_BYTES, AeadKey, Buffer, expand, extract
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import encode_u32

__all__ = [
    "HEADER_BYTES",
    "MAX_SEGMENTS",
    "MAX_SEGMENT_BYTES",
    "PREFIX_BYTES",
    "SALT_BYTES",
    "SegmentOpener",
    "SegmentSealer",
    "max_plaintext_bytes",
]

SALT_BYTES = 32  # with it each stream has a key of its own, so nonces may begin at 0
PREFIX_BYTES = 7  # what index and last byte leave of a nonce
HEADER_BYTES = 1 + SALT_BYTES + PREFIX_BYTES

MAX_SEGMENT_BYTES = 65_536  # of ciphertext and tag; the first is shorter by the header
MAX_SEGMENTS = 2**32  # what the index in the nonce can tell apart: 256 TiB

_HEADER_START = bytes([HEADER_BYTES])  # Tink's length of the header, which is always the same


class _StreamKey(SecretHolder):
    """The key of one stream, with the prefix of its nonces."""

    __slots__ = ("_key", "_prefix")

    def __init__(self, ikm: bytes, associated: bytes, salt: bytes, prefix: bytes) -> None:
        if len(ikm) != KEY_BYTES:
            raise ValueError(f"the key material of a sealed stream has {KEY_BYTES} bytes")
        self._key = AeadKey(expand(extract(salt, ikm), associated, KEY_BYTES))
        self._prefix = prefix

    def seal_into(self, index: int, last: bool, plaintext: Buffer, out: memoryview) -> None:
        self._key.seal_into(self._nonce(index, last), plaintext, b"", out)

    def open_into(self, index: int, last: bool, segment: Buffer, out: memoryview) -> None:
        self._key.open_into(self._nonce(index, last), segment, b"", out)

    def _nonce(self, index: int, last: bool) -> bytes:
        return self._prefix + encode_u32(index) + bytes([last])


def max_plaintext_bytes(index: int) -> int:
    """How much the segment with this index holds at most: the first shares with the header."""
    return MAX_SEGMENT_BYTES - TAG_BYTES - (0 if index else HEADER_BYTES)


class SegmentSealer(SecretHolder):
    """Seals one stream.

    :param ikm: 32 secret bytes; many streams may share them.
    :param associated: what the stream is bound to; the opener must know the same.
    :param salt: 32 fresh random bytes.
    :param prefix: 7 fresh random bytes.
    :ivar header: stands before the first segment.
    :ivar index: of the next segment.
    :ivar finished: whether the last segment was sealed.
    """

    __slots__ = ("_key", "finished", "header", "index")
    OPEN_SLOTS = frozenset({"finished", "header", "index"})

    def __init__(self, ikm: bytes, associated: bytes, *, salt: bytes, prefix: bytes) -> None:
        if len(salt) != SALT_BYTES or len(prefix) != PREFIX_BYTES:
            raise ValueError(f"a salt has {SALT_BYTES} bytes, a nonce prefix {PREFIX_BYTES}")
        self._key = _StreamKey(ikm, associated, salt, prefix)
        self.header = _HEADER_START + salt + prefix
        self.index = 0
        self.finished = False

    def seal(self, plaintext: Buffer, *, last: bool = False) -> bytearray:
        """The next segment, 16 bytes longer than the plaintext; see :meth:`seal_into`."""
        segment = bytearray(len(plaintext) + TAG_BYTES)
        self.seal_into(plaintext, memoryview(segment), last=last)
        return segment

    def seal_into(self, plaintext: Buffer, out: memoryview, *, last: bool = False) -> None:
        """Seal the next segment.

        :param plaintext: at most :func:`max_plaintext_bytes` of its index; empty only if it is
            the last.
        :param out: exactly 16 bytes longer; may begin where the plaintext begins.
        :param last: whether the stream ends with it.
        :raises LocalProtocolError: too long, or empty, or after the last one, or there are so many
            segments that only the last may follow and this is not it.
        """
        if self.finished:
            raise LocalProtocolError("a sealed stream goes on after its end")
        if len(plaintext) > max_plaintext_bytes(self.index) or not (plaintext or last):
            raise LocalProtocolError("a segment is too long, or empty and not the last")
        if self.index == MAX_SEGMENTS - 1 and not last:
            raise LocalProtocolError("a sealed stream is too long; begin another one")
        self._key.seal_into(self.index, last, plaintext, out)
        self.index += 1
        self.finished = last


class SegmentOpener(SecretHolder):
    """Opens one stream.

    :param ikm: as the sealer's.
    :param associated: as the sealer's.
    :param header: the 40 bytes before the first segment.
    :ivar index: of the next segment.
    :ivar finished: whether the last segment was opened.
    :raises RemoteProtocolError: not such a header.
    """

    __slots__ = ("_key", "finished", "index")
    OPEN_SLOTS = frozenset({"finished", "index"})

    def __init__(self, ikm: bytes, associated: bytes, header: Buffer) -> None:
        start = bytes(header)
        if len(start) != HEADER_BYTES or not start.startswith(_HEADER_START):
            raise RemoteProtocolError("a sealed stream begins with another header than ours")
        salt, prefix = start[1:-PREFIX_BYTES], start[-PREFIX_BYTES:]
        self._key = _StreamKey(ikm, associated, salt, prefix)
        self.index = 0
        self.finished = False

    def open(self, segment: Buffer, *, last_expected: bool = False) -> memoryview:
        """The plaintext of the next segment; :attr:`finished` tells whether it was the last.

        :param segment: one whole segment, ciphertext and tag.
        :param last_expected: what a stranger says about that. Whether it is true decides only how
            long this takes: what does not open as the one is tried as the other.
        :raises RemoteProtocolError: of no length that a segment has here, empty though not the
            last, one too many, or after the last.
        :raises AuthenticationFailed: not the segment that was sealed in this place. The stream
            stays where it is.
        """
        if self.finished:
            raise RemoteProtocolError("a sealed stream goes on after its end")
        length = len(segment) - TAG_BYTES
        if not 0 <= length <= max_plaintext_bytes(self.index):
            raise RemoteProtocolError("a segment has a length that it can't have")
        # Not in place: a failure would leave nothing to be tried the other way.
        plaintext = memoryview(bytearray(length))
        try:
            self._key.open_into(self.index, last_expected, segment, plaintext)
            last = last_expected
        except AuthenticationFailed:
            last = not last_expected
            self._key.open_into(self.index, last, segment, plaintext)
        if not last and (length == 0 or self.index == MAX_SEGMENTS - 1):
            raise RemoteProtocolError("a segment is empty, or one too many, and not the last")
        self.index += 1
        self.finished = last
        return plaintext

    def finish(self) -> None:
        """No more segments come.

        :raises RemoteProtocolError: the last one is missing: what was opened is not the whole.
        """
        if not self.finished:
            raise RemoteProtocolError("a sealed stream was cut off before its end")
