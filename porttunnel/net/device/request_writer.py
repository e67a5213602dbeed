"""The body of a request, as a program writes it: binary HTTP that waits for credit.

What was sent is kept for a while: if the instance says that it did nothing, or if the request has
no effects, it is sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.http_head import Fields, RequestHead
from porttunnel.net.registered_producer import RegisteredProducer

__all__ = ["RequestWriter"]

HIGH_WATER_BYTES = 131_072  # of the body that wait: then its producer is paused
KEPT_BYTES = 262_144  # of a request that can be sent again: forms and small uploads


@implementer(IConsumer)
class RequestWriter:
    """Implements :class:`~porttunnel.net.gateway_client.body.BodyWriter`.

    :param reactor: time.
    :param head: of the request.
    :param on_written: called when there is more to send.
    :param on_aborted: called when the program breaks it off.
    :raises LocalProtocolError: no request can have such a head.
    """

    def __init__(
        self,
        reactor: Any,
        head: RequestHead,
        on_written: Callable[[], None],
        on_aborted: Callable[[], None],
    ) -> None:
        self._on_written = on_written
        self._on_aborted = on_aborted
        self._message = MessageWriter(Framing.REQUEST)
        self._waiting = bytearray(self._message.write_head(head))
        self._kept: bytearray | None = bytearray()
        self._ended = False
        self._closed = False
        self._producer = RegisteredProducer(reactor, _call)

    # For the program

    def write(self, data: bytes) -> None:
        """See ``BodyWriter``; once the request is over it is dropped.

        :raises LocalProtocolError: after the end.
        """
        written = self._message.write_content(data)
        if self._closed:
            return
        self._waiting += written
        self._look_how_full()
        self._on_written()
        if self._producer.is_pulled and not self._producer.is_full:
            self._producer.pull_soon()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""
        self._producer.register(producer, streaming, over=self._closed or self._ended)

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self._producer.unregister()

    def end(self, trailers: Fields = ()) -> None:
        """See ``BodyWriter``.

        :raises LocalProtocolError: it was ended before, or a trailer can't be one.
        """
        written = self._message.end(trailers)
        self._ended = True
        if not self._closed:
            self._waiting += written
            self._on_written()

    def abort(self) -> None:
        """See ``BodyWriter``."""
        if not self._closed:
            self._on_aborted()

    # For the request

    @property
    def waiting_bytes(self) -> int:
        """How much could be sent now."""
        return len(self._waiting)

    @property
    def is_repeatable(self) -> bool:
        """Whether all that was sent of it is there."""
        return self._kept is not None

    def take(self, count: int) -> tuple[bytes, bool]:
        """What is to be sent next, and whether it is the last of all.

        :param count: bytes at most.
        """
        piece = bytes(self._waiting[:count])
        del self._waiting[:count]
        if self._kept is not None:
            self._kept += piece
            if len(self._kept) > KEPT_BYTES:
                self._kept = None
        self._look_how_full()
        return piece, self._ended and not self._waiting

    def rewind(self) -> None:
        """Begin anew.

        :raises LocalProtocolError: what was sent isn't there any more.
        """
        if self._kept is None:
            raise LocalProtocolError("a long request can't be sent again")
        self._waiting[:0] = self._kept
        self._kept.clear()

    def keep_no_more(self) -> None:
        """It will not be sent again."""
        self._kept = None

    def close(self) -> None:
        """Nothing more of it is sent; its producer is told to stop."""
        if not self._closed:
            self._closed = True
            self._kept = None
            self._waiting.clear()
            self._producer.stop()

    def _look_how_full(self) -> None:
        if len(self._waiting) > HIGH_WATER_BYTES:
            self._producer.hold()
        elif self._producer.is_full:
            self._producer.go_on()


def _call(function: Callable[[], object]) -> None:
    function()
