"""Who may send which packet, and what in it: what a packet by itself does not tell.

``decode.decode`` is the same for both sides; the core of a side calls the function that fits.
Source: MQTT 5.0, sections 2.1.2 and 3; MQTT 3.1.1, table 2.1.
"""

from __future__ import annotations

from porttunnel.mqtt.field import protocol_error
from porttunnel.mqtt.packet import Auth, Disconnect, Packet, PacketType, Publish, Version
from porttunnel.mqtt.reason import DISCONNECT_REASONS_OF_CLIENT, ReasonCode

__all__ = ["check_from_client", "check_from_server"]

_BOTH_SEND = {
    PacketType.PUBLISH,
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
    PacketType.DISCONNECT,
    PacketType.AUTH,
}
_CLIENT_SENDS = _BOTH_SEND | {
    PacketType.CONNECT,
    PacketType.SUBSCRIBE,
    PacketType.UNSUBSCRIBE,
    PacketType.PINGREQ,
}
_SERVER_SENDS = _BOTH_SEND | {
    PacketType.CONNACK,
    PacketType.SUBACK,
    PacketType.UNSUBACK,
    PacketType.PINGRESP,
}


def check_from_client(packet: Packet) -> None:
    """A server got this packet.

    :raises MqttError: 0x82 a client may not send it, or not with this reason or property.
    """
    if packet.kind not in _CLIENT_SENDS:
        raise protocol_error("a client sent a packet that only a server sends")
    if isinstance(packet, Publish):
        if packet.properties.subscription_identifiers:  # [MQTT-3.3.4-6]
            raise protocol_error("a client's PUBLISH has a subscription identifier")
    elif isinstance(packet, Disconnect):
        if packet.reason not in DISCONNECT_REASONS_OF_CLIENT:  # [MQTT-3.14.2-1]
            raise protocol_error("a client's DISCONNECT has a server's reason")
        if packet.properties.server_reference is not None:
            raise protocol_error("a client's DISCONNECT names another server")
    elif isinstance(packet, Auth) and packet.reason is ReasonCode.SUCCESS:  # [MQTT-3.15.2-1]
        raise protocol_error("a client's AUTH says that the authentication succeeded")


def check_from_server(packet: Packet, version: Version) -> None:
    """A client got this packet.

    :param version: of the connection: in 3.1.1 a server sends no DISCONNECT.
    :raises MqttError: 0x82 a server may not send it, or not with this reason or property.
    """
    if packet.kind not in _SERVER_SENDS:
        raise protocol_error("a server sent a packet that only a client sends")
    if isinstance(packet, Disconnect):
        if version is not Version.V5:
            raise protocol_error("a server sent a DISCONNECT of MQTT 3.1.1")
        if packet.reason is ReasonCode.DISCONNECT_WITH_WILL_MESSAGE:  # [MQTT-3.14.2-1]
            raise protocol_error("a server's DISCONNECT has a client's reason")
        if packet.properties.session_expiry_interval is not None:  # [MQTT-3.14.2-2]
            raise protocol_error("a server's DISCONNECT has a session expiry interval")
    elif isinstance(packet, Auth) and packet.reason is ReasonCode.RE_AUTHENTICATE:
        # [MQTT-3.15.2-1]
        raise protocol_error("a server's AUTH asks for a new authentication")
