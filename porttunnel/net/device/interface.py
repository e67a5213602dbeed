"""What a program has of a paired device: requests to its web system, and their responses.

:class:`porttunnel.net.device.device.Device` is one. Whoever only asks needs no more than this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.net.gateway_client.body import BodyWriter, ReceivedBody

__all__ = ["DeviceRequest", "DeviceResponse", "FetchedResponse", "Requester"]


@dataclass(frozen=True, slots=True)
class DeviceResponse:
    """A response whose body may still flow.

    :ivar head: the final one.
    :ivar informational: heads below 200 that came before it.
    :ivar body: to be delivered to somebody, or cancelled; it ends, or breaks with a
        :class:`~porttunnel.errors.RequestFailed`.
    """

    head: ResponseHead
    informational: tuple[ResponseHead, ...]
    body: ReceivedBody


@dataclass(frozen=True, slots=True)
class FetchedResponse:
    """A whole response.

    :ivar head: the final one.
    :ivar trailers: fields after the data.
    """

    head: ResponseHead
    data: bytes
    trailers: Fields = ()


class DeviceRequest(Protocol):
    """A request that is under way."""

    @property
    def writer(self) -> BodyWriter:
        """Its body; it has to be ended, also if there is none."""

    def response(self) -> Deferred[DeviceResponse]:
        """Fires with the response once its head is there; each call gives a Deferred of its own.

        Fails with :class:`~porttunnel.errors.RequestNotExecuted` or
        :class:`~porttunnel.errors.RequestUncertain`. A Deferred that is cancelled cancels nothing
        else.
        """

    def cancel(self) -> None:
        """Want no response any more; the instance is told. Afterwards it does nothing."""


class Requester(Protocol):
    """A paired device that is started."""

    @property
    def device_id(self) -> str:
        """32 hex digits."""

    @property
    def instance_id(self) -> str:
        """32 hex digits."""

    async def request(self, head: RequestHead) -> DeviceRequest:
        """Begin a request. Without a connection it is waited for one, for a while.

        :raises RequestNotExecuted: there is none.
        :raises DeviceRevoked: there will be none any more.
        :raises LocalProtocolError: no request can have such a head.
        """

    async def fetch(
        self, method: str, path: str, fields: Fields = (), data: bytes = b""
    ) -> FetchedResponse:
        """A whole request for a whole response.

        :raises RequestFailed: see :class:`DeviceRequest`; or the response is too long for this.
        """
