"""What came from the other side of a pair, and what it has yet to be told of that.

Source: docs/session-protocol, sections 2 and 7.
"""

from __future__ import annotations

__all__ = ["Receipts"]

# Less than a third of the window, so that the other side never waits for it; more than half of
# a stream's, so that where one stream is busy its CREDIT, due by then, tells it for nothing. Each
# packet on the way back costs the three processes as much as a few of those on the way there.
ACK_AFTER_BYTES = 2560 * 1024
ACK_AFTER_PACKETS = 64
ACK_AFTER_SECONDS = 0.025  # unless data went the other way, which carries it for nothing
GAP_SECONDS = 75.0  # more than the server's 60 s of silence: who fell asleep is not at fault


class Receipts:
    """The receiving direction's numbers and deadlines.

    :ivar expected: the number of the next DATA packet.
    :ivar unreported_packets: how many have come since the other side was told.
    :ivar ack_deadline: when it must be told (seconds, absolute).
    :ivar gap_deadline: when a packet that was seen to be missing must have come.
    """

    __slots__ = (
        "_unreported_bytes",
        "ack_deadline",
        "expected",
        "gap_deadline",
        "unreported_packets",
    )

    def __init__(self) -> None:
        self.expected = 0
        self.unreported_packets = 0
        self._unreported_bytes = 0
        self.ack_deadline: float | None = None
        self.gap_deadline: float | None = None

    def received(self, size: int, now: float) -> bool:
        """The expected packet is there; whether the other side is to be told at once.

        :param size: its bytes.
        """
        self.expected += 1
        self.gap_deadline = None
        self._unreported_bytes += size
        self.unreported_packets += 1
        if self.ack_deadline is None:
            self.ack_deadline = now + ACK_AFTER_SECONDS
        return (
            self._unreported_bytes >= ACK_AFTER_BYTES
            or self.unreported_packets >= ACK_AFTER_PACKETS
        )

    def missed(self, now: float) -> None:
        """A packet beyond the expected one came."""
        if self.gap_deadline is None:
            self.gap_deadline = now + GAP_SECONDS

    def schedule(self, now: float) -> None:
        """Tell the other side soon, but not each time."""
        if self.ack_deadline is None:
            self.ack_deadline = now + ACK_AFTER_SECONDS

    def postpone(self, now: float) -> None:
        """It can't be told now: once more a little later."""
        self.ack_deadline = now + ACK_AFTER_SECONDS

    def reported(self) -> None:
        """The other side is told where we are."""
        self._unreported_bytes = 0
        self.unreported_packets = 0
        self.ack_deadline = None
