"""How much the other side may send: the receive windows of a pair's streams, in one budget.

Source: docs/session-protocol, section 6. Each stream begins with a small window; who reads
quickly gets a larger one, as long as every stream that may still come can have the small one.
Thus what slow readers make us hold is bounded, whatever the other side opens.
"""

from __future__ import annotations

from collections import OrderedDict

from porttunnel.errors import LocalProtocolError
from porttunnel.session.stream import Stream

__all__ = ["MAX_STREAMS", "MAX_WINDOW_BYTES", "MIN_WINDOW_BYTES", "CreditBook"]

MAX_STREAMS = 256  # at a time in a pair
MAX_WINDOW_BYTES = 4 * 1024 * 1024  # of one stream
MIN_WINDOW_BYTES = 32 * 1024  # what each stream gets, however many there are
CREDIT_BUDGET_BYTES = 16 * 1024 * 1024  # of all streams: what we may have to hold for slow readers


class CreditBook:
    """The windows of all streams of a pair, and who is due to get CREDIT.

    :ivar due: streams whose reader has taken half a window or more, by number, oldest first.
    """

    __slots__ = ("_unread", "_window_bytes", "due", "streams")

    def __init__(self) -> None:
        self.due: OrderedDict[int, Stream] = OrderedDict()
        self.streams = 0
        self._unread: dict[int, Stream] = {}  # closed, while the application holds bytes
        self._window_bytes = 0  # sum of all streams' windows

    def add(self, stream: Stream) -> None:
        """A stream begins, with the window that it was made with."""
        self.streams += 1
        self._window_bytes += stream.window

    def remove(self, stream: Stream) -> None:
        """A stream is over: its window is for others."""
        self.streams -= 1
        self._window_bytes -= stream.window
        self.due.pop(stream.number, None)

    def retire(self, stream: Stream) -> None:
        """A stream has closed; what a slow reader still holds of it counts on.

        Otherwise opening and closing would get around the budget.
        """
        if stream.unconsumed:
            self.due.pop(stream.number, None)
            self._unread[stream.number] = stream
        else:
            self.remove(stream)

    def consume_rest(self, number: int, count: int) -> None:
        """As :meth:`consume`, for a stream that may have retired, or ended long ago."""
        stream = self._unread.get(number)
        if stream is not None:
            self.consume(stream, count)
            if not stream.unconsumed:
                self.remove(self._unread.pop(number))

    def consume(self, stream: Stream, count: int) -> bool:
        """The application has taken ``count`` bytes; True if that makes CREDIT due.

        :raises LocalProtocolError: more than it was given.
        """
        if not 0 <= count <= stream.unconsumed:
            raise LocalProtocolError("more bytes were consumed than had come")
        stream.unconsumed -= count
        grantable = stream.window - stream.receive_credit - stream.unconsumed
        # By halves: a CREDIT for each read would cost as much as the data.
        if not stream.may_receive or grantable * 2 < stream.window:
            return False
        self.due[stream.number] = stream
        return True

    def take_grant(self) -> tuple[int, int]:
        """The stream whose turn it is and the bytes to grant, which count from now on."""
        number, stream = self.due.popitem(last=False)
        spare = CREDIT_BUDGET_BYTES - self._window_bytes
        spare -= (MAX_STREAMS - self.streams) * MIN_WINDOW_BYTES
        # Doubled for a stream that keeps up, while all others can still have theirs.
        growth = max(0, min(stream.window, MAX_WINDOW_BYTES - stream.window, spare))
        stream.window += growth
        self._window_bytes += growth
        grant = stream.window - stream.receive_credit - stream.unconsumed
        stream.receive_credit += grant
        return number, grant
