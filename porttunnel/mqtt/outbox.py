"""What waits to be sent on one connection: packets, shared with other connections, in order.

Whoever has something for a connection appends it; the shell asks once per turn and gets all of it
in few large views, so that there is one write and not one for each packet.
"""

from __future__ import annotations

from collections.abc import Sequence

from porttunnel.mqtt.packet import Version
from porttunnel.mqtt.topic_alias import OutgoingAliases

__all__ = ["Outbox"]

# Packets are joined up to this size. From 128 KiB on, each fresh block would be mapped and
# unmapped by the kernel, which costs more than the copy.
BLOCK_BYTES = 65_536
# A packet from this size on is not copied: it goes out as a view of what all its receivers share.
SHARED_BYTES = 16_384
MAX_GATHERED = 64  # views that wait to be sent; more packets wait with the others
# A small packet takes 60 bytes besides its own. So many are joined even if nobody asks for them.
MAX_PIECES = 512


class Outbox:
    """See the module.

    :param ready: the broker's list of connections that its shell is to look at.
    :ivar pieces: what was appended and not yet asked for. The list stays the same object.
    :ivar waiting_bytes: in it, and asked for but not yet sent; who appends counts.
    :ivar high_bytes: beyond it, writers are to hold back.
    :ivar limit_bytes: beyond it, nothing but answers is appended.
    :ivar version: of the packets.
    :ivar plain_version: the same, or 0 if messages can't be appended as they are, because of
        aliases, or of others that must go before them.
    :ivar packet_limit: the largest packet that the other side takes.
    :ivar aliases: for topics, or None.
    :ivar is_ready: whether it stands in ``ready`` already.
    """

    __slots__ = (
        "_gathered",
        "_ready",
        "aliases",
        "high_bytes",
        "is_ready",
        "limit_bytes",
        "packet_limit",
        "pieces",
        "plain_version",
        "version",
        "waiting_bytes",
    )

    def __init__(self, ready: list[Outbox]) -> None:
        self._ready = ready
        self._gathered: list[memoryview] = []
        self.pieces: list[bytes] = []
        self.waiting_bytes = 0
        self.high_bytes = self.limit_bytes = BLOCK_BYTES
        self.version = Version.V5
        self.plain_version = 0
        self.packet_limit = 0xFFFFFFFF
        self.aliases: OutgoingAliases | None = None
        self.is_ready = False

    def send(self, packet: bytes) -> None:
        """Append a packet and tell the shell."""
        self.pieces.append(packet)
        self.waiting_bytes += len(packet)
        if not self.is_ready:
            self.touch()

    def touch(self) -> None:
        """Tell the shell that there is something to look at; if it was told, nothing happens."""
        if not self.is_ready:
            self.is_ready = True
            self._ready.append(self)
            if len(self.pieces) > MAX_PIECES:
                self.pieces[:] = _join(self.pieces)

    def data_to_send(self) -> Sequence[memoryview]:
        if self.pieces and self.waiting_bytes <= BLOCK_BYTES and not self._gathered:
            self._gathered.append(memoryview(b"".join(self.pieces)))
            self.pieces.clear()
        elif self.pieces and len(self._gathered) < MAX_GATHERED:
            self._gathered.extend(map(memoryview, _join(self.pieces)))
            self.pieces.clear()
        return self._gathered

    def data_sent(self, count: int) -> None:
        gathered = self._gathered
        if count == self.waiting_bytes:
            self.waiting_bytes = 0
            gathered.clear()
            return
        self.waiting_bytes -= count
        whole = 0
        while count:
            size = len(gathered[whole])
            if count < size:
                gathered[whole] = gathered[whole][count:]
                break
            count -= size
            whole += 1
        del gathered[:whole]

    def limit_ahead(self, count: int) -> None:
        """Nothing takes turns here: packets go out in the order in which they were appended."""

    def discard(self) -> None:
        """Forget all that waits: the connection is gone."""
        self.pieces.clear()
        self._gathered.clear()
        self.waiting_bytes = 0


def _join(pieces: list[bytes]) -> list[bytes]:
    """The same bytes in fewer pieces."""
    joined: list[bytes] = []
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        if small and (len(piece) >= SHARED_BYTES or size + len(piece) > BLOCK_BYTES):
            joined.append(b"".join(small))
            small.clear()
            size = 0
        if len(piece) >= SHARED_BYTES:
            joined.append(piece)
        else:
            small.append(piece)
            size += len(piece)
    if small:
        joined.append(b"".join(small))
    return joined
