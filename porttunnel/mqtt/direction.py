"""What a client may send, and what in it: what a packet by itself does not tell.

``decode.decode`` is the same for both sides; a client's core takes what it waits for and no more.
Source: MQTT 5.0, sections 2.1.2 and 3; MQTT 3.1.1, table 2.1.
"""

from __future__ import annotations

from porttunnel.mqtt.field import protocol_error
from porttunnel.mqtt.packet import Auth, Disconnect, Packet, PacketType, Publish
from porttunnel.mqtt.reason import DISCONNECT_REASONS_OF_CLIENT, ReasonCode

__all__ = ["check_from_client"]

_CLIENT_SENDS = {
    PacketType.CONNECT,
    PacketType.PUBLISH,
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
    PacketType.SUBSCRIBE,
    PacketType.UNSUBSCRIBE,
    PacketType.PINGREQ,
    PacketType.DISCONNECT,
    PacketType.AUTH,
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
