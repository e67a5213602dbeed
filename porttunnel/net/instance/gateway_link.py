"""An instance's connection to its gateway: kept for ever, and whether it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from porttunnel.errors import (
    ClientStopped,
    MessagingError,
    OutcomeUnknown,
    PorttunnelError,
    RemoteProtocolError,
)
from porttunnel.gateway.event import decode_event
from porttunnel.gateway.topic import RequestTopic, list_instance_filters, parse_routed_topic
from porttunnel.mqtt import client_event
from porttunnel.net.instance.event import (
    GatewayConnected,
    GatewayLost,
    InstanceEvent,
    InstanceRefused,
)
from porttunnel.net.mqtt_client import MQTTClient, OnMessage

__all__ = ["GatewayLink", "LinkOwner"]

STOP_SECONDS = 2.0  # for what was said last to reach the gateway


class OpenClient(Protocol):
    """Makes a client."""

    def __call__(
        self, *, on_message: OnMessage, on_event: Callable[[Any], None]
    ) -> MQTTClient: ...


class LinkOwner(Protocol):
    """Who is told what comes."""

    def take_part(self, topic: RequestTopic, payload: bytes) -> None:
        """A part of a request came."""

    def take_event(self, name: str, device_id: str) -> None:
        """The gateway tells something about a device."""

    def take_link_event(self, happened: InstanceEvent) -> None:
        """The connection is there, or gone."""


class GatewayLink:
    """See the module.

    :param instance_id: 32 hex digits.
    :param open_client: makes the client, not yet started.
    :ivar is_connected: whether devices can reach us, for all we know.
    """

    def __init__(self, instance_id: str, open_client: OpenClient, owner: LinkOwner) -> None:
        self._instance_id = instance_id
        self._client = open_client(on_message=self._take_message, on_event=self._take_event)
        self._owner = owner
        self._is_subscribed = False
        self._has_told_loss = False
        self._has_ended = False
        self.is_connected = False

    def start(self) -> None:
        """Connect, and go on trying."""
        self._client.start()
        Deferred.fromCoroutine(self._subscribe()).addErrback(self._note_end)
        self._client.when_ended().addErrback(self._note_end)

    async def stop(self) -> None:
        """Say goodbye."""
        self.is_connected = False
        self._has_told_loss = True  # this one is no news
        await self._client.stop(STOP_SECONDS)

    def publish(self, topic: str, payload: bytes | bytearray) -> Deferred[Any]:
        """Send a message with QoS 1; without a connection it fails: on the next one it would come
        too late.
        """
        if not self._client.is_connected:
            return fail(OutcomeUnknown("There is no connection to the gateway. Try again later."))
        return self._client.publish(topic, memoryview(payload), qos=1)

    async def _subscribe(self) -> None:
        await self._client.subscribe(*list_instance_filters(self._instance_id), qos=1)
        self._is_subscribed = True
        self._note_connected()

    def _take_message(self, message: client_event.MessageReceived) -> None:
        topic = parse_routed_topic(message.topic)
        if topic is not None:
            self._owner.take_part(topic, message.payload)
            return
        match message.topic.split("/"):
            case ["instance", self._instance_id, "event", name]:
                try:
                    device_id = decode_event(message.payload)
                except RemoteProtocolError:
                    return  # a hint that says nothing
                self._owner.take_event(name, device_id)

    def _take_event(self, happened: Any) -> None:
        match happened:
            case client_event.Connected():
                if self._is_subscribed:
                    self._note_connected()
            case client_event.ConnectionLost():
                self._note_lost(None)
            case client_event.ConnectionFailed(error) | client_event.ConnectionRefused(error, _):
                self._note_lost(error)
            case client_event.Disconnected():
                self._note_lost(None)

    def _note_connected(self) -> None:
        if self._client.is_connected and not self.is_connected:
            self.is_connected = True
            self._has_told_loss = False
            self._owner.take_link_event(GatewayConnected())

    def _note_lost(self, error: PorttunnelError | None) -> None:
        self.is_connected = False
        # Of many tries that fail only the first is news.
        if not self._has_told_loss:
            self._has_told_loss = True
            self._owner.take_link_event(GatewayLost(error))

    def _note_end(self, failure: Failure) -> None:
        """It is stopped, or refused for good; told by each thing that waits for it."""
        error = failure.value
        if not isinstance(error, MessagingError):
            failure.raiseException()
        elif not isinstance(error, ClientStopped) and not self._has_ended:
            self._has_ended = True
            self._has_told_loss = True  # or it would seem to be one that is over soon
            self.is_connected = False
            self._owner.take_link_event(InstanceRefused(error))
