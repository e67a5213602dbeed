"""Whose turn it is in an enhanced authentication."""

from __future__ import annotations

import pytest

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.client_authentication import Authentication
from porttunnel.mqtt.packet import Auth
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode

OURS = Properties(authentication_method="SCRAM")
CHALLENGE = Auth(ReasonCode.CONTINUE_AUTHENTICATION, OURS)


def next_packet(
    authentication: Authentication, properties: Properties, *, connected: bool
) -> Auth:
    return authentication.next_packet(properties, connected=connected, max_packet_bytes=100)


@pytest.mark.mqtt5("4.12.0-3", "4.12.0-5")
def test_each_challenge_has_one_answer() -> None:
    authentication = Authentication("SCRAM")
    authentication.receive(CHALLENGE, connected=False)
    answer = next_packet(authentication, Properties(authentication_data=b"x"), connected=False)
    assert answer == Auth(
        ReasonCode.CONTINUE_AUTHENTICATION,
        Properties(authentication_method="SCRAM", authentication_data=b"x"),
    )
    with pytest.raises(LocalProtocolError, match="awaits no"):
        next_packet(authentication, EMPTY, connected=False)


@pytest.mark.mqtt5("4.12.1-1")
def test_a_connected_client_may_begin_anew() -> None:
    authentication = Authentication("SCRAM")
    assert next_packet(authentication, EMPTY, connected=True) == Auth(
        ReasonCode.RE_AUTHENTICATE, OURS
    )
    authentication.receive(CHALLENGE, connected=True)
    assert next_packet(authentication, EMPTY, connected=True).reason == CHALLENGE.reason
    authentication.receive(Auth(ReasonCode.SUCCESS, OURS), connected=True)
    again = next_packet(authentication, EMPTY, connected=True)
    assert again.reason is ReasonCode.RE_AUTHENTICATE


@pytest.mark.mqtt5("4.12.0-7")
def test_without_a_method_there_is_none() -> None:
    authentication = Authentication(None)
    with pytest.raises(LocalProtocolError):
        next_packet(authentication, EMPTY, connected=True)
    with pytest.raises(MqttError, match="another authentication"):
        authentication.receive(CHALLENGE, connected=True)


def test_another_method_breaks_the_protocol() -> None:
    with pytest.raises(MqttError, match="another authentication") as caught:
        Authentication("PLAIN").receive(CHALLENGE, connected=True)
    assert caught.value.reason == ReasonCode.PROTOCOL_ERROR


@pytest.mark.mqtt5("3.15.2-2", "3.15.2-3", "3.2.2-15")
@pytest.mark.parametrize(
    "more",
    [
        Properties(reason_string="x" * 90),
        Properties(user_properties=(("a", "x" * 90),)),
        Properties(authentication_data=bytes(90)),
    ],
)
def test_what_is_too_large_for_the_broker_is_not_sent(more: Properties) -> None:
    authentication = Authentication("SCRAM")
    authentication.receive(CHALLENGE, connected=False)
    with pytest.raises(LocalProtocolError, match="takes 100 bytes"):
        next_packet(authentication, more, connected=False)
    assert next_packet(authentication, EMPTY, connected=False) == CHALLENGE


def test_success_is_told_by_connack() -> None:
    with pytest.raises(MqttError, match="without CONNACK"):
        Authentication("SCRAM").receive(Auth(ReasonCode.SUCCESS, OURS), connected=False)


def test_a_new_connection_begins_from_the_beginning() -> None:
    authentication = Authentication("SCRAM")
    authentication.receive(CHALLENGE, connected=False)
    authentication.begin()
    with pytest.raises(LocalProtocolError):
        next_packet(authentication, EMPTY, connected=False)
