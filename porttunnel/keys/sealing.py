"""Sealing and opening of packets: nonces, generations, group epochs.

docs/session-protocol, sections 2, 5 and 8. A packet is sealed where it lies: the caller writes
the whole header and the plaintext behind it, and ciphertext and tag take the plaintext's place.
The header is the associated data, so not one bit of it can change on the way.

A nonce is the generation's iv XOR the packet's number. Numbers only rise, which is checked
here: one nonce used twice under one key would give away everything sealed under that key.
"""

from __future__ import annotations

from porttunnel.errors import LocalProtocolError, RemoteProtocolError
from porttunnel.keys.primitives import KEY_BYTES, NONCE_BYTES, TAG_BYTES, AeadKey, expand, extract
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import encode_u32

__all__ = [
    "HEADER_BYTES",
    "MAX_GENERATION_BYTES",
    "MAX_GENERATION_PACKETS",
    "GroupOpener",
    "GroupSealer",
    "Opener",
    "Sealer",
]

HEADER_BYTES = 36  # docs/session-protocol, section 2

# Far below what GCM bears under one key (about 2^32 packets of 64 KiB at a forger's advantage
# of 2^-57 each way), so that a key which leaks opens little.
MAX_GENERATION_PACKETS = 2**24
MAX_GENERATION_BYTES = 2**36

LABEL_KEY = b"key"
LABEL_IV = b"iv"
LABEL_ACK_KEY = b"ack key"
LABEL_ACK_IV = b"ack iv"
LABEL_UPDATE = b"upd"
LABEL_GROUP = b"ptun1 grp"

_ACK_BYTES = HEADER_BYTES + TAG_BYTES  # an ACK is a header with a tag


class _NonceKey(SecretHolder):
    """An AES key together with the iv that its nonces are made from."""

    __slots__ = ("_iv", "_key")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = AeadKey(key)
        self._iv = int.from_bytes(iv)

    def seal(self, packet: memoryview, length: int, number: int) -> None:
        end = HEADER_BYTES + length
        self._key.seal_into(
            (self._iv ^ number).to_bytes(NONCE_BYTES),
            packet[HEADER_BYTES:end],
            packet[:HEADER_BYTES],
            packet[HEADER_BYTES : end + TAG_BYTES],
        )

    def open(self, packet: memoryview, number: int) -> memoryview:
        length = len(packet) - HEADER_BYTES - TAG_BYTES
        if length < 0:
            raise RemoteProtocolError("a sealed packet is too short for its tag")
        plaintext = (
            memoryview(bytearray(length))
            if packet.readonly
            else packet[HEADER_BYTES : HEADER_BYTES + length]
        )
        self._key.open_into(
            (self._iv ^ number).to_bytes(NONCE_BYTES),
            packet[HEADER_BYTES:],
            packet[:HEADER_BYTES],
            plaintext,
        )
        return plaintext


class _Generation(SecretHolder):
    """The keys of one direction and generation, and the secret of the next.

    This generation's own secret is not kept: who sees a later state can't go back.
    """

    __slots__ = ("_next_secret", "ack", "data", "number")
    OPEN_SLOTS = frozenset({"number"})

    def __init__(self, secret: bytes, number: int = 0) -> None:
        self.number = number
        self.data = _NonceKey(
            expand(secret, LABEL_KEY, KEY_BYTES), expand(secret, LABEL_IV, NONCE_BYTES)
        )
        self.ack = _NonceKey(
            expand(secret, LABEL_ACK_KEY, KEY_BYTES), expand(secret, LABEL_ACK_IV, NONCE_BYTES)
        )
        self._next_secret = expand(secret, LABEL_UPDATE, KEY_BYTES)

    def derive_next(self) -> _Generation:
        return _Generation(self._next_secret, self.number + 1)


class Sealer(SecretHolder):
    """Seals what one side of a pair sends.

    :param secret: of generation 0 of this direction, 32 bytes.
    :ivar generation: stands in the header of what is sealed next.
    :ivar must_advance: whether this generation has sealed all that it may: :meth:`advance` comes
        next.
    """

    __slots__ = (
        "_ack",
        "_bytes",
        "_data",
        "_keys",
        "_last_ack_number",
        "_last_data_number",
        "_packets",
        "generation",
        "must_advance",
    )
    OPEN_SLOTS = frozenset({"generation"})
    generation: int
    must_advance: bool

    def __init__(self, secret: bytes) -> None:
        self._last_data_number = -1
        self._last_ack_number = -1
        self._adopt(_Generation(secret))

    def seal_data(self, packet: memoryview, length: int, number: int) -> None:
        """Seal a DATA packet where it lies.

        :param packet: writable; the complete header (36 bytes), ``length`` bytes of plaintext,
            16 bytes of room for the tag.
        :param number: above that of every DATA packet sealed before.
        :raises LocalProtocolError: it is not.
        """
        if number <= self._last_data_number:
            raise LocalProtocolError("a packet number was to be sealed twice; send its first copy")
        self._last_data_number = number
        self._count(length)
        self._data.seal(packet, length, number)

    def seal_ack(self, packet: memoryview, number: int) -> None:
        """Seal an ACK: a header and the tag behind it.

        :param packet: writable; the complete header (36 bytes), 16 bytes of room.
        :param number: above that of every ACK sealed before.
        :raises LocalProtocolError: it is not.
        """
        if number <= self._last_ack_number:
            raise LocalProtocolError("an acknowledgement's number was to be sealed twice")
        self._last_ack_number = number
        self._count(0)
        self._ack.seal(packet, 0, number)

    def advance(self) -> None:
        """Go on to the next generation and forget this one's keys."""
        self._adopt(self._keys.derive_next())

    def _count(self, length: int) -> None:
        self._packets += 1
        self._bytes += length
        if self._packets >= MAX_GENERATION_PACKETS or self._bytes >= MAX_GENERATION_BYTES:
            self.must_advance = True

    def _adopt(self, keys: _Generation) -> None:
        self._keys = keys
        self._data = keys.data
        self._ack = keys.ack
        self.generation = keys.number
        self._packets = 0
        self._bytes = 0
        self.must_advance = False


class Opener(SecretHolder):
    """Opens what the other side of a pair sent.

    :param secret: of generation 0 of the other side's direction, 32 bytes.
    :ivar generation: of the last DATA packet that opened.
    """

    __slots__ = ("_ack", "_data", "_keys", "_next", "generation")
    OPEN_SLOTS = frozenset({"generation"})
    generation: int
    _next: _Generation | None

    def __init__(self, secret: bytes) -> None:
        self._adopt(_Generation(secret))

    def open_data(self, packet: memoryview, generation: int, number: int) -> memoryview:
        """Open a DATA packet.

        :param packet: header, ciphertext, tag, and nothing else. If writable it is opened in
            place, and after a failure what lay behind the header is gone.
        :param generation: from the header.
        :param number: from the header.
        :returns: the plaintext, in the packet if that is writable, else in a buffer of its own.
        :raises RemoteProtocolError: too short, or of a generation that can't come now.
        :raises AuthenticationFailed: does not open.
        """
        if generation == self.generation:
            return self._data.open(packet, number)
        keys = self._peek_next(generation)
        plaintext = keys.data.open(packet, number)
        # Only now: a forged header must not cost the keys that are in use.
        self._adopt(keys)
        return plaintext

    def open_ack(self, packet: memoryview, generation: int, number: int) -> None:
        """Check an ACK. Never moves the generation: ACKs overtake DATA on another path.

        :param packet: header and tag; unchanged.
        :raises RemoteProtocolError: wrong length, or of a generation that can't come now.
        :raises AuthenticationFailed: does not open.
        """
        if len(packet) != _ACK_BYTES:
            raise RemoteProtocolError("an acknowledgement has a body")
        if generation == self.generation:
            self._ack.open(packet, number)
        else:
            self._peek_next(generation).ack.open(packet, number)

    def _peek_next(self, generation: int) -> _Generation:
        if generation != self.generation + 1:
            raise RemoteProtocolError("a packet is of a key generation that can't come now")
        # Kept, so that a forger can't make us derive it for each packet.
        if self._next is None:
            self._next = self._keys.derive_next()
        return self._next

    def _adopt(self, keys: _Generation) -> None:
        self._keys = keys
        self._data = keys.data
        self._ack = keys.ack
        self._next = None
        self.generation = keys.number


class GroupSealer(SecretHolder):
    """Seals what the master sends to all, in one group epoch.

    :param session_id: 16 bytes.
    :param epoch: number of the group epoch.
    :param key: the epoch's group key, 32 bytes.
    """

    __slots__ = ("_key", "_last_number", "epoch")
    OPEN_SLOTS = frozenset({"epoch"})

    def __init__(self, session_id: bytes, epoch: int, key: bytes) -> None:
        self.epoch = epoch
        self._key = _derive_group_key(session_id, epoch, key)
        self._last_number = -1

    def seal_group(self, packet: memoryview, length: int, number: int) -> None:
        """Seal a GROUP packet where it lies; parameters as in :meth:`Sealer.seal_data`.

        :raises LocalProtocolError: ``number`` is not above the last one of this epoch.
        """
        if number <= self._last_number:
            raise LocalProtocolError("a group packet's number was to be sealed twice")
        self._last_number = number
        self._key.seal(packet, length, number)


class GroupOpener(SecretHolder):
    """Opens what the master sends to all, in one group epoch; parameters as GroupSealer's.

    That it opens proves only that a member sealed it; the signature inside proves the master.
    """

    __slots__ = ("_key", "epoch")
    OPEN_SLOTS = frozenset({"epoch"})

    def __init__(self, session_id: bytes, epoch: int, key: bytes) -> None:
        self.epoch = epoch
        self._key = _derive_group_key(session_id, epoch, key)

    def open_group(self, packet: memoryview, number: int) -> memoryview:
        """Open a GROUP packet; parameters and result as in :meth:`Opener.open_data`.

        :raises RemoteProtocolError: too short.
        :raises AuthenticationFailed: does not open.
        """
        return self._key.open(packet, number)


def _derive_group_key(session_id: bytes, epoch: int, key: bytes) -> _NonceKey:
    prk = extract(session_id + encode_u32(epoch), key)
    material = expand(prk, LABEL_GROUP, KEY_BYTES + NONCE_BYTES)
    return _NonceKey(material[:KEY_BYTES], material[KEY_BYTES:])
