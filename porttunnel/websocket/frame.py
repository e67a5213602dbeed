"""Frames: cutting what a client sends into payloads.

It is the hot path of every connection: payloads are unmasked where they lie in the receive buffer,
handed on as views of it, and never gathered here. Source: RFC 6455, section 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from porttunnel.errors import WebSocketError
from porttunnel.websocket.close import CloseCode
from porttunnel.websocket.frame_head import FINAL, LENGTH_16, LENGTH_64, Opcode
from porttunnel.websocket.frame_limit import MAX_CONTROL_BYTES, FrameLimits
from porttunnel.websocket.mask import MASK_BYTES, Unmask, UnmaskedCopy, unmask

__all__ = ["FrameReader"]

# In a row, with more to come after them: each costs as much to read as 100 bytes, and brings
# nothing that whoever takes the bytes could count.
MAX_EMPTY_FRAGMENTS = 100
MAX_HEAD_BYTES = 14  # two bytes, eight of length, four of mask
# From here on a payload is handed on by itself, where it lies: a copy would cost more.
LONG_BYTES = 4_096
WINDOW_BYTES = 65_536  # looked at in one piece; from twice as much on, a copy costs page faults
# So much if little came of the last piece: then little is looked at twice.
FIRST_WINDOW_BYTES = 2 * LONG_BYTES
WINDOW_GROWTH = 4

_RESERVED = 0x70
_MASKED = 0x80
_U16 = struct.Struct(">H")
_U64 = struct.Struct(">Q")

# What nearly all frames are: BINARY, final, masked. Up to 125 bytes head and mask are one read.
_SMALL_HEAD = struct.Struct(">HI")
_SMALL = 0x8280
_SMALL_HEAD_BYTES = 6
_SMALL_HEADS = [(_SMALL | size).to_bytes(2, "big") for size in range(MAX_CONTROL_BYTES + 1)]
_MEDIUM_HEAD_BYTES = 8  # with a length of 16 bits
# By size: what repeats a mask's number over so many bytes, and the bits that are too many then.
_REPEAT = [
    sum(1 << 32 * word for word in range((size + 3) // MASK_BYTES))
    for size in range(MAX_CONTROL_BYTES + 1)
]
_JOINED = bytearray()  # whose join() makes what may be written to
_SURPLUS = [-size % MASK_BYTES * 8 for size in range(MAX_CONTROL_BYTES + 1)]

# Plain numbers: looking up a member of an Enum costs as much as the rest of a step.
_CONTINUATION = int(Opcode.CONTINUATION)
_TEXT = int(Opcode.TEXT)
_BINARY = int(Opcode.BINARY)
_CLOSE = int(Opcode.CLOSE)
_OPCODES = frozenset(map(int, Opcode))


class FrameReader:
    """Cuts the bytes that a client sends after its handshake.

    What it keeps of a frame that has not come whole is its head (up to 13 bytes) or, of a control
    frame, its payload; payloads of messages are passed on as they come.

    Payloads of messages are views of ``data``, valid as long as it is, or of bytes of their own.
    ``data`` is changed in place; a readonly view is copied first. Each iteration must be finished
    before the next call; after an error there is none.

    :param limits: how much there may be.
    :param text: whether there may be text.
    :param unmask: takes the mask off payloads over 125 bytes, and off pieces.
    :param unmasked_copy: the same for whole payloads below 4 KiB of a stream, or None for none.
    """

    __slots__ = (
        "_control",
        "_empty",
        "_final",
        "_fragments",
        "_head",
        "_inside",
        "_left",
        "_limits",
        "_longest_gathered",
        "_mask",
        "_message",
        "_message_bytes",
        "_opcode",
        "_text",
        "_unmask",
        "_unmasked_copy",
    )

    def __init__(
        self,
        limits: FrameLimits,
        *,
        text: bool,
        unmask: Unmask = unmask,
        unmasked_copy: UnmaskedCopy | None = None,
    ) -> None:
        self._limits = limits
        self._longest_gathered = min(limits.frame_bytes, limits.message_bytes, LONG_BYTES - 1)
        self._text = text
        self._unmask = unmask
        self._unmasked_copy = unmasked_copy
        self._head = b""  # the beginning of a head
        self._inside = False  # a head has come and its payload has not ended
        self._opcode = _CONTINUATION
        self._final = False
        self._left = 0  # bytes of the payload that have not come
        self._mask = b""  # turned so that its first byte is for the payload's next one
        self._control = b""  # what has come of a control frame's payload
        self._message = _CONTINUATION  # the opcode of the message that has begun, if one has
        self._message_bytes = 0
        self._fragments = 0
        self._empty = 0  # fragments in a row

    def pieces(self, data: memoryview) -> Iterator[tuple[int, bool, memoryview]]:
        """For messages: opcode, whether it ends here, and payload, one piece after the other.

        A message comes as at least one piece for each of its frames, all with the message's
        opcode; the last one ends it. A control frame is always one piece.

        :param data: the next bytes of the client.
        :raises WebSocketError: they are not what may come.
        """
        data = _writable(data)
        offset = 0
        while True:
            if not self._inside:
                offset = self._take_head(data, offset)
                if not self._inside:
                    return
            stop = min(len(data), offset + self._left)
            if stop == offset and self._left:
                return
            opcode = self._opcode
            payload = self._take_payload(data, offset, stop)
            offset = stop
            if opcode < _CLOSE:
                yield self._message, self._message_ended(), payload
            elif not self._gather(payload):
                yield opcode, True, memoryview(self._control)

    def runs(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """For a stream of bytes, where the borders of frames mean nothing: opcode and payload.

        Payloads of messages that are whole and not long come together, BINARY. That saves all that
        would be spent for each of them beyond the mask. A control frame comes by itself.

        :param data: the next bytes of the client.
        :raises WebSocketError: they are not what may come.
        """
        data = _writable(data)
        end = len(data)
        offset = 0
        window = FIRST_WINDOW_BYTES
        while True:
            begun = offset
            whole, offset = self.take_whole(data, offset, window)
            window = min(WINDOW_BYTES, FIRST_WINDOW_BYTES + WINDOW_GROWTH * (offset - begun))
            if whole:
                yield _BINARY, memoryview(whole)
            if offset == end:
                return
            if not self._inside:
                offset = self._take_head(data, offset)
            stop = min(end, offset + self._left)
            if not self._inside or (stop == offset and self._left):
                return
            payload = self._take_payload(data, offset, stop)
            offset = stop
            if self._opcode < _CLOSE:
                self._message_ended()
                if payload:
                    yield _BINARY, payload
            elif not self._gather(payload):
                yield self._opcode, memoryview(self._control)

    def take_whole(
        self, data: memoryview, offset: int = 0, window: int = WINDOW_BYTES
    ) -> tuple[bytearray, int]:
        """For a stream of bytes: the frames that follow, as long as each is a whole message of
        bytes, and not long.

        :param data: as with :meth:`runs`, which goes on with what is left.
        :param offset: where to begin.
        :param window: bytes to look at, at most.
        :returns: their payloads, and where the frames that are left begin.
        """
        if self._inside or self._message or self._head:
            return bytearray(), offset
        copy = self._unmasked_copy
        size = len(data) - offset - _SMALL_HEAD_BYTES
        if 0 <= size <= MAX_CONTROL_BYTES and copy is not None:
            # A single small one, as mostly where clients wait for each other?
            raw = bytes(data[offset:])
            if raw.startswith(_SMALL_HEADS[size]):
                payload = copy(raw[_SMALL_HEAD_BYTES:], raw[2:_SMALL_HEAD_BYTES])
                return bytearray(payload), len(data)
        long = _MASKED | LENGTH_64
        if size < 0 or data[offset] != FINAL | _BINARY or data[offset + 1] == long:
            return bytearray(), offset
        # Of bytes every step costs less than of a view.
        raw = bytes(data[offset : offset + window])
        end = len(raw)
        payloads: list[bytes | bytearray] = []
        last = end - _SMALL_HEAD_BYTES
        at = 0
        read, number = _SMALL_HEAD.unpack_from, int.from_bytes
        while at <= last:
            head, mask = read(raw, at)
            size = head - _SMALL
            start = at + _SMALL_HEAD_BYTES
            if size == LENGTH_16:
                start = at + _MEDIUM_HEAD_BYTES
                (size,) = _U16.unpack_from(raw, at + 2)
                if not LENGTH_16 <= size <= self._longest_gathered:
                    break
            elif not 0 <= size <= MAX_CONTROL_BYTES:
                break
            stop = start + size
            if stop > end:
                break
            if copy is not None:
                # Of one size they come in rows.
                beginning = raw[at : start - MASK_BYTES]
                step = stop - at
                while True:
                    payloads.append(copy(raw[start:stop], raw[start - MASK_BYTES : start]))
                    at = stop
                    start += step
                    stop += step
                    if stop > end or not raw.startswith(beginning, at):
                        break
                continue
            payload = raw[start:stop]
            if size <= MAX_CONTROL_BYTES:
                plain = number(payload, "big") ^ (mask * _REPEAT[size] >> _SURPLUS[size])
                payloads.append(plain.to_bytes(size, "big"))
            else:
                changed = bytearray(payload)
                self._unmask(memoryview(changed), raw[start - MASK_BYTES : start])
                payloads.append(changed)
            at = stop
        return _JOINED.join(payloads), offset + at

    def _take_head(self, data: memoryview, offset: int) -> int:
        """Read the head that begins, or goes on, at ``offset``; where its payload begins.

        If it has not come whole it is kept, and nothing of ``data`` is left.
        """
        kept = len(self._head)
        head = data[offset : offset + MAX_HEAD_BYTES - kept]
        if kept:
            head = memoryview(self._head + head)
        used = self._read_head(head)
        if used:
            self._head = b""
            return offset + used - kept
        self._head = bytes(head)
        return len(data)

    def _read_head(self, head: memoryview) -> int:
        """How long the head is that ``head`` begins with, or 0 if it has not come whole.

        What can be refused is refused as soon as it can be seen.
        """
        known = len(head)
        if known < 2:
            return 0
        opcode, final = self._read_kind(head[0])
        if not head[1] & _MASKED:
            raise _broken("a frame is not masked")
        size = head[1] & ~_MASKED
        used = 2
        if opcode >= _CLOSE and size > MAX_CONTROL_BYTES:
            raise _broken("a control frame is longer than 125 bytes")
        if size == LENGTH_16:
            used = 4
            if known < used:
                return 0
            (size,) = _U16.unpack_from(head, 2)
            if size < LENGTH_16:
                raise _broken("a length is written longer than it is")
        elif size == LENGTH_64:
            used = 10
            if known < used:
                return 0
            (size,) = _U64.unpack_from(head, 2)
            if size < 1 << 16:
                raise _broken("a length is written longer than it is")
        if opcode < _CLOSE:
            self._check_room(opcode, size)
        if known < used + MASK_BYTES:
            return 0
        self._inside = True
        self._opcode = opcode
        self._final = final
        self._left = size
        self._mask = bytes(head[used : used + MASK_BYTES])
        if opcode < _CLOSE:
            self._count_fragment(opcode, size)
        else:
            self._control = b""
        return used + MASK_BYTES

    def _read_kind(self, first: int) -> tuple[int, bool]:
        """Opcode and whether the frame is final, by a head's first byte."""
        opcode, final = first & 0x0F, bool(first & FINAL)
        if first & _RESERVED:
            raise _broken("a frame uses an extension, and none was agreed on")
        if opcode not in _OPCODES:
            raise _broken("a frame has an opcode that there is not")
        if opcode >= _CLOSE:
            if not final:
                raise _broken("a control frame is fragmented")
        elif bool(self._message) != (opcode == _CONTINUATION):
            raise _broken("a fragment has no message, or a message begins within another")
        elif opcode == _TEXT and not self._text:
            raise WebSocketError(
                "text came where only binary frames may: send binary ones", CloseCode.UNSUPPORTED
            )
        return opcode, final

    def _check_room(self, opcode: int, size: int) -> None:
        limits = self._limits
        before = self._message_bytes if opcode == _CONTINUATION else 0
        if size > limits.frame_bytes or before + size > limits.message_bytes:
            raise WebSocketError(
                "a message or frame is longer than is allowed here: send smaller ones",
                CloseCode.TOO_BIG,
            )
        if opcode == _CONTINUATION and self._fragments == limits.fragments:
            raise WebSocketError(
                "a message has more fragments than are allowed here: send larger ones",
                CloseCode.TOO_BIG,
            )

    def _count_fragment(self, opcode: int, size: int) -> None:
        if opcode != _CONTINUATION:
            self._message = opcode
            self._message_bytes = self._fragments = 0
        self._message_bytes += size
        self._fragments += 1
        if size:
            self._empty = 0
        elif not self._final:
            self._empty += 1
            if self._empty > MAX_EMPTY_FRAGMENTS:
                raise WebSocketError(
                    "too many empty fragments came in a row", CloseCode.POLICY_VIOLATION
                )

    def _take_payload(self, data: memoryview, offset: int, stop: int) -> memoryview:
        """Unmask what has come of the payload."""
        payload = data[offset:stop]
        self._unmask(payload, self._mask)
        self._left -= stop - offset
        if self._left:
            turn = (stop - offset) % MASK_BYTES
            self._mask = self._mask[turn:] + self._mask[:turn]
        else:
            self._inside = False
        return payload

    def _message_ended(self) -> bool:
        """Whether the payload that was taken last ends its message; then another may begin."""
        ended = self._final and not self._left
        if ended:
            self._message = _CONTINUATION
        return ended

    def _gather(self, payload: memoryview) -> bool:
        """Keep what has come of a control frame's payload; whether there is more to come."""
        self._control += payload
        return self._inside


def _writable(data: memoryview) -> memoryview:
    return memoryview(bytearray(data)) if data.readonly else data


def _broken(text: str) -> WebSocketError:
    return WebSocketError(text, CloseCode.PROTOCOL_ERROR)
