"""The bytes of properties."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import LocalProtocolError
from porttunnel.mqtt.packet import PacketType
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.property_codec import WILL, decode_properties, encode_properties
from tests.mqtt.outcome import attempt, refusal
from tests.mqtt.strategies import PLACES, properties

PUBLISH = PacketType.PUBLISH

# Table 2-4 by hand: identifier, field, a value and its bytes.
TABLE: list[tuple[int, str, Any, bytes]] = [
    (1, "payload_format_indicator", True, b"\1"),
    (2, "message_expiry_interval", 1, b"\0\0\0\1"),
    (3, "content_type", "a", b"\0\1a"),
    (8, "response_topic", "a", b"\0\1a"),
    (9, "correlation_data", b"\xff", b"\0\1\xff"),
    (11, "subscription_identifiers", (200,), b"\xc8\1"),
    (17, "session_expiry_interval", 0xFFFFFFFF, b"\xff\xff\xff\xff"),
    (18, "assigned_client_identifier", "a", b"\0\1a"),
    (19, "server_keep_alive", 0, b"\0\0"),
    (21, "authentication_method", "a", b"\0\1a"),
    (22, "authentication_data", b"\0", b"\0\1\0"),
    (23, "request_problem_information", False, b"\0"),
    (24, "will_delay_interval", 5, b"\0\0\0\5"),
    (25, "request_response_information", True, b"\1"),
    (26, "response_information", "", b"\0\0"),
    (28, "server_reference", "a", b"\0\1a"),
    (31, "reason_string", "a", b"\0\1a"),
    (33, "receive_maximum", 1, b"\0\1"),
    (34, "topic_alias_maximum", 0, b"\0\0"),
    (35, "topic_alias", 0xFFFF, b"\xff\xff"),
    (36, "maximum_qos", 1, b"\1"),
    (37, "retain_available", False, b"\0"),
    (38, "user_properties", (("a", "b"),), b"\0\1a\0\1b"),
    (39, "maximum_packet_size", 1, b"\0\0\0\1"),
    (40, "wildcard_subscription_available", True, b"\1"),
    (41, "subscription_identifiers_available", False, b"\0"),
    (42, "shared_subscription_available", True, b"\1"),
]
METHOD = b"\x15\0\1m"


def may_have(place: int, name: str) -> bool:
    """Whether the place may have the property, by the norm's tables in the strategies."""
    if name.startswith("authentication"):
        return place in (PacketType.CONNECT, PacketType.CONNACK, PacketType.AUTH)
    return name == "user_properties" or name in PLACES[place]


def refused(data: bytes, place: int) -> int:
    """The reason code with which it is refused."""
    return refusal(decode_properties, data, place)


def test_the_table_is_whole() -> None:
    assert [name for _, name, _, _ in TABLE] == list(msgspec.structs.asdict(EMPTY))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("identifier", "name", "value", "encoded"), TABLE)
def test_a_property_stands_where_it_may(
    place: int, identifier: int, name: str, value: Any, encoded: bytes
) -> None:
    data = bytes((identifier,)) + encoded
    made = Properties(**{name: value})
    if name == "authentication_data":
        data = METHOD + data
        made = msgspec.structs.replace(made, authentication_method="m")
    if may_have(place, name):
        assert decode_properties(data, place) == made
        assert encode_properties(made, place) == data
    else:
        assert refused(data, place) == 0x81
        with pytest.raises(LocalProtocolError, match="can't have the property"):
            encode_properties(made, place)


@pytest.mark.parametrize(("identifier", "name", "value", "encoded"), TABLE)
def test_a_property_stands_once_apart_from_those_that_may_repeat(
    identifier: int, name: str, value: Any, encoded: bytes
) -> None:
    once = bytes((identifier,)) + encoded
    for place in PLACES:
        if not may_have(place, name):
            continue
        data = METHOD * (name == "authentication_data") + once * 2
        if name == "user_properties" or (name, place) == ("subscription_identifiers", PUBLISH):
            assert getattr(decode_properties(data, place), name) == value * 2
        else:
            assert refused(data, place) == 0x82


@pytest.mark.parametrize("place", PLACES)
def test_what_was_encoded_is_decoded(place: int) -> None:
    @given(properties(place))
    def check(made: Properties) -> None:
        encoded = encode_properties(made, place)
        assert decode_properties(encoded, place) == made
        assert decode_properties(memoryview(encoded), place) == made
        # None of its beginnings is read beyond its end.
        for count in range(len(encoded)):
            shorter, reason = attempt(decode_properties, encoded[:count], place)
            assert reason in (None, 0x81)
            assert reason or encode_properties(shorter, place) == encoded[:count]

    check()


@pytest.mark.mqtt5("3.3.2-18")
def test_user_properties_keep_their_order() -> None:
    pairs = (("b", "1"), ("a", "2"), ("b", "1"), ("", ""))
    made = Properties(user_properties=pairs)
    assert decode_properties(encode_properties(made, PUBLISH), PUBLISH).user_properties == pairs


def test_properties_come_in_any_order() -> None:
    data = b"\x23\0\5" + b"\x26\0\1a\0\1b" + b"\x0b\7" + b"\x02\0\0\0\1" + b"\x0b\1"
    assert decode_properties(data, PUBLISH) == Properties(
        topic_alias=5,
        user_properties=(("a", "b"),),
        subscription_identifiers=(7, 1),
        message_expiry_interval=1,
    )


def test_there_may_be_many_user_properties() -> None:
    data = b"\x26\0\0\0\0" * 50_000
    assert len(decode_properties(data, PUBLISH).user_properties) == 50_000


def test_none_are_the_shared_ones() -> None:
    assert decode_properties(b"", PUBLISH) is EMPTY
    assert encode_properties(EMPTY, PUBLISH) == b""
    assert encode_properties(Properties(), PUBLISH) == b""


@pytest.mark.parametrize("identifier", [0, 4, 10, 43, 127, 128, 255])
def test_an_identifier_that_there_is_not_is_malformed(identifier: int) -> None:
    for place in PLACES:
        assert refused(bytes((identifier, 0)), place) == 0x81


@pytest.mark.parametrize(
    ("place", "data", "reason"),
    [
        pytest.param(PUBLISH, b"\x01\2", 0x82, id="a flag of 2"),
        pytest.param(PUBLISH, b"\x0b\0", 0x82, id="subscription identifier 0"),
        pytest.param(PUBLISH, b"\x0b\x80\0", 0x81, id="a subscription identifier too long"),
        pytest.param(PacketType.CONNECT, b"\x21\0\0", 0x82, id="receive maximum 0"),
        pytest.param(PacketType.CONNECT, b"\x27\0\0\0\0", 0x82, id="maximum packet size 0"),
        pytest.param(PacketType.CONNECT, b"\x16\0\0", 0x82, id="data without a method"),
        pytest.param(PacketType.CONNACK, b"\x24\2", 0x82, id="maximum QoS 2"),
        pytest.param(PacketType.CONNACK, b"\x25\xff", 0x82, id="retain available 255"),
        pytest.param(PacketType.CONNACK, b"\x1f\0\1\xff", 0x81, id="no UTF-8"),
    ],
)
def test_a_value_is_one_that_it_may_have(place: int, data: bytes, reason: int) -> None:
    assert refused(data, place) == reason


@pytest.mark.mqtt5("3.3.2-8")
def test_a_topic_alias_is_not_0() -> None:
    assert refused(b"\x23\0\0", PUBLISH) == 0x94


@pytest.mark.mqtt5("3.3.2-13", "3.3.2-14")
@pytest.mark.parametrize(("raw", "reason"), [(b"a/#", 0x82), (b"+", 0x82), (b"\xff", 0x81)])
def test_a_response_topic_is_a_topic_name(raw: bytes, reason: int) -> None:
    for place in (PUBLISH, WILL):
        assert refused(b"\x08\0" + bytes((len(raw),)) + raw, place) == reason


@pytest.mark.mqtt5("1.5.7-1")
@pytest.mark.parametrize("pair", [b"\0\1\xff\0\0", b"\0\0\0\1\xff", b"\0\1\0\0\0", b"\0\0\0\1\0"])
def test_both_strings_of_a_pair_are_strings(pair: bytes) -> None:
    assert refused(b"\x26" + pair, PUBLISH) == 0x81


@pytest.mark.mqtt5("3.3.2-19")
def test_a_content_type_is_a_string() -> None:
    assert refused(b"\x03\0\1\xff", PUBLISH) == 0x81


@pytest.mark.parametrize(
    ("place", "made"),
    [
        (PacketType.SUBSCRIBE, Properties(subscription_identifiers=(1, 2))),
        (PUBLISH, Properties(subscription_identifiers=(0,))),
        (PUBLISH, Properties(topic_alias=0)),
        (PUBLISH, Properties(topic_alias=0x10000)),
        (PUBLISH, Properties(message_expiry_interval=-1)),
        (PUBLISH, Properties(response_topic="a/+")),
        (PUBLISH, Properties(user_properties=(("a\0", "b"),))),
        (PacketType.CONNECT, Properties(receive_maximum=0)),
        (PacketType.CONNECT, Properties(authentication_data=b"x")),
        (PacketType.CONNACK, Properties(maximum_qos=2)),
    ],
)
def test_what_may_not_be_sent_is_our_own_mistake(place: int, made: Properties) -> None:
    with pytest.raises(LocalProtocolError):
        encode_properties(made, place)


@given(st.sampled_from(sorted(PLACES)), st.binary(max_size=40))
def test_any_bytes_are_properties_or_refused(place: int, data: bytes) -> None:
    found, reason = attempt(decode_properties, data, place)
    assert reason in (None, 0x81, 0x82, 0x94)
    assert reason or decode_properties(encode_properties(found, place), place) == found
