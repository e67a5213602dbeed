"""Why something succeeded, failed or ended: the reason codes of MQTT 5, the codes of MQTT 3.1.1.

Source: MQTT 5.0, section 2.4; MQTT 3.1.1, table 3.1.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "AUTH_REASONS",
    "CONNACK_REASONS",
    "DISCONNECT_REASONS",
    "DISCONNECT_REASONS_OF_CLIENT",
    "PUBACK_REASONS",
    "PUBREL_REASONS",
    "SUBACK_REASONS",
    "UNSUBACK_REASONS",
    "ConnectReturnCode",
    "ReasonCode",
    "connect_return_code",
    "reason_of_return_code",
    "suback_return_code",
]

_FIRST_FAILURE = 0x80  # a code below it tells of success


class ReasonCode(IntEnum):
    """All reason codes of MQTT 5. 0x80 and above tell of a failure.

    The number 0 has three names, one for each place where it stands.
    """

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

    @property
    def is_failure(self) -> bool:
        """Whether what was asked for did not happen, or the connection ended for a fault."""
        return self >= _FIRST_FAILURE


_BOTH_SAY = {  # what the server as well as the client may find
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.MALFORMED_PACKET,
    ReasonCode.PROTOCOL_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.PACKET_TOO_LARGE,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
}
_OTHER_SERVER = {ReasonCode.USE_ANOTHER_SERVER, ReasonCode.SERVER_MOVED}
_NOT_HERE = {ReasonCode.RETAIN_NOT_SUPPORTED, ReasonCode.QOS_NOT_SUPPORTED}

# Which codes each packet may carry: the tables of sections 3.2 to 3.15.
CONNACK_REASONS = frozenset(  # [MQTT-3.2.2-8]
    {
        ReasonCode.SUCCESS,
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        ReasonCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.SERVER_UNAVAILABLE,
        ReasonCode.SERVER_BUSY,
        ReasonCode.BANNED,
        ReasonCode.BAD_AUTHENTICATION_METHOD,
        ReasonCode.CONNECTION_RATE_EXCEEDED,
    }
    | _BOTH_SAY
    | _OTHER_SERVER
    | _NOT_HERE
)
PUBACK_REASONS = frozenset(  # and of PUBREC [MQTT-3.4.2-1] [MQTT-3.5.2-1]
    {
        ReasonCode.SUCCESS,
        ReasonCode.NO_MATCHING_SUBSCRIBERS,
        ReasonCode.UNSPECIFIED_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.PACKET_IDENTIFIER_IN_USE,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    }
)
PUBREL_REASONS = frozenset(  # and of PUBCOMP [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    {ReasonCode.SUCCESS, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND}
)
UNSUBACK_REASONS = frozenset(  # [MQTT-3.11.3-2]
    {
        ReasonCode.SUCCESS,
        ReasonCode.NO_SUBSCRIPTION_EXISTED,
        ReasonCode.UNSPECIFIED_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.TOPIC_FILTER_INVALID,
        ReasonCode.PACKET_IDENTIFIER_IN_USE,
    }
)
SUBACK_REASONS = UNSUBACK_REASONS - {ReasonCode.NO_SUBSCRIPTION_EXISTED} | {  # [MQTT-3.9.3-2]
    ReasonCode.GRANTED_QOS_1,
    ReasonCode.GRANTED_QOS_2,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
}
DISCONNECT_REASONS_OF_CLIENT = frozenset(  # [MQTT-3.14.2-1]
    {
        ReasonCode.NORMAL_DISCONNECTION,
        ReasonCode.DISCONNECT_WITH_WILL_MESSAGE,
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode.TOPIC_ALIAS_INVALID,
        ReasonCode.MESSAGE_RATE_TOO_HIGH,
        ReasonCode.ADMINISTRATIVE_ACTION,
    }
    | _BOTH_SAY
)
DISCONNECT_REASONS = DISCONNECT_REASONS_OF_CLIENT | {
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.SERVER_BUSY,
    ReasonCode.SERVER_SHUTTING_DOWN,
    ReasonCode.BAD_AUTHENTICATION_METHOD,  # only section 2.4 has it
    ReasonCode.KEEP_ALIVE_TIMEOUT,
    ReasonCode.SESSION_TAKEN_OVER,
    ReasonCode.TOPIC_FILTER_INVALID,
    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    ReasonCode.CONNECTION_RATE_EXCEEDED,
    ReasonCode.MAXIMUM_CONNECT_TIME,
    ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
    *_OTHER_SERVER,
    *_NOT_HERE,
}
AUTH_REASONS = frozenset(  # [MQTT-3.15.2-1]
    {ReasonCode.SUCCESS, ReasonCode.CONTINUE_AUTHENTICATION, ReasonCode.RE_AUTHENTICATE}
)


class ConnectReturnCode(IntEnum):
    """What a CONNACK of MQTT 3.1.1 can say."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL_VERSION = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USER_NAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


_REASONS = {
    ConnectReturnCode.ACCEPTED: ReasonCode.SUCCESS,
    ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ConnectReturnCode.IDENTIFIER_REJECTED: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    ConnectReturnCode.SERVER_UNAVAILABLE: ReasonCode.SERVER_UNAVAILABLE,
    ConnectReturnCode.BAD_USER_NAME_OR_PASSWORD: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ConnectReturnCode.NOT_AUTHORIZED: ReasonCode.NOT_AUTHORIZED,
}
_RETURN_CODES = {reason: code for code, reason in _REASONS.items()} | {
    ReasonCode.SERVER_BUSY: ConnectReturnCode.SERVER_UNAVAILABLE,
    ReasonCode.SERVER_SHUTTING_DOWN: ConnectReturnCode.SERVER_UNAVAILABLE,
    ReasonCode.QUOTA_EXCEEDED: ConnectReturnCode.SERVER_UNAVAILABLE,
    ReasonCode.USE_ANOTHER_SERVER: ConnectReturnCode.SERVER_UNAVAILABLE,
    ReasonCode.SERVER_MOVED: ConnectReturnCode.SERVER_UNAVAILABLE,
    ReasonCode.CONNECTION_RATE_EXCEEDED: ConnectReturnCode.SERVER_UNAVAILABLE,
    ReasonCode.BANNED: ConnectReturnCode.NOT_AUTHORIZED,
    ReasonCode.BAD_AUTHENTICATION_METHOD: ConnectReturnCode.NOT_AUTHORIZED,
}


def connect_return_code(reason: ReasonCode) -> ConnectReturnCode | None:
    """How a CONNACK of MQTT 3.1.1 says this, or None.

    None: no code fits, and the connection is closed without a CONNACK [MQTT-3.2.2-6 of 3.1.1].
    """
    return _RETURN_CODES.get(reason)


def reason_of_return_code(code: ConnectReturnCode) -> ReasonCode:
    """The reason code that means the same as a return code of MQTT 3.1.1."""
    return _REASONS[code]


def suback_return_code(reason: ReasonCode) -> ReasonCode:
    """How a SUBACK of MQTT 3.1.1 says this: the granted QoS, or 0x80 for every failure."""
    return ReasonCode.UNSPECIFIED_ERROR if reason.is_failure else reason
