"""The verbs that every protocol core speaks.

A core does no input or output. It is handed bytes, the time and its randomness, and says what
to send, what happened and when it wants to be called again. Because all cores share these
verbs, the Twisted driver, the in-memory test pair and the fuzz targets are each written once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

__all__ = ["Machine"]


class Machine(Protocol):
    """One connection's protocol without its connection.

    Times are seconds of one monotonic clock, as floats; deadlines are absolute.
    """

    def receive_data(self, data: memoryview, now: float) -> None:
        """Take in bytes of the peer.

        :param data: valid only during the call; a writable view may be changed in place
            (that is how packets are opened without a copy). A core copies what it keeps.
        :param now: seconds, monotonic.

        Never raises on a bad peer: it queues the goodbye and reports ``ConnectionFailed``.
        """

    def receive_eof(self, now: float) -> None:
        """The peer sends no more bytes on this connection."""

    def events(self) -> Iterator[Any]:
        """What happened since the last call, oldest first.

        Views in an event are valid until the next ``receive_data``.
        """

    def data_to_send(self) -> Sequence[memoryview]:
        """What waits to be sent, oldest first, without consuming it."""

    def data_sent(self, count: int) -> None:
        """The first ``count`` bytes of :meth:`data_to_send` went out and can be forgotten."""

    def limit_ahead(self, count: int) -> None:
        """Have at most about ``count`` bytes ready to be sent at a time; the rest takes turns."""

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` wants to be called (seconds, absolute), or None."""

    def handle_timeout(self, now: float) -> None:
        """Time has passed: do what was due at or before ``now``."""
