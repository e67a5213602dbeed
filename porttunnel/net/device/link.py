"""A device's connection to its gateway, shared by all of its requests.

Source: docs/gateway-protocol, sections 1 and 3. Each request has an id of its own; what comes for
it goes to its listener. What the gateway says about all requests, and that the connection was
lost, goes to every one.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from porttunnel.errors import (
    BrokerRefused,
    ClientStopped,
    DeviceRevoked,
    MessagingError,
    PorttunnelError,
    RemoteProtocolError,
    RequestFailureCode,
    RequestNotExecuted,
)
from porttunnel.gateway.event import ALL_REQUESTS
from porttunnel.gateway.part import Failure, decode_part
from porttunnel.gateway.topic import (
    format_request_topic,
    list_device_filters,
    parse_push_topic,
    parse_response_topic,
)
from porttunnel.mqtt import client_event as mqtt_event
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.device.event import (
    DeviceConnected,
    DeviceDisconnected,
    DeviceEnded,
    DeviceEvent,
)
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.connection import open_mqtt
from porttunnel.net.gateway_client.rest import Login
from porttunnel.net.telling import tell

__all__ = ["MAX_RUNNING", "DeviceLink", "LinkListener"]

MAX_RUNNING = 128  # requests at a time; each may keep a window of parts here: 128 MiB at worst
MAX_QUEUED_BYTES = 40 << 20  # what they may send and the gateway hasn't taken, and their hints
CONNECT_SECONDS = 15.0  # that a request waits for a connection

UNKNOWN_REASONS = (ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED)

_REQUEST_ID_BYTES = 12  # 24 hex digits: none comes twice
_PARTS_QOS = 1

_REVOKED = (
    "The gateway does not know this device any more: it was revoked, or its pairing came to "
    "nothing. Pair it again with a new code."
)


class LinkListener(Protocol):
    """A request that waits for parts."""

    def part_received(self, data: bytes) -> None:
        """A part came for it."""

    def all_failed(self, failure: Failure) -> None:
        """The gateway says that no request goes on."""

    def link_lost(self) -> None:
        """Nothing will come any more; it has no place here now."""


class DeviceLink:
    """See the module.

    :param reactor: time and connections.
    :param on_push: called with the name and the payload of what the instance says unasked; what it
        returns, if anything, is waited for.
    :param on_event: called with a ``DeviceConnected``, ``DeviceDisconnected``, ``DeviceEnded``.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        address: GatewayAddress,
        login: Login,
        *,
        on_push: Callable[[str, bytes], Awaitable[object] | None] = lambda name, data: None,
        on_event: Callable[[DeviceEvent], None] = lambda happened: None,
    ) -> None:
        self._reactor = reactor
        self._device_id = login.user
        self._on_push = on_push
        self._on_event = on_event
        self._listeners: dict[str, LinkListener] = {}
        self._client = open_mqtt(
            reactor,
            address,
            login,
            on_message=self._receive,
            on_event=self._take_event,
            max_queued_bytes=MAX_QUEUED_BYTES,
        )
        self._ended: PorttunnelError | None = None

    def start(self) -> None:
        """Connect, and come back whenever the connection is lost; once."""
        self._client.start()
        self._client.when_ended().addErrback(self._client_ended)
        # On each connection subscriptions go out before anything else: whatever is asked then,
        # its answer finds us.
        filters = list_device_filters(self._device_id)
        subscribing = Deferred.fromCoroutine(self._client.subscribe(*filters, qos=_PARTS_QOS))
        subscribing.addErrback(self._client_ended)

    async def stop(self) -> None:
        """End the connection, and with it all requests."""
        self._end(ClientStopped("The device was stopped. Start it again."))
        await self._client.stop()

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has taken us, and the connection is there."""
        return self._client.is_connected

    async def wait_connected(self, seconds: float = CONNECT_SECONDS) -> None:
        """Until there is a connection.

        :raises DeviceRevoked: there will be none.
        :raises RequestNotExecuted: there was none for so long, or the device was stopped.
        """
        if self._ended is None and not self.is_connected:
            waiting = self._client.when_connected()
            waiting.addTimeout(seconds, self._reactor)
            try:
                await waiting
            except TimeoutError:
                raise RequestNotExecuted(
                    "There is no connection to the gateway. Check the network, and whether the "
                    "gateway runs.",
                    RequestFailureCode.NOT_CONNECTED,
                ) from None
            except MessagingError as error:
                self._end(error)
        if isinstance(self._ended, DeviceRevoked):
            raise self._ended
        if self._ended is not None:
            raise RequestNotExecuted(str(self._ended), RequestFailureCode.NOT_CONNECTED)

    def add(self, listener: LinkListener) -> str:
        """A request that begins; its id.

        :raises RequestNotExecuted: there are too many, or there is no connection.
        """
        if len(self._listeners) >= MAX_RUNNING:
            raise RequestNotExecuted(
                f"{MAX_RUNNING} requests are running. Wait until one has ended.",
                RequestFailureCode.BUSY,
            )
        if not self.is_connected:
            raise RequestNotExecuted(
                "The connection to the gateway was lost.", RequestFailureCode.NOT_CONNECTED
            )
        request_id = secrets.token_hex(_REQUEST_ID_BYTES)
        self._listeners[request_id] = listener
        return request_id

    def remove(self, request_id: str) -> None:
        """It has ended; what still comes for it is nobody's."""
        self._listeners.pop(request_id, None)

    def send(self, request_id: str, part: bytes | bytearray) -> Deferred[Any]:
        """Send a part; see :meth:`~porttunnel.net.mqtt_client.MQTTClient.publish`."""
        topic = format_request_topic(self._device_id, request_id)
        return self._client.publish(topic, memoryview(part), qos=_PARTS_QOS)

    def _receive(self, message: mqtt_event.MessageReceived) -> Awaitable[object] | None:
        response = parse_response_topic(message.topic)
        if response is not None:
            if response.last == ALL_REQUESTS:
                self._tell_all(message.payload)
            elif (listener := self._listeners.get(response.last)) is not None:
                tell(listener.part_received, message.payload)
            return None
        push = parse_push_topic(message.topic)
        return None if push is None else self._on_push(push.last, message.payload)

    def _tell_all(self, payload: bytes) -> None:
        with suppress(RemoteProtocolError):
            part = decode_part(payload)
            if isinstance(part, Failure):
                for listener in list(self._listeners.values()):
                    listener.all_failed(part)

    def _take_event(self, happened: Any) -> None:
        match happened:
            case mqtt_event.Connected():
                tell(self._on_event, DeviceConnected())
            case mqtt_event.ConnectionFailed(error):
                tell(self._on_event, DeviceDisconnected(error))
            case mqtt_event.ConnectionRefused(error, _):
                tell(self._on_event, DeviceDisconnected(error))
            case mqtt_event.ConnectionLost() | mqtt_event.Disconnected():
                self._lose_all()
                tell(self._on_event, DeviceDisconnected())
            case mqtt_event.SubscriptionsRefused():
                self._lose_all()

    def _client_ended(self, failure: Any) -> None:
        failure.trap(MessagingError)
        self._end(failure.value)

    def _end(self, error: PorttunnelError) -> None:
        if self._ended is not None:
            return
        unknown = isinstance(error, BrokerRefused) and error.reason in UNKNOWN_REASONS
        self._ended = DeviceRevoked(_REVOKED) if unknown else error
        self._lose_all()
        if not isinstance(error, ClientStopped):
            tell(self._on_event, DeviceEnded(self._ended))

    def _lose_all(self) -> None:
        listeners, self._listeners = list(self._listeners.values()), {}
        for listener in listeners:
            listener.link_lost()
