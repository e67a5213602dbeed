"""What answers the requests of devices, and how it sees them.

An application gets each request once, in the reactor's thread, after its counter was written down;
it may answer at once or later. Whatever it raises ends that request and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.net.gateway_client.body import BodyWriter, ReceivedBody

__all__ = ["Application", "ServedRequest"]


class ServedRequest(Protocol):
    """A request of a device's, and the ways to answer it.

    Exactly one of :meth:`respond`, :meth:`refuse_busy` and :meth:`fail` ends it, unless it is
    cancelled before; after that each of them does nothing, and what is written is dropped.

    :ivar device_id: who asks: 32 hex digits.
    :ivar user: to whom the device belongs, as :meth:`Instance.invite` was told.
    :ivar head: what is asked for. Its fields are the device's: none of them proves anything.
    :ivar body: what comes after the head; it may go on while the response goes out.
    :ivar on_cancelled: called once when nobody wants the answer any more: the device cancelled,
        went offline or was revoked, the connection to the gateway was lost, or a time-out came.
        Work for it is to be stopped. The body's receiver is told by ``body_broken`` as well, and a
        registered producer by ``stopProducing``.
    """

    @property
    def device_id(self) -> str: ...

    @property
    def user(self) -> str: ...

    @property
    def head(self) -> RequestHead: ...

    @property
    def body(self) -> ReceivedBody: ...

    on_cancelled: Callable[[], None]

    def inform(self, head: ResponseHead) -> None:
        """Send a head below 200, before :meth:`respond`.

        :raises LocalProtocolError: it is another head, or too late, or has bytes that it can't.
        """

    def respond(self, head: ResponseHead) -> BodyWriter:
        """Send the final head; the body is to be written, and ended.

        :raises LocalProtocolError: it is another head, or not the first, or has bytes that it
            can't.
        """

    def refuse_busy(self) -> None:
        """Carry nothing out. The device is told so with proof, and may ask again by itself."""

    def fail(self) -> None:
        """Break off. The device can't tell how far it came."""


class Application(Protocol):
    """Who answers."""

    def open(self, request: ServedRequest) -> None:
        """A device asks for something."""

    def forget(self, device_id: str) -> None:
        """A device is none any more: nothing is to be kept of it. It has no running requests."""
