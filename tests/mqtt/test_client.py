"""The client's core: connections, what outlives them, and what ends them."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import (
    BrokerRefused,
    ClientStopped,
    LinkBroken,
    LocalProtocolError,
    MqttError,
    QueueFull,
)
from porttunnel.mqtt import client
from porttunnel.mqtt.client import ClientState
from porttunnel.mqtt.client_event import (
    AuthenticationReceived,
    Connected,
    ConnectionFailed,
    ConnectionLost,
    ConnectionRefused,
    Disconnected,
    MessageReceived,
    PublishFinished,
    RequestFailed,
    SubscribeFinished,
    SubscriptionsRefused,
    UnsubscribeFinished,
)
from porttunnel.mqtt.client_keep_alive import PINGRESP_SECONDS
from porttunnel.mqtt.client_link import CONNACK_SECONDS
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
    Will,
)
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from tests.mqtt.scripted_broker import ScriptedBroker

GRANTED = (ReasonCode.GRANTED_QOS_1,)
BOTH = pytest.mark.parametrize("version", list(Version))


@BOTH
@pytest.mark.mqtt5("3.1.0-1")
@pytest.mark.mqtt3("3.1.0-1")
def test_connects(version: Version) -> None:
    broker = ScriptedBroker(version=version, client_id="ours")
    assert broker.client.state is ClientState.OFFLINE
    connect = broker.connect()
    assert (connect.version, connect.client_id, connect.clean_start) == (version, "ours", True)
    broker.send(Connack(False))
    assert broker.client.state is ClientState.CONNECTED
    assert broker.events == [Connected(False, "ours", EMPTY)]


def test_nothing_but_connect_is_sent_before_the_broker_took_us() -> None:
    broker = ScriptedBroker()
    broker.client.publish("a", b"")
    broker.client.subscribe([Subscription("b")])
    broker.connect()
    assert broker.sent() == []
    broker.send(Connack(False))
    assert broker.sent() == [
        Subscribe(1, (Subscription("b"),)),
        Publish("a", b""),
    ]


def test_a_second_connection_at_a_time_is_our_own_mistake() -> None:
    broker = ScriptedBroker()
    broker.connect()
    with pytest.raises(LocalProtocolError, match="already"):
        broker.client.connect(0.0)


def test_a_will_is_told() -> None:
    will = Will("gone", b"bye", 1, retain=True)
    assert ScriptedBroker(will=will).connect().will == will


@BOTH
def test_a_refused_connection(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.connect()
    broker.send(Connack(False, ReasonCode.NOT_AUTHORIZED))
    (refused,) = broker.happened(ConnectionRefused)
    assert isinstance(refused.error, BrokerRefused)
    assert refused.error.reason == ReasonCode.NOT_AUTHORIZED
    assert broker.client.state is ClientState.CLOSING
    broker.send(Pingresp())
    broker.cut()
    assert broker.events == []
    assert broker.client.state is ClientState.OFFLINE
    broker.cut()
    assert broker.events == []


@BOTH
def test_a_message_goes_out(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.accept()
    tokens = [broker.client.publish("a", memoryview(b"x"), qos=qos) for qos in range(3)]
    assert broker.sent() == [
        Publish("a", b"x"),
        Publish("a", b"x", 1, packet_id=1),
        Publish("a", b"x", 2, packet_id=2),
    ]
    assert not broker.client.is_idle
    broker.send(Pubrec(2), Puback(1))
    assert broker.sent() == [Pubrel(2)]
    broker.send(Pubcomp(2))
    finished = broker.happened(PublishFinished)
    assert [happened.token for happened in finished] == tokens
    assert broker.client.is_idle


def test_an_acknowledgement_of_nothing_means_nothing() -> None:
    broker = ScriptedBroker()
    broker.accept()
    broker.events.clear()
    broker.send(Puback(9))
    assert broker.events == []
    assert broker.sent() == []


@BOTH
def test_a_moderate_number_is_under_way(version: Version) -> None:
    broker = ScriptedBroker(version=version, max_inflight=2)
    broker.accept()
    for _ in range(3):
        broker.client.publish("a", b"", qos=1)
    assert len(broker.sent()) == 2
    broker.send(Puback(1))
    assert len(broker.sent()) == 1


def test_a_refused_message() -> None:
    broker = ScriptedBroker()
    broker.accept()
    token = broker.client.publish("a", b"", qos=1)
    broker.sent()
    broker.send(Puback(1, ReasonCode.QUOTA_EXCEEDED, Properties(reason_string="too much")))
    (failed,) = broker.happened(RequestFailed)
    assert failed.token == token
    assert "'too much'" in str(failed.error)


@BOTH
@pytest.mark.mqtt5("4.5.0-2", "3.3.4-1")
@pytest.mark.mqtt3("4.5.0-2", "3.3.4-1")
def test_messages_come(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.accept()
    broker.send(
        Publish("a", b"zero", retain=True),
        Publish("a", b"one", 1, packet_id=7, dup=True),
        Publish("a", b"two", 2, packet_id=8),
    )
    messages = broker.happened(MessageReceived)
    assert [(m.payload, m.qos, m.retain, m.duplicate) for m in messages] == [
        (b"zero", 0, True, False),
        (b"one", 1, False, True),
        (b"two", 2, False, False),
    ]
    assert broker.sent() == []
    for message in messages:
        broker.client.finish(message.delivery)
    assert broker.sent() == [Puback(7), Pubrec(8)]
    broker.send(Publish("a", b"two", 2, packet_id=8, dup=True))
    assert broker.sent() == [Pubrec(8)]
    broker.send(Pubrel(8))
    assert broker.sent() == [Pubcomp(8)]
    assert broker.happened(MessageReceived) == []


def test_bytes_may_arrive_one_by_one() -> None:
    broker = ScriptedBroker()
    broker.chunk = 1
    broker.accept()
    broker.send(Publish("topic", b"payload", 1, packet_id=7))
    (message,) = broker.happened(MessageReceived)
    assert (message.topic, message.payload) == ("topic", b"payload")


@pytest.mark.mqtt5("3.3.2-7", "3.3.2-10")
def test_the_broker_may_use_topic_aliases() -> None:
    broker = ScriptedBroker(topic_alias_maximum=2)
    assert broker.connect().properties.topic_alias_maximum == 2
    broker.send(Connack(False))
    alias = Properties(topic_alias=2)
    broker.send(Publish("long/topic", b"", properties=alias), Publish("", b"", properties=alias))
    assert [m.topic for m in broker.happened(MessageReceived)] == ["long/topic"] * 2
    broker.cut()
    broker.accept()
    broker.send(Publish("", b"", properties=alias))
    assert isinstance(broker.happened(ConnectionFailed)[0].error, MqttError)


@pytest.mark.mqtt5("3.2.2-17")
def test_so_do_we() -> None:
    broker = ScriptedBroker()
    broker.accept(topic_alias_maximum=5)
    for _ in range(2):
        broker.client.publish("long/topic", b"")
    topics = [packet.topic for packet in broker.sent() if isinstance(packet, Publish)]
    assert topics == ["long/topic", ""]


@pytest.mark.mqtt5("3.2.2-15")
def test_what_is_too_large_for_the_broker_fails_alone() -> None:
    broker = ScriptedBroker()
    broker.accept(maximum_packet_size=50)
    token = broker.client.publish("a", bytes(100))
    broker.client.publish("a", b"small")
    assert broker.sent() == [Publish("a", b"small")]
    (failed,) = broker.happened(RequestFailed)
    assert failed.token == token


def test_subscribes_and_unsubscribes() -> None:
    broker = ScriptedBroker()
    broker.accept()
    wanted = Subscription("$share/group/a/#", 1)
    identified = Properties(subscription_identifiers=(5,))
    subscribing = broker.client.subscribe([wanted], identified)
    unsubscribing = broker.client.unsubscribe(["b"])
    assert broker.sent() == [Subscribe(1, (wanted,), identified), Unsubscribe(2, ("b",))]
    broker.send(Suback(1, GRANTED), Unsuback(2, (ReasonCode.SUCCESS,)))
    assert broker.happened(SubscribeFinished) == [SubscribeFinished(subscribing, GRANTED, EMPTY)]
    assert broker.happened(UnsubscribeFinished)[0].token == unsubscribing


@pytest.mark.mqtt5("4.7.1-1", "4.8.2-1")
@pytest.mark.parametrize("text", ["", "a/#/b", "$share//a", "$share/group"])
def test_what_is_no_filter_is_refused_at_once(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="correct the filter"):
        ScriptedBroker().client.subscribe([Subscription(text)])


@BOTH
@pytest.mark.mqtt5("4.4.0-1", "3.1.2-23", "3.1.3-2")
@pytest.mark.mqtt3("4.4.0-1", "3.1.2-4", "3.1.3-2")
def test_a_session_goes_on_after_a_lost_connection(version: Version) -> None:
    broker = ScriptedBroker(
        version=version,
        client_id="ours",
        clean_start=version is Version.V5,
        session_expiry_seconds=60,
    )
    broker.accept()
    broker.client.subscribe([Subscription("s")])
    broker.sent()
    broker.send(Suback(1, GRANTED))
    tokens = [broker.client.publish("a", b"1", qos=1), broker.client.publish("a", b"2", qos=2)]
    broker.sent()
    broker.events.clear()
    broker.cut()
    assert broker.events == [ConnectionLost()]
    tokens.append(broker.client.publish("a", b"3"))
    assert not broker.connect().clean_start
    broker.send(Connack(session_present=True))
    assert broker.sent() == [
        Publish("a", b"1", 1, dup=True, packet_id=2),
        Publish("a", b"2", 2, dup=True, packet_id=3),
        Publish("a", b"3"),
    ]
    broker.send(Puback(2), Pubrec(3), Pubcomp(3))
    finished = broker.happened(PublishFinished)
    assert sorted(happened.token for happened in finished) == tokens


@pytest.mark.mqtt5("3.2.2-5")
def test_a_lost_session_is_made_good_as_far_as_that_goes() -> None:
    broker = ScriptedBroker(session_expiry_seconds=60)
    broker.accept()
    broker.client.subscribe([Subscription("s"), Subscription("t")])
    broker.sent()
    broker.send(Suback(1, GRANTED * 2))
    broker.client.publish("a", b"1", qos=1)
    unknown = broker.client.publish("a", b"2", qos=2)
    broker.sent()
    broker.cut()
    again = Subscribe(4, (Subscription("s"), Subscription("t")))
    assert broker.accept(session_present=False) == [again, Publish("a", b"1", 1, packet_id=5)]
    assert [failed.token for failed in broker.happened(RequestFailed)] == [unknown]
    broker.send(Suback(4, (*GRANTED, ReasonCode.NOT_AUTHORIZED)))
    assert broker.happened(SubscriptionsRefused) == [SubscriptionsRefused(("t",))]
    broker.cut()
    broker.accept(session_present=False)
    broker.send(Suback(6, GRANTED))
    assert broker.happened(SubscriptionsRefused) == []


@pytest.mark.mqtt5("3.2.2-4")
@BOTH
def test_a_session_that_was_not_wanted_breaks_the_protocol(version: Version) -> None:
    broker = ScriptedBroker(version=version)
    broker.connect()
    broker.send(Connack(session_present=True))
    (failed,) = broker.happened(ConnectionFailed)
    assert failed.error.reason == ReasonCode.PROTOCOL_ERROR
    assert broker.sent() == []


@pytest.mark.parametrize(
    ("ours", "theirs", "lasts"), [(0, None, False), (60, None, True), (60, 0, False), (0, 9, True)]
)
def test_a_session_lasts_if_the_broker_keeps_it(
    ours: int, theirs: int | None, lasts: bool
) -> None:
    broker = ScriptedBroker(session_expiry_seconds=ours)
    broker.accept(session_expiry_interval=theirs)
    broker.cut()
    assert broker.connect().clean_start is not lasts


def test_in_3_1_1_a_clean_session_ends_with_its_connection() -> None:
    broker = ScriptedBroker(version=Version.V3_1_1, client_id="ours")
    broker.accept()
    broker.cut()
    assert broker.connect().clean_start


def test_an_assigned_client_id_is_kept() -> None:
    broker = ScriptedBroker(session_expiry_seconds=60)
    broker.accept(assigned_client_identifier="theirs")
    assert broker.happened(Connected)[0].client_id == "theirs"
    broker.cut()
    assert broker.connect().client_id == "theirs"


@BOTH
@pytest.mark.mqtt5("3.1.2-20")
@pytest.mark.mqtt3("3.1.2-23")
def test_a_silent_connection_is_pinged(version: Version) -> None:
    broker = ScriptedBroker(version=version, keep_alive_seconds=60)
    broker.accept()
    broker.wait(50)
    assert broker.sent() == [Pingreq()]
    broker.send(Pingresp())
    broker.wait(39)
    assert broker.sent() == []
    broker.wait(1)
    assert broker.sent() == [Pingreq()]
    broker.wait(PINGRESP_SECONDS)
    (failed,) = broker.happened(ConnectionFailed)
    assert isinstance(failed.error, LinkBroken)
    assert broker.sent() == []
    assert broker.client.next_deadline() is None


@pytest.mark.mqtt5("3.1.2-21", "3.2.2-21")
@pytest.mark.parametrize(("server", "pings"), [(None, 1), (10, 6), (0, 0)])
def test_the_brokers_keep_alive_counts_more(server: int | None, pings: int) -> None:
    broker = ScriptedBroker(keep_alive_seconds=60)
    broker.accept(server_keep_alive=server)
    sent = []
    for _ in range(50):
        broker.wait(1)
        new = broker.sent()
        sent += new
        if new:
            broker.send(Pingresp())
    assert sent == [Pingreq()] * pings


def test_a_broker_that_does_not_answer_connect_is_given_up() -> None:
    broker = ScriptedBroker()
    broker.connect()
    broker.wait(CONNACK_SECONDS)
    assert isinstance(broker.happened(ConnectionFailed)[0].error, LinkBroken)


def test_without_a_connection_no_time_is_due() -> None:
    broker = ScriptedBroker()
    assert broker.client.next_deadline() is None
    broker.client.handle_timeout(1e9)
    broker.client.receive_data(memoryview(b"\xd0\0"), 1e9)
    assert list(broker.client.events()) == []


@pytest.mark.mqtt5("3.14.4-1")
@pytest.mark.mqtt3("3.14.4-2")
def test_after_a_goodbye_nothing_is_sent() -> None:
    broker = ScriptedBroker()
    broker.accept()
    broker.send(Publish("a", b"", 1, packet_id=7))
    broker.client.disconnect(
        ReasonCode.DISCONNECT_WITH_WILL_MESSAGE, Properties(reason_string="enough")
    )
    broker.client.publish("b", b"")
    broker.client.finish(broker.happened(MessageReceived)[0].delivery)
    broker.send(Pingresp())
    broker.client.disconnect()
    assert broker.sent() == [
        Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE, Properties(reason_string="enough"))
    ]
    broker.cut()
    assert broker.happened(ConnectionLost) == []


def test_the_brokers_goodbye_is_told() -> None:
    broker = ScriptedBroker()
    broker.accept()
    moved = Properties(server_reference="other.example")
    broker.send(Disconnect(ReasonCode.SERVER_MOVED, moved), Publish("a", b""))
    assert broker.happened(Disconnected) == [Disconnected(ReasonCode.SERVER_MOVED, moved)]
    assert broker.happened(MessageReceived) == []
    assert broker.sent() == []


@pytest.mark.parametrize(
    ("before", "packet"),
    [
        (True, Publish("a", b"")),
        (True, Pingresp()),
        (False, Connack(False)),
        (False, Pingreq()),
        (False, Subscribe(1, (Subscription("a"),))),
        (False, Unsubscribe(1, ("a",))),
        (False, Suback(1, GRANTED)),
    ],
)
def test_packets_that_may_not_come_now(before: bool, packet: Any) -> None:
    broker = ScriptedBroker()
    if before:
        broker.connect()
    else:
        broker.accept()
    broker.send(packet)
    (failed,) = broker.happened(ConnectionFailed)
    assert failed.error.reason == ReasonCode.PROTOCOL_ERROR
    assert broker.sent() == ([] if before else [Disconnect(ReasonCode.PROTOCOL_ERROR)])


def test_in_3_1_1_a_broker_says_no_goodbye_and_is_told_none() -> None:
    broker = ScriptedBroker(version=Version.V3_1_1)
    broker.accept()
    broker.send(Disconnect())
    assert isinstance(broker.happened(ConnectionFailed)[0].error, MqttError)
    assert broker.sent() == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0", ReasonCode.MALFORMED_PACKET),
        (b"\x30\x7f", ReasonCode.PACKET_TOO_LARGE),
        (b"\x30\x03\0\1+", ReasonCode.MALFORMED_PACKET),
    ],
)
def test_what_is_no_packet_ends_the_connection(data: bytes, reason: ReasonCode) -> None:
    broker = ScriptedBroker(max_packet_bytes=100)
    assert broker.connect().properties.maximum_packet_size == 100
    broker.send(Connack(False))
    broker.send_bytes(data)
    (failed,) = broker.happened(ConnectionFailed)
    assert isinstance(failed.error, MqttError)
    assert broker.sent() == [Disconnect(ReasonCode(failed.error.reason))]
    assert failed.error.reason in (reason, ReasonCode.PROTOCOL_ERROR)


def test_a_connect_of_the_brokers_is_told_in_words_of_disconnect() -> None:
    broker = ScriptedBroker()
    broker.accept()
    broker.send_bytes(b"\x10\x07\0\4MQTT\7")  # of a version that there is not
    assert broker.happened(ConnectionFailed)[0].error.reason == 0x84
    assert broker.sent() == [Disconnect(ReasonCode.PROTOCOL_ERROR)]


def test_more_messages_than_we_take_end_the_connection() -> None:
    broker = ScriptedBroker(receive_maximum=1)
    assert broker.connect().properties.receive_maximum == 1
    broker.send(Connack(False))
    broker.send(Publish("a", b"", 1, packet_id=1), Publish("a", b"", 1, packet_id=2))
    assert len(broker.happened(MessageReceived)) == 1
    assert broker.sent() == [Disconnect(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)]


@pytest.mark.mqtt5("4.12.0-3", "4.12.0-5", "3.1.2-30")
def test_an_enhanced_authentication() -> None:
    broker = ScriptedBroker(
        authentication_method="SCRAM", properties=Properties(authentication_data=b"one")
    )
    connect = broker.connect()
    assert connect.properties.authentication_method == "SCRAM"
    assert connect.properties.authentication_data == b"one"

    def step(data: bytes) -> Properties:
        return Properties(authentication_method="SCRAM", authentication_data=data)

    asks = ReasonCode.CONTINUE_AUTHENTICATION
    broker.client.publish("a", b"")
    broker.wait(10)
    broker.send(Auth(asks, step(b"two")))
    assert broker.happened(AuthenticationReceived) == [AuthenticationReceived(asks, step(b"two"))]
    broker.client.authenticate(Properties(authentication_data=b"three"))
    assert broker.sent() == [Auth(asks, step(b"three"))]
    broker.wait(10)
    broker.send(Connack(False, properties=step(b"four")))
    assert broker.happened(Connected)[0].properties == step(b"four")
    broker.client.authenticate(Properties(authentication_data=b"five"))
    assert (
        broker.sent()
        == [
            Publish("a", b""),
            Auth(ReasonCode.RE_AUTHENTICATE, step(b"five")),
        ][::-1]
    )
    broker.send(Auth(ReasonCode.SUCCESS, step(b"six")))
    assert broker.happened(AuthenticationReceived)[0].reason == ReasonCode.SUCCESS
    broker.cut()
    broker.connect()
    with pytest.raises(LocalProtocolError):
        broker.client.authenticate(EMPTY)


def test_an_authentication_that_was_not_asked_for_breaks_the_protocol() -> None:
    broker = ScriptedBroker()
    broker.connect()
    broker.send(
        Auth(ReasonCode.CONTINUE_AUTHENTICATION, Properties(authentication_method="SCRAM"))
    )
    assert isinstance(broker.happened(ConnectionFailed)[0].error, MqttError)


def test_a_moderate_amount_is_ready_to_be_sent() -> None:
    broker = ScriptedBroker()
    broker.accept()
    broker.client.limit_ahead(1_000)
    for _ in range(10):
        broker.client.publish("a", bytes(600))
    waiting = sum(map(len, broker.client.data_to_send()))
    assert 1_000 <= waiting < 2_000
    assert len(broker.happened(PublishFinished)) == 2
    assert len(broker.sent()) == 10


def test_the_queue_is_bounded_and_says_when_there_is_room() -> None:
    broker = ScriptedBroker(max_queued_bytes=10_000)
    for _ in range(2):
        broker.client.publish("a", bytes(4_000))
    with pytest.raises(QueueFull):
        broker.client.publish("a", bytes(4_000))
    assert not broker.client.has_room
    broker.accept()
    assert broker.client.has_room


def test_a_program_that_finishes_nothing_is_given_no_more() -> None:
    broker = ScriptedBroker(max_unfinished_bytes=2_000, keep_alive_seconds=60)
    broker.accept()
    broker.send(Publish("a", bytes(600)))
    assert not broker.client.wants_pause
    broker.send(Publish("a", bytes(600)))
    assert broker.client.wants_pause
    # Its answers to our pings are not read meanwhile: that is no reason to give it up.
    broker.wait(600)
    assert broker.sent() == [Pingreq()]
    assert broker.happened(ConnectionFailed) == []
    broker.client.finish(broker.happened(MessageReceived)[0].delivery)
    assert not broker.client.wants_pause


def test_a_broker_that_takes_no_acknowledgements_is_not_read_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "MAX_UNSENT_BYTES", 10)
    broker = ScriptedBroker()
    broker.accept()
    for number in range(1, 4):
        assert not broker.client.wants_pause
        broker.send(Publish("a", b"", 1, packet_id=number))
        broker.client.finish(broker.happened(MessageReceived)[0].delivery)
    assert broker.client.wants_pause
    assert len(broker.sent()) == 3
    assert not broker.client.wants_pause


def test_who_gives_up_is_told_what_was_not_done() -> None:
    broker = ScriptedBroker()
    tokens = [broker.client.unsubscribe(["a"]), broker.client.publish("a", b"")]
    error = ClientStopped("stopped")
    broker.client.abandon(error)
    assert list(broker.client.events()) == [RequestFailed(token, error) for token in tokens]
    assert broker.client.is_idle


def test_messages_that_are_not_kept_fail_with_their_connection() -> None:
    broker = ScriptedBroker(keep_messages=False)
    broker.accept()
    token = broker.client.publish("a", b"", qos=1)
    assert len(broker.sent()) == 1
    broker.events.clear()
    broker.cut()
    lost, failed = broker.events
    assert lost == ConnectionLost()
    assert failed.token == token
    assert broker.accept() == []


@BOTH
def test_messages_that_are_not_kept_end_the_session_with_them(version: Version) -> None:
    broker = ScriptedBroker(
        version=version, keep_messages=False, clean_start=False, session_expiry_seconds=1_000
    )
    for _ in range(2):
        assert broker.connect().clean_start
        broker.send(Connack(False))
        broker.cut()
