"""The control packets of MQTT 5 and 3.1.1 as values; ``encode`` and ``decode`` know their bytes.

One type for both versions: what 3.1.1 has no field for is empty when it was decoded, and left out
when it is encoded. Source: MQTT 5.0 and MQTT 3.1.1, sections 2 and 3.

``msgspec.Struct`` instead of dataclasses, because a frozen dataclass costs ten times as much to
make; ``msgspec.structs.replace(packet, dup=True)`` makes a changed copy.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

import msgspec

from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode

__all__ = [
    "Auth",
    "Connack",
    "Connect",
    "Disconnect",
    "Packet",
    "PacketType",
    "Pingreq",
    "Pingresp",
    "Puback",
    "Pubcomp",
    "Publish",
    "Pubrec",
    "Pubrel",
    "RetainHandling",
    "Suback",
    "Subscribe",
    "Subscription",
    "Unsuback",
    "Unsubscribe",
    "Version",
    "Will",
]

# What people say to each other, or prove with: shown by its length, or not at all.
_SIZED = frozenset({"payload"})
_SECRET = frozenset({"password"})


class Version(IntEnum):
    """The protocol level that stands in CONNECT."""

    V3_1_1 = 4
    V5 = 5


class PacketType(IntEnum):
    """The upper four bits of a packet's first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class RetainHandling(IntEnum):
    """Which retained messages a new subscription brings (MQTT 5)."""

    SEND = 0
    SEND_IF_NEW = 1
    DO_NOT_SEND = 2


class _Value(msgspec.Struct, frozen=True):
    def __repr__(self) -> str:
        shown = (f"{name}={self._show(name)}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _show(self, name: str) -> str:
        value = getattr(self, name)
        if value is not None and name in _SECRET:
            return "<secret>"
        return f"<{len(value)} bytes>" if name in _SIZED else repr(value)


class Will(_Value, frozen=True):
    """What the server publishes for a client that went without a goodbye.

    :param payload: at most 65,535 bytes; not in the repr.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = EMPTY


class Connect(_Value, frozen=True):
    """A client's first packet.

    :param client_id: may be empty: then the server chooses one (3.1.1: only with a clean start).
    :param clean_start: forget what is kept of an earlier session (3.1.1: "clean session", and
        keep nothing of this one).
    :param keep_alive_seconds: 0 to 0xFFFF; 0: off.
    :param password: at most 65,535 bytes; not in the repr. 3.1.1: only with a user name.
    """

    kind: ClassVar = PacketType.CONNECT
    version: Version
    client_id: str
    clean_start: bool = True
    keep_alive_seconds: int = 0
    user_name: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = EMPTY


class Connack(_Value, frozen=True):
    """The server's answer to CONNECT.

    :param reason: in both versions a reason code; 3.1.1's return codes are translated
        (``reason.connect_return_code`` says which of them has one).
    """

    kind: ClassVar = PacketType.CONNACK
    session_present: bool
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = EMPTY


class Publish(_Value, frozen=True):
    """A message.

    :param topic: without wildcards; empty only with a topic alias.
    :param payload: from ``decode`` a view of the body, valid as long as that; not in the repr.
    :param qos: 0, 1 or 2.
    :param packet_id: 1 to 0xFFFF with QoS 1 and 2, None with QoS 0.
    """

    kind: ClassVar = PacketType.PUBLISH
    topic: str
    payload: bytes | memoryview
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None
    properties: Properties = EMPTY


class Puback(_Value, frozen=True):
    """A QoS 1 message has come."""

    kind: ClassVar = PacketType.PUBACK
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = EMPTY


class Pubrec(_Value, frozen=True):
    """A QoS 2 message has come."""

    kind: ClassVar = PacketType.PUBREC
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = EMPTY


class Pubrel(_Value, frozen=True):
    """A QoS 2 message's number can be forgotten."""

    kind: ClassVar = PacketType.PUBREL
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = EMPTY


class Pubcomp(_Value, frozen=True):
    """A QoS 2 message's number is forgotten."""

    kind: ClassVar = PacketType.PUBCOMP
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = EMPTY


class Subscription(_Value, frozen=True):
    """One filter of SUBSCRIBE with its options; 3.1.1 knows only ``qos``.

    :param filter: not yet checked for the places of its wildcards.
    :param qos: the highest that is wanted.
    """

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: RetainHandling = RetainHandling.SEND


class Subscribe(_Value, frozen=True):
    """Send messages of these filters from now on."""

    kind: ClassVar = PacketType.SUBSCRIBE
    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = EMPTY


class Suback(_Value, frozen=True):
    """The answer to SUBSCRIBE: one reason for each filter, in its order.

    3.1.1 has one code for all failures, decoded as UNSPECIFIED_ERROR.
    """

    kind: ClassVar = PacketType.SUBACK
    packet_id: int
    reasons: tuple[ReasonCode, ...]
    properties: Properties = EMPTY


class Unsubscribe(_Value, frozen=True):
    """Send no more messages of these filters."""

    kind: ClassVar = PacketType.UNSUBSCRIBE
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = EMPTY


class Unsuback(_Value, frozen=True):
    """The answer to UNSUBSCRIBE: one reason for each filter, in its order; in 3.1.1 none."""

    kind: ClassVar = PacketType.UNSUBACK
    packet_id: int
    reasons: tuple[ReasonCode, ...] = ()
    properties: Properties = EMPTY


class Pingreq(_Value, frozen=True):
    """Is the server there?"""

    kind: ClassVar = PacketType.PINGREQ


class Pingresp(_Value, frozen=True):
    """It is."""

    kind: ClassVar = PacketType.PINGRESP


class Disconnect(_Value, frozen=True):
    """The last packet of a connection; in 3.1.1 only the client's, without a reason."""

    kind: ClassVar = PacketType.DISCONNECT
    reason: ReasonCode = ReasonCode.NORMAL_DISCONNECTION
    properties: Properties = EMPTY


class Auth(_Value, frozen=True):
    """A step of an enhanced authentication (MQTT 5)."""

    kind: ClassVar = PacketType.AUTH
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = EMPTY


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
