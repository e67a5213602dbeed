"""Enhanced authentication, as far as MQTT knows it: whose turn it is, and under which name.

What is said in it is between the program and the broker. Source: MQTT 5.0, section 4.12.
"""

from __future__ import annotations

from msgspec.structs import replace

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Auth, Version
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["Authentication"]


class Authentication:
    """Of one client.

    :param method: its name, or None: none is wanted.
    """

    __slots__ = ("_challenged", "_method")

    def __init__(self, method: str | None) -> None:
        self._method = method
        self._challenged = False

    def begin(self) -> None:
        """A new connection: the first data stands in CONNECT."""
        self._challenged = False

    def next_packet(
        self, properties: Properties, *, connected: bool, max_packet_bytes: int
    ) -> Auth:
        """The answer to what the broker asked or, once ``connected``, a new beginning.

        :param max_packet_bytes: that the broker takes.
        :raises LocalProtocolError: it is not our turn, or it would be too large.
        """
        if self._method is None or not (self._challenged or connected):
            raise LocalProtocolError("the broker awaits no authentication: wait for its event")
        reason = ReasonCode.RE_AUTHENTICATE
        if self._challenged:
            reason = ReasonCode.CONTINUE_AUTHENTICATION
        packet = Auth(reason, replace(properties, authentication_method=self._method))
        if len(encode(packet, Version.V5)) > max_packet_bytes:
            raise LocalProtocolError(
                f"the broker takes {max_packet_bytes} bytes at most: say less"
            )
        self._challenged = False
        return packet

    def receive(self, packet: Auth, *, connected: bool) -> None:
        """The broker's step.

        :raises MqttError: of another method than ours, or an end that CONNACK should tell.
        """
        if self._method is None or packet.properties.authentication_method != self._method:
            raise MqttError("another authentication than was asked for", ReasonCode.PROTOCOL_ERROR)
        self._challenged = packet.reason is ReasonCode.CONTINUE_AUTHENTICATION
        if not (self._challenged or connected):
            raise MqttError("an authentication ended without CONNACK", ReasonCode.PROTOCOL_ERROR)
