"""The properties of MQTT 5: one type for those of all packets and of the will.

Which of them a packet may carry, and what values they may have, is checked where they are encoded
and decoded (``property_codec``). Source: MQTT 5.0, section 2.2.2.
"""

from __future__ import annotations

import msgspec

__all__ = ["EMPTY", "Properties"]

# What people say to each other, or prove with: shown by its length only.
_HIDDEN = frozenset({"authentication_data", "correlation_data"})


class Properties(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a packet or of a will; what is None, or an empty tuple, is not there.

    Names are those of the norm. A property that is there with its default value (a session expiry
    interval of 0) is another thing than one that is not there, though it means the same.
    ``msgspec.structs.replace(properties, topic_alias=None)`` makes a changed copy.

    :param payload_format_indicator: whether the payload is UTF-8 (False: unspecified bytes).
    :param message_expiry_interval: seconds, 0 to 0xFFFFFFFF.
    :param content_type: what the payload is, for whoever receives it.
    :param response_topic: where an answer is to be published; never with wildcards.
    :param correlation_data: what an answer is to repeat, at most 65,535 bytes; not in the repr.
    :param subscription_identifiers: 1 to 268,435,455 each; several only in PUBLISH.
    :param session_expiry_interval: seconds after the end of the connection; 0xFFFFFFFF: never.
    :param assigned_client_identifier: which the server chose.
    :param server_keep_alive: seconds, 0 to 0xFFFF; 0: off.
    :param authentication_method: the name of an enhanced authentication.
    :param authentication_data: its data, at most 65,535 bytes; not in the repr.
    :param request_problem_information: whether reason strings and user properties are wanted in
        other packets than PUBLISH, CONNACK and DISCONNECT.
    :param will_delay_interval: seconds, 0 to 0xFFFFFFFF.
    :param request_response_information: whether CONNACK may carry the response information.
    :param response_information: from which a client makes its response topics.
    :param server_reference: another server to use.
    :param reason_string: for people who look for a fault.
    :param receive_maximum: how many QoS 1 and 2 messages may be under way to the sender of this,
        1 to 0xFFFF.
    :param topic_alias_maximum: the highest alias that the sender of this takes; 0: none.
    :param topic_alias: 1 to 0xFFFF.
    :param maximum_qos: 0 or 1; 2 is said by leaving it out.
    :param retain_available: whether the server has retained messages.
    :param user_properties: (name, value) pairs in their order; names may repeat.
    :param maximum_packet_size: bytes of a whole packet, 1 to 0xFFFFFFFF.
    :param wildcard_subscription_available: whether filters may have wildcards.
    :param subscription_identifiers_available: whether SUBSCRIBE may carry an identifier.
    :param shared_subscription_available: whether there are shared subscriptions.
    """

    payload_format_indicator: bool | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifiers: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: bool | None = None
    will_delay_interval: int | None = None
    request_response_information: bool | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: bool | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: bool | None = None
    subscription_identifiers_available: bool | None = None
    shared_subscription_available: bool | None = None

    def __repr__(self) -> str:
        there = (
            (name, value)
            for name in self.__struct_fields__
            if (value := getattr(self, name)) not in (None, ())
        )
        shown = (
            f"{name}=<{len(value)} bytes>" if name in _HIDDEN else f"{name}={value!r}"
            for name, value in there
        )
        return f"Properties({', '.join(shown)})"


EMPTY = Properties()  # shared: most packets have none
