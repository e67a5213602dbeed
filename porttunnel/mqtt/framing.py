"""Where packets begin and end in a stream of bytes. Source: MQTT 5.0, section 2.1; 3.1.1, 2.2."""

from __future__ import annotations

from collections.abc import Iterator

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import connect_version
from porttunnel.mqtt.field import MAX_VARINT, malformed
from porttunnel.mqtt.packet import PacketType, Version
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["MAX_PACKET_BYTES", "FrameReader"]

_LENGTH_BITS = 28  # seven in each of four bytes
_MAX_HEADER_BYTES = 5
MAX_PACKET_BYTES = _MAX_HEADER_BYTES + MAX_VARINT  # what the norm's length can say: 256 MiB


class FrameReader:
    """Cuts a connection's bytes into packets.

    Packets that lie whole in the data are given as views into it, without a copy; only the last,
    incomplete one is kept, and never more of it than has come.

    :param max_packet_bytes: of a whole packet, with its header; at most :data:`MAX_PACKET_BYTES`.
        It is an attribute and can be changed at any time, also in the middle of an iteration.
    :param version: set this attribute when it is known: MQTT 5 forbids a remaining length with
        more bytes than it needs [MQTT-1.5.5-1], 3.1.1 does not. While it is None a CONNECT is
        held to what it says itself.
    """

    __slots__ = ("_kept", "max_packet_bytes", "version")

    def __init__(self, max_packet_bytes: int, version: Version | None = None) -> None:
        self.max_packet_bytes = max_packet_bytes
        self.version = version
        self._kept = bytearray()

    @property
    def kept_bytes(self) -> int:
        """How much of an incomplete packet waits for its rest."""
        return len(self._kept)

    @property
    def keeps_publish(self) -> bool:
        """Whether it is a PUBLISH that waits for its rest."""
        return bool(self._kept) and self._kept[0] >> 4 == PacketType.PUBLISH

    @property
    def missing_bytes(self) -> int:
        """How much must come until the incomplete packet, or at least its length, is there."""
        found = self.find(self._kept, 0)
        return 1 if found is None else found[1] - len(self._kept)

    def feed(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """First byte and body (what stands behind the remaining length), packet after packet.

        :param data: the next bytes of the connection. Bodies are valid until the next call, or as
            long as the data is, whichever ends first. The iteration must be finished before the
            next call; what it has not yet come to is lost if it isn't.
        :raises MqttError: from the iteration, after the packets before: 0x81 a remaining length
            that is none, 0x95 a packet that is too large, as soon as its length is known. The
            reader is of no more use then.
        """
        offset = 0
        if self._kept:
            offset = self._complete(data)
            found = self.find(self._kept, 0)
            if found is None or found[1] > len(self._kept):
                return
            packet = memoryview(self._kept)
            self._kept = bytearray()
            yield packet[0], packet[found[0] :]
        end = len(data)
        while end - offset >= 2:
            if data[offset + 1] < 0x80:
                start = offset + 2
                stop = start + data[offset + 1]
                if stop - offset > self.max_packet_bytes:
                    raise _too_large()
            else:
                found = self.find(data, offset)
                if found is None:
                    break
                start, stop = found
            if stop > end:
                break
            yield data[offset], data[start:stop]
            offset = stop
        self._kept += data[offset:]

    def _complete(self, data: memoryview) -> int:
        """Fill up the kept packet from the front of ``data``; how much of it was used."""
        used = 0
        while used < len(data):
            # One byte at a time until the length is there.
            missing = self.missing_bytes
            if not missing:
                break
            self._kept += data[used : used + missing]
            used += min(missing, len(data) - used)
        return used

    def find(self, data: bytes | memoryview | bytearray, offset: int) -> tuple[int, int] | None:
        """Where the body of the packet at ``offset`` begins and ends, or None while its length is
        not there.

        :raises MqttError: as :meth:`feed`.
        """
        length = shift = 0
        for start in range(offset + 1, min(offset + _MAX_HEADER_BYTES, len(data))):
            length |= (data[start] & 0x7F) << shift
            if data[start] < 0x80:
                break
            shift += 7
        else:
            if shift == _LENGTH_BITS:
                raise malformed("a remaining length has more than four bytes")
            return None
        start += 1
        stop = start + length
        if stop - offset > self.max_packet_bytes:
            raise _too_large()
        if shift and not data[start - 1]:
            self._check_longer(data[start:stop])
        return start, stop

    def _check_longer(self, body: bytes | memoryview | bytearray) -> None:
        """The remaining length has more bytes than it needs."""
        version = connect_version(body) if self.version is None else self.version
        if version is Version.V5:
            raise malformed("a remaining length has more bytes than it needs")


def _too_large() -> MqttError:
    return MqttError("a packet is larger than is allowed here", ReasonCode.PACKET_TOO_LARGE)
