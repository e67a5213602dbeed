"""Hypothesis strategies for every packet of both versions.

``packets(version)`` draws what ``encode`` takes and ``decode`` gives back unchanged: for 3.1.1
only what 3.1.1 can say.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import strategies as st

from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    RetainHandling,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
    Will,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.property_codec import WILL
from porttunnel.mqtt.reason import (
    CONNACK_REASONS,
    DISCONNECT_REASONS,
    PUBACK_REASONS,
    PUBREL_REASONS,
    SUBACK_REASONS,
    UNSUBACK_REASONS,
    ReasonCode,
    connect_return_code,
    reason_of_return_code,
)

__all__ = [
    "PLACES",
    "binary",
    "connects",
    "flags",
    "packet_ids",
    "packets",
    "packets_of",
    "properties",
    "publishes",
    "strings",
    "topic_names",
    "versions",
]

versions = st.sampled_from(Version)
flags = st.booleans()
packet_ids = st.integers(1, 0xFFFF)
qualities = st.integers(0, 2)
binary = st.binary(max_size=40)
strings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
topic_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20
)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
identifiers = st.integers(1, 0x0FFFFFFF)

_MESSAGE = {
    "payload_format_indicator": flags,
    "message_expiry_interval": u32,
    "content_type": strings,
    "response_topic": topic_names,
    "correlation_data": binary,
}
_HELLO = {
    "session_expiry_interval": u32,
    "receive_maximum": packet_ids,
    "maximum_packet_size": st.integers(1, 0xFFFFFFFF),
    "topic_alias_maximum": u16,
}
_REASON = {"reason_string": strings}

# Which properties each place may have, by section 2.2.2.2; user properties anywhere.
PLACES: dict[int, dict[str, st.SearchStrategy[Any]]] = {
    WILL: _MESSAGE | {"will_delay_interval": u32},
    PacketType.CONNECT: _HELLO
    | {"request_response_information": flags, "request_problem_information": flags},
    PacketType.CONNACK: _HELLO
    | _REASON
    | {
        "maximum_qos": st.integers(0, 1),
        "retain_available": flags,
        "assigned_client_identifier": strings,
        "wildcard_subscription_available": flags,
        "subscription_identifiers_available": flags,
        "shared_subscription_available": flags,
        "server_keep_alive": u16,
        "response_information": strings,
        "server_reference": strings,
    },
    PacketType.PUBLISH: _MESSAGE
    | {
        "topic_alias": packet_ids,
        "subscription_identifiers": st.lists(identifiers, max_size=3).map(tuple),
    },
    PacketType.PUBACK: _REASON,
    PacketType.PUBREC: _REASON,
    PacketType.PUBREL: _REASON,
    PacketType.PUBCOMP: _REASON,
    PacketType.SUBSCRIBE: {
        "subscription_identifiers": st.lists(identifiers, max_size=1).map(tuple)
    },
    PacketType.SUBACK: _REASON,
    PacketType.UNSUBSCRIBE: {},
    PacketType.UNSUBACK: _REASON,
    PacketType.DISCONNECT: _REASON | {"session_expiry_interval": u32, "server_reference": strings},
    PacketType.AUTH: _REASON,
}
_AUTHENTICATING = {PacketType.CONNECT, PacketType.CONNACK, PacketType.AUTH}


@st.composite
def properties(draw: st.DrawFn, place: int) -> Properties:
    """Some of those that the place may have."""
    optional = PLACES[place] | {
        "user_properties": st.lists(st.tuples(strings, strings), max_size=3).map(tuple)
    }
    found: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=optional))
    if place in _AUTHENTICATING and draw(flags):
        found["authentication_method"] = draw(strings)
        if draw(flags):
            found["authentication_data"] = draw(binary)
    return Properties(**found)


def _properties(version: Version, place: int) -> st.SearchStrategy[Properties]:
    return properties(place) if version is Version.V5 else st.just(EMPTY)


def _reasons(codes: frozenset[ReasonCode]) -> st.SearchStrategy[ReasonCode]:
    return st.sampled_from(sorted(codes))


@st.composite
def connects(draw: st.DrawFn, version: Version) -> Connect:
    """CONNECT packets."""
    is_v5 = version is Version.V5
    clean_start = draw(flags)
    user_name = draw(st.none() | strings)
    will = st.builds(
        Will,
        topic=topic_names,
        payload=binary,
        qos=qualities,
        retain=flags,
        properties=_properties(version, WILL),
    )
    return Connect(
        version,
        draw(strings if clean_start or is_v5 else strings.filter(bool)),
        clean_start,
        draw(u16),
        user_name,
        draw(st.none() | binary if user_name is not None or is_v5 else st.none()),
        draw(st.none() | will),
        draw(_properties(version, PacketType.CONNECT)),
    )


@st.composite
def _connacks(draw: st.DrawFn, version: Version) -> Connack:
    reasons = set(CONNACK_REASONS)
    if version is not Version.V5:
        codes = {connect_return_code(reason) for reason in reasons} - {None}
        reasons = {reason_of_return_code(code) for code in codes if code is not None}
    reason = draw(st.sampled_from(sorted(reasons)))
    present = draw(flags) if reason is ReasonCode.SUCCESS else False
    return Connack(present, reason, draw(_properties(version, PacketType.CONNACK)))


@st.composite
def publishes(draw: st.DrawFn, version: Version) -> Publish:
    """PUBLISH packets."""
    qos = draw(qualities)
    found = draw(_properties(version, PacketType.PUBLISH))
    return Publish(
        draw(topic_names | st.just("") if found.topic_alias else topic_names),
        draw(st.binary(max_size=300)),
        qos,
        draw(flags),
        draw(flags) if qos else False,
        draw(packet_ids) if qos else None,
        found,
    )


def _acknowledgements(
    kind: type[Puback | Pubrec | Pubrel | Pubcomp], codes: frozenset[ReasonCode], version: Version
) -> st.SearchStrategy[Packet]:
    if version is not Version.V5:
        return st.builds(kind, packet_id=packet_ids)
    return st.builds(
        kind, packet_id=packet_ids, reason=_reasons(codes), properties=properties(kind.kind)
    )


@st.composite
def _subscriptions(draw: st.DrawFn, version: Version) -> Subscription:
    name, qos = draw(strings), draw(qualities)
    if version is not Version.V5:
        return Subscription(name, qos)
    return Subscription(
        name,
        qos,
        draw(flags) and not name.startswith("$share/"),
        draw(flags),
        draw(st.sampled_from(RetainHandling)),
    )


def _subscribes(version: Version) -> st.SearchStrategy[Subscribe]:
    return st.builds(
        Subscribe,
        packet_id=packet_ids,
        subscriptions=st.lists(_subscriptions(version), min_size=1, max_size=3).map(tuple),
        properties=_properties(version, PacketType.SUBSCRIBE),
    )


def _subacks(version: Version) -> st.SearchStrategy[Suback]:
    of_3_1_1 = frozenset(map(ReasonCode, (0, 1, 2, 0x80)))
    codes = SUBACK_REASONS if version is Version.V5 else of_3_1_1
    return st.builds(
        Suback,
        packet_id=packet_ids,
        reasons=st.lists(_reasons(codes), min_size=1, max_size=3).map(tuple),
        properties=_properties(version, PacketType.SUBACK),
    )


def _unsubscribes(version: Version) -> st.SearchStrategy[Unsubscribe]:
    return st.builds(
        Unsubscribe,
        packet_id=packet_ids,
        filters=st.lists(strings, min_size=1, max_size=3).map(tuple),
        properties=_properties(version, PacketType.UNSUBSCRIBE),
    )


def _unsubacks(version: Version) -> st.SearchStrategy[Unsuback]:
    if version is not Version.V5:
        return st.builds(Unsuback, packet_id=packet_ids)
    return st.builds(
        Unsuback,
        packet_id=packet_ids,
        reasons=st.lists(_reasons(UNSUBACK_REASONS), min_size=1, max_size=3).map(tuple),
        properties=properties(PacketType.UNSUBACK),
    )


def _disconnects(version: Version) -> st.SearchStrategy[Disconnect]:
    if version is not Version.V5:
        return st.just(Disconnect())
    return st.builds(
        Disconnect,
        reason=_reasons(DISCONNECT_REASONS),
        properties=properties(PacketType.DISCONNECT),
    )


@st.composite
def _auths(draw: st.DrawFn) -> Auth:
    found = draw(properties(PacketType.AUTH).filter(lambda p: p.authentication_method is not None))
    reason = draw(
        st.sampled_from([ReasonCode.CONTINUE_AUTHENTICATION, ReasonCode.RE_AUTHENTICATE])
    )
    return draw(st.sampled_from([Auth(), Auth(ReasonCode.SUCCESS, found), Auth(reason, found)]))


_OF_TYPE: dict[PacketType, Callable[[Version], st.SearchStrategy[Any]]] = {
    PacketType.CONNECT: connects,
    PacketType.CONNACK: _connacks,
    PacketType.PUBLISH: publishes,
    PacketType.PUBACK: partial(_acknowledgements, Puback, PUBACK_REASONS),
    PacketType.PUBREC: partial(_acknowledgements, Pubrec, PUBACK_REASONS),
    PacketType.PUBREL: partial(_acknowledgements, Pubrel, PUBREL_REASONS),
    PacketType.PUBCOMP: partial(_acknowledgements, Pubcomp, PUBREL_REASONS),
    PacketType.SUBSCRIBE: _subscribes,
    PacketType.SUBACK: _subacks,
    PacketType.UNSUBSCRIBE: _unsubscribes,
    PacketType.UNSUBACK: _unsubacks,
    PacketType.PINGREQ: lambda _version: st.just(Pingreq()),
    PacketType.PINGRESP: lambda _version: st.just(Pingresp()),
    PacketType.DISCONNECT: _disconnects,
    PacketType.AUTH: lambda version: _auths() if version is Version.V5 else st.nothing(),
}


def packets_of(kind: PacketType, version: Version) -> st.SearchStrategy[Packet]:
    """Packets of one type; none for AUTH in 3.1.1."""
    return _OF_TYPE[kind](version)


def packets(version: Version) -> st.SearchStrategy[Packet]:
    """Packets of every type."""
    return st.one_of([packets_of(kind, version) for kind in PacketType])
