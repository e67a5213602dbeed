"""paho-mqtt (PyPI) for the tests, with its loop in a thread, as most programs run it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.real.mqtt_peer import (
    Address,
    Connected,
    Inbox,
    Message,
    Peer,
    Properties,
    Refused,
    Will,
)

__all__ = ["PahoPeer"]

V5 = 5
RECONNECT_SECONDS = 0.1
LOOPS = 20  # of a second at most


class PahoPeer(Peer):
    """See the module."""

    def __init__(self, address: Address, version: int) -> None:
        super().__init__(address, version)
        self._inbox = Inbox()
        self._client: Client

    def connect(
        self,
        client_id: str = "",
        *,
        clean: bool = True,
        keep_alive: int = 60,
        will: Will | None = None,
        user: str | None = None,
        password: str | None = None,
        properties: Properties | None = None,
        comes_back: bool = False,
    ) -> Connected:
        client = self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self.version == V5 else clean,
            protocol=MQTTProtocolVersion(self.version),
            transport="tcp" if self.address.transport == "tcp" else "websockets",
            reconnect_on_failure=comes_back,
        )
        client.reconnect_delay_set(RECONNECT_SECONDS)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        if self.address.certificate:
            client.tls_set(self.address.certificate)
        if user is not None:
            client.username_pw_set(user, password)
        if will is not None:
            told = self._packed(will.properties, PacketTypes.WILLMESSAGE)
            client.will_set(will.topic, will.payload, will.qos, will.retain, told)
        only_v5: dict[str, Any] = {}
        if self.version == V5:
            packed = self._packed(properties, PacketTypes.CONNECT)
            only_v5 = {"clean_start": clean, "properties": packed}
        client.connect("127.0.0.1", self.address.port, keep_alive, **only_v5)
        client.loop_start()
        return self.came_back()

    def came_back(self) -> Connected:
        reason, connected = self._inbox.take("connect")
        if reason:
            raise Refused(reason)
        found: Connected = connected
        return found

    def subscribe(
        self, pattern: str, qos: int = 0, *, properties: Properties | None = None, **options: Any
    ) -> int:
        if self.version == V5:
            wanted = SubscribeOptions(
                qos,
                noLocal=options.get("no_local", False),
                retainAsPublished=options.get("retain_as_published", False),
                retainHandling=options.get("retain_handling", 0),
            )
            packed = self._packed(properties, PacketTypes.SUBSCRIBE)
            _, number = self._client.subscribe(pattern, options=wanted, properties=packed)
        else:
            _, number = self._client.subscribe(pattern, qos)
        return int(self._inbox.take(("subscribe", number)))

    def unsubscribe(self, pattern: str) -> None:
        _, number = self._client.unsubscribe(pattern)
        self._inbox.take(("unsubscribe", number))

    def begin_publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> int:
        packed = self._packed(properties, PacketTypes.PUBLISH)
        return self._client.publish(topic, payload, qos, retain, packed).mid

    def published(self, number: int) -> int:
        return int(self._inbox.take(("publish", number)))

    def message(self) -> Message:
        found: Message = self._inbox.take("message")
        return found

    def end(self) -> int | None:
        from_server, reason = self._inbox.take("end")
        return reason if from_server else None

    def is_connected(self) -> bool:
        return self._client.is_connected()

    def disconnect(self) -> None:
        self._client.disconnect()
        self._inbox.take("end")
        self._client.loop_stop()

    def drop(self) -> None:
        # A second descriptor of the same socket: also the WebSocket's knows it that way.
        connection = self._client.socket()
        assert connection is not None
        with socket.socket(fileno=os.dup(connection.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self.drop()
        self._inbox.take("end")
        self._client.loop_stop()

    def stop(self) -> None:
        if self._client.is_connected():
            self._client.disconnect()
        self._client.loop_stop()

    @contextmanager
    def silent(self) -> Iterator[None]:
        self._client.loop_stop()
        yield
        # It leaves sockets open when its thread is started a second time.
        for _ in range(LOOPS):
            if self._client.loop() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _packed(self, properties: Properties | None, packet: int) -> PahoProperties | None:
        if self.version != V5 or not properties:
            return None
        packed = PahoProperties(packet)
        for name, value in properties.items():
            match name:
                case "correlationData":
                    packed.CorrelationData = bytes.fromhex(value)
                case "userProperties":
                    packed.UserProperty = list(value.items())
                case _:
                    setattr(packed, name[0].upper() + name[1:], value)
        return packed

    # In the thread of its loop

    def _on_connect(
        self, client: Client, _: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        connected = Connected(flags.session_present, _unpacked(properties))
        self._inbox.put("connect", (reason.value, connected))

    def _on_disconnect(
        self, client: Client, _: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        self._inbox.put("end", (flags.is_disconnect_packet_from_server, reason.value))

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        properties = _unpacked(message.properties)
        self._inbox.put(
            "message",
            Message(
                message.topic, bytes(message.payload), message.qos, message.retain, properties
            ),
        )

    def _on_publish(
        self, client: Client, _: Any, number: int, reason: Any, properties: Any
    ) -> None:
        self._inbox.put(("publish", number), reason.value)

    def _on_subscribe(
        self, client: Client, _: Any, number: int, reasons: Any, properties: Any
    ) -> None:
        self._inbox.put(("subscribe", number), reasons[0].value)

    def _on_unsubscribe(
        self, client: Client, _: Any, number: int, reasons: Any, properties: Any
    ) -> None:
        self._inbox.put(("unsubscribe", number), None)


def _unpacked(properties: PahoProperties | None) -> Properties:
    if properties is None:
        return {}
    told = {name[0].lower() + name[1:]: value for name, value in properties.json().items()}
    if "userProperty" in told:
        told["userProperties"] = dict(told.pop("userProperty"))
    return told
