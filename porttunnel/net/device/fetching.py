"""A whole request for a whole response."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from porttunnel.errors import PorttunnelError, RequestFailureCode
from porttunnel.gateway.http_head import Fields, RequestHead
from porttunnel.net.device.failure_text import uncertain
from porttunnel.net.device.interface import DeviceRequest, FetchedResponse
from porttunnel.net.gateway_client.body import ReceivedBody

__all__ = ["MAX_FETCHED_BYTES", "fetch"]

MAX_FETCHED_BYTES = 64 << 20  # in memory; what is longer flows (``Device.request``)
SAFE_METHODS = (b"GET", b"HEAD")


class Asking(Protocol):
    """Begins requests."""

    async def request(self, head: RequestHead) -> DeviceRequest:
        """As ``Requester.request``."""


async def fetch(
    device: Asking, head: RequestHead, data: bytes, max_bytes: int = MAX_FETCHED_BYTES
) -> FetchedResponse:
    """Ask, and wait for all of the answer.

    :param max_bytes: of the response's content.
    :raises RequestFailed: there is none, or it is longer.
    """
    request = await device.request(head)
    if data:
        request.writer.write(data)
    request.writer.end()
    try:
        response = await request.response()
        gathering = _Gathering(response.body, head, max_bytes)
        response.body.deliver(gathering)
        trailers = await gathering.whole
    except BaseException:
        # Also if it is this call that is cancelled.
        request.cancel()
        raise
    return FetchedResponse(response.head, bytes(gathering.data), trailers)


class _Gathering:
    """Takes a body into memory.

    :ivar whole: fires with its trailers.
    """

    def __init__(self, body: ReceivedBody, head: RequestHead, max_bytes: int) -> None:
        self.data = bytearray()
        self.whole: Deferred[Fields] = Deferred()
        self._body = body
        self._is_safe = head.method in SAFE_METHODS
        self._max_bytes = max_bytes

    def body_received(self, data: bytes) -> None:
        """See ``BodyReceiver``."""
        self.data += data
        if len(self.data) > self._max_bytes:
            self._body.cancel()
            self.body_broken(uncertain(RequestFailureCode.TOO_LONG, self._is_safe))

    def body_ended(self, trailers: Fields) -> None:
        """See ``BodyReceiver``."""
        self.whole.callback(trailers)

    def body_broken(self, error: PorttunnelError) -> None:
        """See ``BodyReceiver``."""
        self.whole.errback(error)
