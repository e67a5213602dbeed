"""Enhanced authentication, as far as MQTT knows it: whose turn it is, and under which name.

What is said in it is between the program and the broker. Source: MQTT 5.0, section 4.12.
"""

from __future__ import annotations

from msgspec.structs import replace

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.packet import Auth
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

    def next_packet(self, properties: Properties, *, connected: bool) -> Auth:
        """The answer to what the broker asked or, once ``connected``, a new beginning.

        :raises LocalProtocolError: it is not our turn.
        """
        if self._method is None or not (self._challenged or connected):
            raise LocalProtocolError("the broker awaits no authentication: wait for its event")
        reason = ReasonCode.RE_AUTHENTICATE
        if self._challenged:
            reason = ReasonCode.CONTINUE_AUTHENTICATION
        self._challenged = False
        return Auth(reason, replace(properties, authentication_method=self._method))

    def receive(self, packet: Auth, *, connected: bool) -> None:
        """The broker's step.

        :raises MqttError: of another method than ours, or an end that CONNACK should tell.
        """
        if self._method is None or packet.properties.authentication_method != self._method:
            raise MqttError("another authentication than was asked for", ReasonCode.PROTOCOL_ERROR)
        self._challenged = packet.reason is ReasonCode.CONTINUE_AUTHENTICATION
        if not (self._challenged or connected):
            raise MqttError("an authentication ended without CONNACK", ReasonCode.PROTOCOL_ERROR)
