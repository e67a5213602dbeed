"""What MQTT without TLS is told that comes from outside: that it is not spoken here.

The password may have been sent by then. But whoever set this up learns of it at the first try.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import connect_version
from porttunnel.mqtt.encode import encode_refusal
from porttunnel.mqtt.framing import FrameReader
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway.broker_policy import MAX_CONNECT_BYTES

__all__ = ["PlainMQTTFactory"]

ANSWER_SECONDS = 15.0  # for CONNECT to come, the answer to go and the client to close

_TEXT = "MQTT needs TLS here. Use mqtts, or WebSocket with https."


class _RefusingProtocol(Protocol):
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._reader: FrameReader | None = FrameReader(MAX_CONNECT_BYTES)
        self._timer: Any = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._timer = self._reactor.callLater(ANSWER_SECONDS, transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self._reader is None:
            return
        try:
            packet = next(self._reader.feed(memoryview(data)), None)
        except MqttError:
            packet = (0, memoryview(b""))
        if packet is None:
            return
        self._reader = None
        transport: Any = self.transport
        transport.write(
            encode_refusal(
                ReasonCode.NOT_AUTHORIZED,
                connect_version(packet[1]),
                Properties(reason_string=_TEXT),
            )
        )
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer.active():
            self._timer.cancel()


class PlainMQTTFactory(Factory):
    """Refuses every CONNECT, and closes.

    :param reactor: for the deadline.
    """

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _RefusingProtocol(self._reactor)
