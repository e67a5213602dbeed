"""Joins a local socket with a stream: bytes go from the socket into the packet and back.

What comes from the socket is received straight into the slot that will be sealed; what comes
from the stream is handed to the kernel as the view in which it was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from porttunnel.errors import PorttunnelError, StreamCode, StreamRefused
from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.stream_handle import StreamOwner
from porttunnel.net.waiting import WaitingBytes, WaitingTotal
from porttunnel.session.multiplex import Multiplex

__all__ = ["Forwarder"]

_FLOW = 0  # of what waits for the socket: all is one stream's


class Forwarder:
    """One socket and one stream; a ``StreamHandle`` and a ``Lender``.

    :param owner: the session.
    :param member: the stream's other side.
    :param stream: its id.
    :param accept: whether the stream was offered to us: it is accepted once the socket is there.
    :param on_refused: called when a stream that we asked for was refused.
    """

    def __init__(
        self,
        owner: StreamOwner,
        member: int,
        stream: int,
        *,
        accept: bool,
        on_refused: Callable[[PorttunnelError], None] | None = None,
    ) -> None:
        self._owner = owner
        self._streams: Multiplex = owner.streams_with(member)
        self._member = member
        self._stream = stream
        self._accept = accept
        self._on_refused = on_refused
        self._carrier: Carrier | None = None
        self._connecting: Deferred[Any] | None = None
        self._queue = WaitingBytes(WaitingTotal())  # bounded by the credit that was given
        self._batch: list[memoryview] = []  # of this moment; the views are valid no longer
        self._paused = False
        self._over = False  # the stream is
        self._end_after_queue = False
        self._close_after_queue = False

    # From the socket

    def wait_for(self, connecting: Deferred[Any]) -> None:
        """The socket is being connected; it is given up when the stream ends before."""
        self._connecting = connecting

    def carrier_made(self, carrier: Carrier) -> None:
        """The socket is connected."""
        self._carrier = carrier
        if self._over:
            carrier.abort()
        elif self._accept:
            self._streams.accept(self._stream)
            self._owner.flush()
        else:
            # Not before the other side is there: a transport that can't lend would not wait.
            self._pause()

    def lend(self, most: int) -> Sequence[memoryview]:
        """Room in the next packets."""
        views = self._streams.writable_views(self._stream, most)
        if not views:
            self._pause()
        return views

    def filled(self, count: int) -> None:
        """Bytes are in the packets."""
        self._streams.written(self._stream, count)

    def reading_done(self) -> None:
        """Send them."""
        self._owner.flush()

    def carrier_received(self, data: memoryview) -> None:
        """Bytes of a transport that can't receive into our room."""
        if self._over or not self._streams.may_write(self._stream):
            return
        if not self._streams.write(self._stream, data):
            self._pause()

    def carrier_writable(self) -> None:
        """The socket takes bytes again."""
        carrier = self._carrier
        if carrier is None:
            return
        while self._queue.count:
            views = self._queue.views()
            offered = sum(map(len, views))
            taken = carrier.send(views)
            del views
            self._streams.consumed(self._stream, taken)
            self._queue.sent(taken)
            if taken < offered:
                break
        else:
            self._queue_is_empty(carrier)
        self._owner.flush()

    def carrier_ended(self) -> None:
        """The local program has sent its last byte."""
        if not self._over:
            self._streams.end(self._stream)
            self._owner.flush()

    def carrier_lost(self, reason: Failure) -> None:
        """The socket is gone."""
        self._carrier = None
        self._streams.consumed(self._stream, self._queue.count)
        self._queue.clear()
        if not self._over:
            self._over = True
            self._streams.reset(self._stream, StreamCode.ABORTED)
            self._owner.release(self._member, self._stream)
            self._owner.flush()

    # From the stream

    def stream_accepted(self) -> None:
        """The other side is connected: let the local program send."""
        self.stream_writable()

    def stream_refused(self, code: StreamCode, text: str) -> None:
        """The local program sees its connection reset, our user the reason."""
        self._abort()
        if self._on_refused is not None:
            self._on_refused(StreamRefused(text or code.value, code))

    def stream_received(self, data: memoryview) -> None:
        """Bytes for the socket: sent together with those that came in the same read."""
        if self._carrier is None:
            return
        if not self._batch:
            self._owner.at_events_end(self._send_batch)
        self._batch.append(data)

    def _send_batch(self) -> None:
        batch, self._batch = self._batch, []
        carrier = self._carrier
        if carrier is None:
            return
        taken = 0 if self._queue.count else carrier.send(batch)
        if taken:
            self._streams.consumed(self._stream, taken)
        rest = []
        for view in batch:
            if taken >= len(view):
                taken -= len(view)
            else:
                rest.append(view[taken:])
                taken = 0
        if rest:
            self._queue.append(_FLOW, rest)

    def stream_writable(self) -> None:
        """Read from the socket again."""
        if self._paused and self._carrier is not None:
            self._paused = False
            self._carrier.resume_receiving()

    def stream_ended(self) -> None:
        """The other side's last byte: pass it on after what waits."""
        self._send_batch()
        self._end_after_queue = True
        if not self._queue.count and self._carrier is not None:
            self._queue_is_empty(self._carrier)

    def stream_closed(self) -> None:
        """Both halves are done."""
        self._send_batch()
        self._over = True
        self._close_after_queue = True
        if not self._queue.count and self._carrier is not None:
            self._queue_is_empty(self._carrier)

    def stream_reset(self, code: StreamCode) -> None:
        """The local program must not take this for a finished connection."""
        self._abort()

    def stream_lost(self, error: PorttunnelError) -> None:
        """Likewise."""
        self._abort()

    def give_up(self) -> bool:
        """No socket could be connected; whether the stream still waits for an answer."""
        waits = not self._over
        self._over = True
        return waits

    def _abort(self) -> None:
        self._over = True
        self._batch.clear()
        self._queue.clear()
        connecting, self._connecting = self._connecting, None
        if self._carrier is not None:
            self._carrier.abort()
        elif connecting is not None:
            connecting.cancel()

    def _pause(self) -> None:
        if not self._paused and self._carrier is not None:
            self._paused = True
            self._carrier.pause_receiving()

    def _queue_is_empty(self, carrier: Carrier) -> None:
        if self._close_after_queue:
            carrier.close()
        elif self._end_after_queue:
            self._end_after_queue = False
            carrier.end()
