"""Bodies of requests and responses as they flow, for instances and devices alike.

A body that is received has one receiver, which may pause it; a body that is sent is written to,
and is a Twisted consumer: a producer that is registered there is paused while the other side gives
no credit. Each ends once: whole, with its trailers, or broken.
"""

from __future__ import annotations

from typing import Any, Protocol

from porttunnel.errors import PorttunnelError
from porttunnel.gateway.http_head import Fields

__all__ = ["BodyReceiver", "BodyWriter", "ReceivedBody"]


class BodyReceiver(Protocol):
    """Whoever takes a body."""

    def body_received(self, data: bytes) -> None:
        """A piece of it, never empty."""

    def body_ended(self, trailers: Fields) -> None:
        """It is whole; nothing more follows."""

    def body_broken(self, error: PorttunnelError) -> None:
        """It is not whole and will not be; nothing more follows."""


class ReceivedBody(Protocol):
    """A body that comes from the other side."""

    def deliver(self, receiver: BodyReceiver) -> None:
        """Let it flow to a receiver; once. What came before is kept until then, within credit."""

    def pause(self) -> None:
        """Give no more credit; what is under way may still come."""

    def resume(self) -> None:
        """Give credit again."""

    def cancel(self) -> None:
        """Do not want the rest: the other side is told, and the receiver nothing more."""


class BodyWriter(Protocol):
    """A body that goes to the other side. Who implements it provides Twisted's ``IConsumer``."""

    def write(self, data: bytes) -> None:
        """A piece of it. What can't be sent yet is kept; a producer is paused meanwhile."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""

    def end(self, trailers: Fields = ()) -> None:
        """It is whole."""

    def abort(self) -> None:
        """It will not be whole: the other side learns that it is broken off, never ended."""
