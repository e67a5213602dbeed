"""From CONNECT to CONNACK: what a client asked for, what it is given, and its session.

Source: MQTT 5.0, sections 3.1 and 3.2; MQTT 3.1.1, sections 3.1 and 3.2.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.encode import encode, encode_refusal
from porttunnel.mqtt.exchange import Exchange
from porttunnel.mqtt.packet import Connack, Connect, Packet, Version
from porttunnel.mqtt.policy import Admission, Client, Profile, checked_topic
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.session import PendingWill, Session
from porttunnel.mqtt.topic import check_depth

__all__ = [
    "Terms",
    "accepted_will",
    "encode_connack",
    "encode_fitting",
    "encode_no",
    "negotiate",
    "open_session",
    "packet_limit",
    "shortened",
]

MAX_RECEIVE_MAXIMUM = 0xFFFF  # of who says none
MAX_PACKET_LIMIT = 0xFFFFFFFF  # likewise


class Terms(msgspec.Struct, frozen=True):
    """What holds for one connection.

    :ivar keep_alive_seconds: 0: none.
    :ivar session_expiry_seconds: how long the session is kept after it.
    :ivar receive_maximum: QoS 1 and 2 messages that the client takes at a time.
    :ivar packet_limit: the largest packet that it takes.
    :ivar topic_aliases: how many aliases it is sent.
    :ivar properties: of the CONNACK.
    """

    keep_alive_seconds: int
    session_expiry_seconds: int
    receive_maximum: int
    packet_limit: int
    topic_aliases: int
    properties: Properties


def negotiate(connect: Connect, admission: Admission, assigned_id: str | None) -> Terms:
    """What the client asked for, as far as the policy grants it.

    :param assigned_id: the client id that it did not bring itself, or None.
    """
    profile = admission.profile
    keep_alive = connect.keep_alive_seconds
    longest = profile.max_keep_alive_seconds
    if longest is not None and (not keep_alive or keep_alive > longest):
        keep_alive = longest
    asked = connect.properties
    if connect.version is Version.V3_1_1:
        expiry = 0 if connect.clean_start else profile.max_session_seconds
        return Terms(keep_alive, expiry, MAX_RECEIVE_MAXIMUM, MAX_PACKET_LIMIT, 0, EMPTY)
    wanted = asked.session_expiry_interval or 0
    expiry = min(wanted, profile.max_session_seconds)
    answer = _offer(profile)
    told: dict[str, int | str | bytes | None] = {
        "session_expiry_interval": expiry if expiry != wanted else None,
        "assigned_client_identifier": assigned_id,
        "server_keep_alive": keep_alive if keep_alive != connect.keep_alive_seconds else None,
        "authentication_method": asked.authentication_method,
        "reason_string": admission.reason_string,
    }
    if asked.request_response_information:
        told["response_information"] = admission.response_information
    if asked.authentication_method is not None:
        told["authentication_data"] = admission.authentication_data
    return Terms(
        keep_alive,
        expiry,
        asked.receive_maximum or MAX_RECEIVE_MAXIMUM,
        packet_limit(asked),
        min(asked.topic_alias_maximum or 0, profile.outgoing_aliases),
        replace(answer, **told),
    )


def accepted_will(
    exchange: Exchange, client: Client, connect: Connect, profile: Profile
) -> PendingWill | None:
    """The client's will, if it has one and may.

    :raises MqttError: it may not: the reason for the CONNACK.
    """
    will = connect.will
    if will is None:
        return None
    if will.qos > profile.max_qos:
        raise MqttError("a will has a QoS that is not allowed", ReasonCode.QOS_NOT_SUPPORTED)
    if will.retain and not profile.retain_available:
        raise MqttError("a will can't be retained here", ReasonCode.RETAIN_NOT_SUPPORTED)
    check_depth(will.topic)
    topic = checked_topic(exchange.policy.authorise_will(client, will), will.topic)
    if isinstance(topic, ReasonCode):
        raise MqttError("a will is not allowed", topic)
    response_topic = will.properties.response_topic
    if response_topic is not None:
        answer = exchange.policy.authorise_response_topic(client, response_topic)
        seen = checked_topic(answer, response_topic)
        if isinstance(seen, ReasonCode):
            raise MqttError("a will's response topic is not allowed", seen)
        will = replace(will, properties=replace(will.properties, response_topic=seen))
    pending = PendingWill(topic, will)
    held = exchange.held
    if held.held + pending.cost > held.limit:
        raise MqttError("there is no room to keep a will", ReasonCode.QUOTA_EXCEEDED)
    return pending


def open_session(
    exchange: Exchange, client: Client, connect: Connect, profile: Profile, now: float
) -> tuple[Session, bool]:
    """The session of a client that was let in, and whether it was there before.

    Whoever has it still is disconnected.

    :raises MqttError: there are too many sessions.
    """
    session = exchange.sessions.get(client.session_name)
    if session is not None and session.outbox is not None:
        session.outbox.cut(ReasonCode.SESSION_TAKEN_OVER, now)
        session = exchange.sessions.get(client.session_name)
    if session is not None and connect.clean_start:
        exchange.end_session(session, now)
        session = None
    if session is not None:
        session.take_over(client, profile)
        exchange.tree.arrivals += 1
        session.expires_at = None
        session.will_due = None
        return session, True
    session = Session(client.session_name, client, profile, exchange.held)
    exchange.add_session(session)
    return session, False


def packet_limit(asked: Properties) -> int:
    """The largest packet that a client takes, by its CONNECT."""
    return asked.maximum_packet_size or MAX_PACKET_LIMIT


def shortened(connect: Connect) -> Connect:
    """What is needed of a CONNECT once its client was let in: it is kept as long as that stays."""
    asked = connect.properties
    kept = Properties(
        authentication_method=asked.authentication_method,
        session_expiry_interval=asked.session_expiry_interval,
        maximum_packet_size=asked.maximum_packet_size,
    )
    return replace(connect, password=None, will=None, properties=EMPTY if kept == EMPTY else kept)


def encode_connack(connack: Connack, version: Version, limit: int) -> bytes:
    """The CONNACK; a text for people is left out if it were too large with it.

    :raises MqttError: it is too large for the client without it too.
    """
    shorter = replace(connack, properties=replace(connack.properties, reason_string=None))
    encoded = encode_fitting(version, limit, connack, shorter)
    if not encoded:
        raise MqttError("a CONNACK is too large for its client", ReasonCode.PACKET_TOO_LARGE)
    return encoded


def encode_fitting(version: Version, limit: int, *packets: Packet) -> bytes:
    """The first packet that can be sent, or no bytes.

    A policy's texts have no limit of their own, but MQTT takes none above 65,535 bytes. What can't
    be said must not keep a connection from its end.

    :param limit: bytes of the largest that the client takes.
    :param packets: the best first.
    """
    for packet in packets:
        try:
            encoded = encode(packet, version)
        except LocalProtocolError:
            continue
        if len(encoded) <= limit:
            return encoded
    return b""


def encode_no(
    reason: ReasonCode, properties: Properties, version: Version | None, limit: int
) -> bytes:
    """The CONNACK that refuses, without properties if they can't be sent; or no bytes.

    :param version: as of :func:`~porttunnel.mqtt.encode.encode_refusal`.
    :param limit: as of :func:`encode_fitting`.
    """
    for each in (properties, EMPTY):
        try:
            encoded = encode_refusal(reason, version, each)
        except LocalProtocolError:
            continue
        if len(encoded) <= limit:
            return encoded
    return b""


def _offer(profile: Profile) -> Properties:
    """What the client may do, where it is not what the norm takes for granted."""
    return Properties(
        receive_maximum=profile.receive_maximum,
        maximum_qos=profile.max_qos if profile.max_qos < 2 else None,
        retain_available=None if profile.retain_available else False,
        maximum_packet_size=profile.max_packet_bytes,
        topic_alias_maximum=profile.topic_alias_maximum,
        wildcard_subscription_available=None if profile.wildcards_available else False,
        subscription_identifiers_available=None if profile.identifiers_available else False,
        shared_subscription_available=None if profile.shared_available else False,
    )
