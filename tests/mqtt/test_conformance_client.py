"""The client, statement by statement; only what no test of a module shows.

docs/mqtt-conformance.md has all.
"""

from __future__ import annotations

import pytest

from porttunnel.errors import LocalProtocolError, MqttError
from porttunnel.mqtt.client import ClientState
from porttunnel.mqtt.client_event import ConnectionFailed, MessageReceived, PublishFinished
from porttunnel.mqtt.packet import (
    Auth,
    Connack,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Version,
)
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from tests.mqtt.scripted_broker import ScriptedBroker

V3, V5 = Version.V3_1_1, Version.V5
BOTH = pytest.mark.parametrize("version", Version)


@pytest.mark.mqtt5("3.3.4-7", "3.3.4-8", "4.9.0-2", "4.9.0-3")
def test_only_messages_wait_for_the_brokers_quota() -> None:
    broker = ScriptedBroker(keep_alive_seconds=60)
    broker.accept(receive_maximum=1)
    for _ in range(2):
        broker.client.publish("a", b"x", qos=1)
    assert broker.sent() == [Publish("a", b"x", 1, packet_id=1)]
    broker.client.subscribe([Subscription("b")])
    broker.client.unsubscribe(["c"])
    assert broker.sent() == [Subscribe(2, (Subscription("b"),)), Unsubscribe(3, ("c",))]
    broker.send(Publish("b", b"", 1, packet_id=5), Publish("b", b"", 2, packet_id=6))
    for message in broker.happened(MessageReceived):
        broker.client.finish(message.delivery)
    broker.send(Pubrel(6))
    assert broker.sent() == [Puback(5), Pubrec(6), Pubcomp(6)]
    broker.wait(50)
    assert broker.sent() == [Pingreq()]
    broker.send(Pingresp(), Puback(1))
    assert broker.sent() == [Publish("a", b"x", 1, packet_id=4)]


@pytest.mark.mqtt5("4.6.0-4")
@pytest.mark.mqtt3("4.6.0-4")
@BOTH
def test_releases_come_in_the_order_of_the_receipts(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.accept()
    for _ in range(4):
        broker.client.publish("a", b"x", qos=2)
    assert len(broker.sent()) == 4
    broker.send(Pubrec(3), Pubrec(1))
    broker.send(Pubrec(4), Pubrec(2))
    assert broker.sent() == [Pubrel(3), Pubrel(1), Pubrel(4), Pubrel(2)]


@pytest.mark.mqtt5("4.6.0-2", "4.6.0-3", "4.5.0-2")
@pytest.mark.mqtt3("4.6.0-2", "4.6.0-3", "4.5.0-2")
@BOTH
def test_acknowledgements_come_in_the_order_of_the_messages(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.accept()
    kinds = (1, 2, 2, 1)
    broker.send(*(Publish("a", b"", qos, packet_id=n) for n, qos in enumerate(kinds, 1)))
    for message in reversed(broker.happened(MessageReceived)):
        broker.client.finish(message.delivery)
    assert broker.sent() == [Puback(1), Pubrec(2), Pubrec(3), Puback(4)]


@pytest.mark.mqtt5("3.14.4-1", "3.14.4-2")
@pytest.mark.mqtt3("3.14.4-1", "3.14.4-2")
@BOTH
def test_a_goodbye_is_the_last_packet_and_the_end(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.accept()
    broker.client.disconnect()
    broker.client.publish("a", b"x")
    broker.client.subscribe([Subscription("b")])
    broker.send(Publish("a", b"", 1, packet_id=1))
    assert broker.sent() == [Disconnect()]
    assert broker.client.state is ClientState.CLOSING
    assert broker.client.next_deadline() is None


@pytest.mark.mqtt5("3.1.0-1", "3.1.2-30")
@pytest.mark.mqtt3("3.1.0-1")
@BOTH
def test_nothing_is_sent_before_connack_but_connect(version: Version) -> None:
    broker = ScriptedBroker(version=version, authentication_method="m", keep_alive_seconds=1)
    broker.client.publish("a", b"x", qos=1)
    broker.client.subscribe([Subscription("b")])
    broker.connect()
    broker.wait(10)
    assert broker.sent() == []


@pytest.mark.mqtt5("4.3.2-2", "4.3.2-3", "4.4.0-1", "3.3.1-1")
@pytest.mark.mqtt3("4.3.2-1", "4.4.0-1", "3.3.1-1", "2.3.1-2", "2.3.1-3")
@BOTH
def test_a_message_has_its_identifier_until_it_is_acknowledged(version: Version) -> None:
    broker = ScriptedBroker(
        version=version, client_id="c", clean_start=version is V5, session_expiry_seconds=60
    )
    broker.accept()
    broker.client.publish("a", b"1", qos=1)
    assert broker.sent() == [Publish("a", b"1", 1, packet_id=1)]
    broker.wait(10)
    assert not [packet for packet in broker.sent() if isinstance(packet, Publish)]
    broker.cut()
    assert broker.accept(session_present=True) == [
        Publish("a", b"1", 1, dup=True, packet_id=1),
    ]
    broker.client.publish("a", b"2", qos=1)
    assert broker.sent() == [Publish("a", b"2", 1, packet_id=2)]
    broker.send(Puback(1), Puback(2))
    assert len(broker.happened(PublishFinished)) == 2


@pytest.mark.mqtt5("3.2.2-17", "3.2.2-18", "3.3.2-9")
@pytest.mark.parametrize("maximum", [None, 0, 1])
def test_no_more_aliases_than_the_broker_takes(maximum: int | None) -> None:
    broker = ScriptedBroker()
    broker.accept(topic_alias_maximum=maximum)
    for topic in ("a/long/topic", "b/long/topic"):
        broker.client.publish(topic, b"")
    aliases = [p.properties.topic_alias for p in broker.sent() if isinstance(p, Publish)]
    assert aliases == [1 if maximum else None, None]


@pytest.mark.mqtt5("3.3.2-10")
def test_every_alias_up_to_our_maximum_is_taken() -> None:
    broker = ScriptedBroker(topic_alias_maximum=3)
    broker.accept()
    for alias in (1, 2, 3):
        said = Properties(topic_alias=alias)
        broker.send(Publish(str(alias), b"", properties=said), Publish("", b"", properties=said))
    topics = [message.topic for message in broker.happened(MessageReceived)]
    assert topics == ["1", "1", "2", "2", "3", "3"]


@pytest.mark.mqtt5("3.2.2-7", "4.13.2-1")
@pytest.mark.mqtt3("3.2.2-5")
@BOTH
def test_a_refusal_is_the_end(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.client.publish("a", b"")
    broker.connect()
    broker.send(Connack(False, ReasonCode.SERVER_UNAVAILABLE), Publish("a", b""))
    assert broker.client.state is ClientState.CLOSING
    assert broker.sent() == []
    assert broker.happened(MessageReceived) == []


@pytest.mark.mqtt3("3.1.3-7")
def test_in_3_1_1_no_session_is_kept_without_a_client_id() -> None:
    with pytest.raises(LocalProtocolError, match="client id"):
        ScriptedBroker(version=V3, clean_start=False)


@pytest.mark.mqtt3("3.1.2-22")
def test_in_3_1_1_no_password_without_a_user_name() -> None:
    with pytest.raises(LocalProtocolError, match="user name"):
        ScriptedBroker(version=V3, password=b"x")


@pytest.mark.mqtt5("4.12.0-5", "4.12.0-6", "4.12.0-7")
@pytest.mark.parametrize("ours", [None, "m"])
def test_auth_of_another_method_breaks_the_protocol(ours: str | None) -> None:
    broker = ScriptedBroker(authentication_method=ours)
    broker.connect()
    other = Properties(authentication_method="n")
    broker.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, other))
    (failed,) = broker.happened(ConnectionFailed)
    assert isinstance(failed.error, MqttError)
    assert broker.sent() == []
    with pytest.raises(LocalProtocolError):
        broker.client.authenticate(Properties())


@pytest.mark.mqtt5("3.8.4-6", "3.9.3-1", "3.11.3-1")
@pytest.mark.mqtt3("3.8.4-5", "3.9.3-1")
@BOTH
def test_answers_that_do_not_fit_break_the_protocol(version: Version) -> None:
    wrong = [Suback(1, (ReasonCode.GRANTED_QOS_0,)), Unsuback(1, (ReasonCode.SUCCESS,) * 2)]
    for answer in wrong:
        broker = ScriptedBroker(version=version)
        broker.accept()
        broker.client.subscribe([Subscription("a"), Subscription("b")])
        broker.sent()
        broker.send(answer)
        assert len(broker.happened(ConnectionFailed)) == 1
        assert broker.client.state is ClientState.CLOSING
