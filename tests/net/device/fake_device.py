"""A device whose instance the test plays."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from porttunnel.errors import PorttunnelError
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.net.device.interface import DeviceRequest, DeviceResponse, FetchedResponse
from porttunnel.net.gateway_client.body import BodyReceiver

__all__ = ["FakeBody", "FakeDevice", "FakeRequest", "FakeWriter"]


class FakeWriter:
    """What is sent of a request."""

    def __init__(self) -> None:
        self.data = b""
        self.producer: Any = None
        self.trailers: Fields | None = None  # None: it has not ended
        self.aborted = False

    def write(self, data: bytes) -> None:
        assert self.trailers is None
        self.data += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def end(self, trailers: Fields = ()) -> None:
        assert self.producer is None, "it would be paused for ever"
        self.trailers = trailers

    def abort(self) -> None:
        self.aborted = True


class FakeBody:
    """What comes of a response."""

    def __init__(self) -> None:
        self.receiver: BodyReceiver | None = None
        self.paused = False
        self.cancelled = False

    def deliver(self, receiver: BodyReceiver) -> None:
        assert self.receiver is None
        self.receiver = receiver

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def cancel(self) -> None:
        self.cancelled = True

    def give(self, data: bytes) -> None:
        assert self.receiver is not None
        self.receiver.body_received(data)

    def end(self, *trailers: tuple[bytes, bytes]) -> None:
        assert self.receiver is not None
        self.receiver.body_ended(trailers)

    def break_(self, error: PorttunnelError) -> None:
        assert self.receiver is not None
        self.receiver.body_broken(error)


class FakeRequest:
    """A request that is under way."""

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.writer = FakeWriter()
        self.body = FakeBody()
        self.cancelled = False
        self._waiting: list[Deferred[DeviceResponse]] = []

    def response(self) -> Deferred[DeviceResponse]:
        waiting: Deferred[DeviceResponse] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def cancel(self) -> None:
        self.cancelled = True

    # What the test does

    def respond(self, status: int, *fields: tuple[bytes, bytes], early: Any = ()) -> FakeBody:
        response = DeviceResponse(ResponseHead(status, fields), tuple(early), self.body)
        for waiting in self._waiting:
            waiting.callback(response)
        return self.body

    def fail(self, error: PorttunnelError) -> None:
        for waiting in self._waiting:
            waiting.errback(error)


class FakeDevice:
    """A :class:`porttunnel.net.device.interface.Requester`.

    :ivar asked: the requests, oldest first.
    :ivar way: if set, what a request waits for before it begins.
    """

    def __init__(self, device_id: str = "0123456789abcdef" * 2) -> None:
        self.device_id = device_id
        self.instance_id = "f" * 32
        self.asked: list[FakeRequest] = []
        self.way: Deferred[None] | None = None

    async def request(self, head: RequestHead) -> DeviceRequest:
        if self.way is not None:
            await self.way
        request = FakeRequest(head)
        self.asked.append(request)
        return request

    async def fetch(
        self, method: str, path: str, fields: Fields = (), data: bytes = b""
    ) -> FetchedResponse:
        raise NotImplementedError
