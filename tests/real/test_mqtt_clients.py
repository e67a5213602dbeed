"""The broker with clients that others wrote: paho-mqtt and MQTT.js, TCP and WebSocket, both MQTTs.

mosquitto's clients are programs; they have a file of their own.
"""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Connect, Disconnect, Version
from porttunnel.mqtt.reason import ReasonCode
from tests.real.library_broker import SHORT_KEEP_ALIVE, SHORT_KEEP_ALIVE_SECONDS, start_broker
from tests.real.mqtt_peer import Address, MakePeer, Peer, Will
from tests.real.paho_peer import PahoPeer
from tests.real.program import Start

pytestmark = pytest.mark.real

V3, V5 = Version.V3_1_1, Version.V5
VERSIONS = pytest.mark.parametrize("version", [V3, V5], ids=["v3", "v5"])
ONLY_V5 = pytest.mark.parametrize("version", [V5], ids=["v5"])

FAILURE = 0x80  # in SUBACK of 3.1.1
WAIT_SECONDS = 20.0  # a deadline, not a measure
ORDER_COUNT = 12  # messages
CUTS, CUT_COUNT = 2, 20  # of each of two connections; messages from one to the next
KEPT: dict[str, Any] = {"clean": False, "properties": {"sessionExpiryInterval": 60}}  # MQTT 5

NewPeer = Callable[[], Peer]


@pytest.fixture(scope="module")
def broker(start_for_module: Start) -> dict[str, Address]:
    return start_broker(start_for_module)


@pytest.fixture(params=["tcp", "ws"])
def new(
    request: pytest.FixtureRequest,
    make_peer: MakePeer,
    broker: dict[str, Address],
    version: int,
) -> NewPeer:
    """``new()``: one more client of the kind, the way and the version that the test is about."""
    address = broker[request.param]
    return lambda: make_peer(address, version)


_numbers = itertools.count(1)


@pytest.fixture
def topic() -> str:
    """Nobody else's; also good as a client id."""
    return f"topic{next(_numbers)}"


def connected(new: NewPeer, *arguments: Any, **options: Any) -> Peer:
    peer = new()
    peer.connect(*arguments, **options)
    return peer


def expect_nothing_but(peer: Peer, topic: str, payload: bytes) -> None:
    """The next message is this one, which ``peer`` publishes itself: nothing was before it."""
    peer.publish(topic, payload)
    assert peer.message()[:2] == (topic, payload)


@VERSIONS
@pytest.mark.mqtt3("7.0.0-2")
class TestBothVersions:
    def test_a_client_without_a_name_gets_one(self, new: NewPeer, version: int) -> None:
        session_present, properties = new().connect()
        assert not session_present
        if version == V5:
            assert properties["assignedClientIdentifier"].startswith("auto")

    def test_every_quality_of_service(self, new: NewPeer, topic: str) -> None:
        listener, speaker = connected(new), connected(new)
        for granted in (0, 1, 2):
            assert listener.subscribe(f"{topic}/{granted}/+", granted) == granted
            for qos in (0, 1, 2):
                payload = bytes((granted, qos))
                assert speaker.publish(f"{topic}/{granted}/{qos}", payload, qos) == 0
                name, *rest = listener.message()[:4]
                assert name == f"{topic}/{granted}/{qos}"
                assert rest == [payload, min(granted, qos), False]

    def test_a_large_message(self, new: NewPeer, topic: str) -> None:
        listener, speaker = connected(new), connected(new)
        listener.subscribe(topic, 2)
        payload = bytes(range(256)) * 800
        speaker.publish(topic, payload, 2)
        assert listener.message().payload == payload

    def test_messages_in_their_order(self, new: NewPeer, topic: str) -> None:
        listener, speaker = connected(new), connected(new)
        listener.subscribe(topic, 2)
        for number in range(ORDER_COUNT):
            speaker.publish(topic, b"%d" % number, number % 3)
        # Each quality of service has its own promise of order [MQTT-4.6.0-5, -6].
        came = [listener.message() for _ in range(ORDER_COUNT)]
        for qos in range(3):
            found = [int(message.payload) for message in came if message.qos == qos]
            assert found == list(range(qos, ORDER_COUNT, 3))

    def test_wants_no_more(self, new: NewPeer, topic: str) -> None:
        peer = connected(new)
        peer.subscribe(f"{topic}/a")
        peer.subscribe(f"{topic}/b")
        peer.unsubscribe(f"{topic}/a")
        peer.publish(f"{topic}/a", b"")
        expect_nothing_but(peer, f"{topic}/b", b"b")

    def test_retained(self, new: NewPeer, topic: str) -> None:
        speaker = connected(new)
        for qos in (0, 1, 2):
            speaker.publish(f"{topic}/{qos}", b"kept", qos, retain=True)
        listener = connected(new)
        listener.subscribe(f"{topic}/+", 2)
        came = sorted(listener.message()[:4] for _ in range(3))
        assert came == [(f"{topic}/{qos}", b"kept", qos, True) for qos in (0, 1, 2)]
        for qos in (0, 1, 2):
            speaker.publish(f"{topic}/{qos}", b"", qos, retain=True)
        late = connected(new)
        late.subscribe(f"{topic}/+", 2)
        expect_nothing_but(late, f"{topic}/0", b"first")

    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_a_will(self, new: NewPeer, topic: str, qos: int) -> None:
        listener = connected(new)
        listener.subscribe(topic, 2)
        leaving = connected(new, will=Will(topic, b"left"))
        leaving.disconnect()
        dying = connected(new, will=Will(topic, b"died", qos, True))
        dying.cut()
        assert listener.message()[:4] == (topic, b"died", qos, False)
        late = connected(new)
        late.subscribe(topic)
        assert late.message()[:2] == (topic, b"died")
        late.publish(topic, b"", 1, retain=True)

    def test_messages_that_came_while_it_was_away(
        self, new: NewPeer, topic: str, version: int
    ) -> None:
        kept = KEPT if version == V5 else {"clean": False}
        first = new()
        assert not first.connect(topic, **kept).session_present
        first.subscribe(topic, 2)
        first.disconnect()
        speaker = connected(new)
        for qos in (1, 2):
            speaker.publish(topic, b"%d" % qos, qos)
        again = new()
        assert again.connect(topic, **kept).session_present
        assert sorted(again.message()[:3] for _ in range(2)) == [
            (topic, b"1", 1),
            (topic, b"2", 2),
        ]
        again.cut()
        speaker.publish(topic, b"3", 1)
        once_more = new()
        assert once_more.connect(topic, **kept).session_present
        assert once_more.message().payload == b"3"
        once_more.disconnect()
        assert not new().connect(topic, clean=True).session_present

    def test_what_was_under_way_when_the_connection_was_cut(
        self, new: NewPeer, topic: str, version: int
    ) -> None:
        kept = KEPT if version == V5 else {"clean": False}
        listener = connected(new, f"{topic}-listener", comes_back=True, **kept)
        listener.subscribe(topic, 2)
        sender = connected(new, f"{topic}-sender", comes_back=True, **kept)
        numbers: list[int] = []
        for peer in (sender, listener) * CUTS:
            for number in range(len(numbers), len(numbers) + CUT_COUNT):
                numbers.append(sender.begin_publish(topic, b"%d" % number, 1 + number % 2))
            peer.drop()
            peer.end()
            assert peer.came_back().session_present
        assert {sender.published(number) for number in numbers} == {0}
        came: Counter[bytes] = Counter()
        sent = {b"%d" % number for number in range(len(numbers))}
        while came.keys() != sent:
            came[listener.message().payload] += 1
        expect_nothing_but(listener, topic, b"nothing more")
        assert {came[b"%d" % number] for number in range(1, len(numbers), 2)} == {1}

    def test_a_shared_subscription(self, new: NewPeer, topic: str) -> None:
        workers = [connected(new) for _ in range(2)]
        for worker in workers:
            assert worker.subscribe(f"$share/group/{topic}/#", 1) == 1
        for worker in workers:
            worker.subscribe(f"{topic}-end", 1)
        speaker = connected(new)
        for number in range(20):
            speaker.publish(f"{topic}/work", b"%d" % number, 1)
        speaker.publish(f"{topic}-end", b"", 1)
        done: Counter[bytes] = Counter()
        for worker in workers:
            came = itertools.takewhile(lambda one: one.payload, iter(worker.message, None))
            own = [message.payload for message in came]
            assert own
            done.update(own)
        assert done == {b"%d" % number: 1 for number in range(20)}

    def test_whoever_comes_with_its_name_takes_over(
        self, new: NewPeer, topic: str, version: int
    ) -> None:
        first = connected(new, topic)
        first.subscribe(topic)
        second = connected(new, topic)
        assert first.end() == (ReasonCode.SESSION_TAKEN_OVER if version == V5 else None)
        second.subscribe(topic)
        expect_nothing_but(second, topic, b"still here")

    def test_a_refused_subscription(self, new: NewPeer, topic: str, version: int) -> None:
        peer = connected(new)
        expected = ReasonCode.NOT_AUTHORIZED if version == V5 else FAILURE
        assert peer.subscribe("secret/plans", 1) == expected
        assert peer.subscribe(topic, 1) == 1
        peer.publish("secret/plans", b"")
        expect_nothing_but(peer, topic, b"allowed")


@ONLY_V5
class TestOnlyMQTT5:
    def test_is_told_that_nobody_listens(self, new: NewPeer, topic: str) -> None:
        assert connected(new).publish(topic, b"", 1) == ReasonCode.NO_MATCHING_SUBSCRIBERS

    def test_a_request_and_its_response(self, new: NewPeer, topic: str) -> None:
        asking, answering = connected(new), connected(new)
        answering.subscribe(f"{topic}/sum", 1)
        asking.subscribe(f"{topic}/answers/+", 1)
        for number in range(3):
            answer_to = {
                "responseTopic": f"{topic}/answers/{number}",
                "correlationData": f"00{number:02x}ff",
                "userProperties": {"unit": "metre"},
                "contentType": "text/plain",
                "payloadFormatIndicator": True,
            }
            asking.publish(f"{topic}/sum", b"1+%d" % number, 1, properties=answer_to)
            request = answering.message()
            told = request.properties
            assert {name: told[name] for name in answer_to} == answer_to
            sum_of_both = b"%d" % sum(map(int, request.payload.split(b"+")))
            correlation = {"correlationData": told["correlationData"]}
            answering.publish(told["responseTopic"], sum_of_both, 1, properties=correlation)
            answer = asking.message()
            assert answer.topic == f"{topic}/answers/{number}"
            assert answer.payload == b"%d" % (number + 1)
            assert answer.properties["correlationData"] == answer_to["correlationData"]

    def test_subscription_identifiers(self, new: NewPeer, topic: str) -> None:
        peer = connected(new)
        for identifier, pattern in ((7, f"{topic}/+"), (300, f"{topic}/a"), (5, f"{topic}/b")):
            peer.subscribe(pattern, 1, properties={"subscriptionIdentifier": identifier})
        for name in "abc":
            peer.publish(f"{topic}/{name}", name.encode(), 1)
        identifiers: dict[bytes, list[int]] = {}
        for _ in range(3):
            message = peer.message()
            told = message.properties["subscriptionIdentifier"]
            identifiers.setdefault(message.payload, []).extend(told)
        assert {name: sorted(told) for name, told in identifiers.items()} == {
            b"a": [7, 300],
            b"b": [5, 7],
            b"c": [7],
        }

    def test_options_of_a_subscription(self, new: NewPeer, topic: str) -> None:
        peer, other = connected(new), connected(new)
        other.publish(topic, b"retained", 1, retain=True)
        peer.subscribe(topic, no_local=True, retain_handling=2, retain_as_published=True)
        peer.publish(topic, b"own", 1)
        other.publish(topic, b"other", 1, retain=True)
        assert peer.message()[1:4] == (b"other", 0, True)
        peer.subscribe(topic, 1, retain_handling=1)
        expect_nothing_but(peer, topic, b"not new")
        other.publish(topic, b"", 1, retain=True)

    def test_no_more_at_a_time_than_it_takes(self, new: NewPeer, topic: str) -> None:
        peer = connected(new, properties={"receiveMaximum": 1})
        peer.subscribe(topic, 2)
        speaker = connected(new)
        for number in range(20):
            speaker.publish(topic, b"%d" % number, 1 + number % 2)
        assert [int(peer.message().payload) for _ in range(20)] == list(range(20))

    def test_no_larger_than_it_takes(self, new: NewPeer, topic: str) -> None:
        peer = connected(new, properties={"maximumPacketSize": 200})
        peer.subscribe(topic, 2)
        speaker = connected(new)
        for qos in (0, 1, 2):
            speaker.publish(topic, bytes(200), qos)
            speaker.publish(topic, b"%d" % qos, qos)
        assert [peer.message().payload for _ in range(3)] == [b"0", b"1", b"2"]

    def test_aliases_of_the_client(self, new: NewPeer, topic: str) -> None:
        peer = new()
        _, properties = peer.connect()
        assert properties["topicAliasMaximum"] == 16
        peer.subscribe(f"{topic}/+", 1)
        for name, alias in ((f"{topic}/a", 1), ("", 1), (f"{topic}/b", 1), ("", 1)):
            peer.publish(name, b"", 1, properties={"topicAlias": alias})
        came = [peer.message() for _ in range(4)]
        assert [message.topic[-1] for message in came] == ["a", "a", "b", "b"]
        assert not any("topicAlias" in message.properties for message in came)

    def test_aliases_of_the_server(self, new: NewPeer, topic: str) -> None:
        peer = connected(new, properties={"topicAliasMaximum": 2})
        peer.subscribe(f"{topic}/#", 1)
        speaker = connected(new)
        sent = [f"{topic}/{name}" for name in "abcabcaabb"]
        for number, name in enumerate(sent):
            speaker.publish(name, b"%d" % number, number % 2)
        came = sorted((peer.message() for _ in sent), key=lambda one: int(one.payload))
        names: dict[int, str] = {}
        for message in came:
            alias = message.properties.get("topicAlias")
            if isinstance(peer, PahoPeer) and alias is not None:  # it leaves that to the program
                message = message._replace(topic=names.setdefault(alias, message.topic))
            assert message.topic == sent[int(message.payload)]
        aliases = [message.properties.get("topicAlias") for message in came]
        assert set(aliases) >= {1, 2}

    def test_a_will_that_waits(self, new: NewPeer, topic: str) -> None:
        listener = connected(new)
        listener.subscribe(topic)
        will = Will(topic, b"gone", properties={"willDelayInterval": 1})
        connected(new, topic, will=will, **KEPT).cut()
        listener.publish(topic, b"cut off")
        assert [listener.message().payload for _ in range(2)] == [b"cut off", b"gone"]

    @pytest.mark.parametrize("comes_back", [True, False])
    def test_a_will_that_waits_for_its_session(
        self, new: NewPeer, topic: str, comes_back: bool
    ) -> None:
        listener = connected(new)
        listener.subscribe(topic)
        will = Will(topic, b"gone", properties={"willDelayInterval": 3_600})
        connected(new, topic, will=will, **KEPT).cut()
        if comes_back:
            back = new()
            assert back.connect(topic, **KEPT).session_present
            back.disconnect()
        # It ends the session; a will that still waits is published now.
        assert not new().connect(topic, clean=True).session_present
        if not comes_back:
            assert listener.message().payload == b"gone"
        expect_nothing_but(listener, topic, b"nothing more")


class TestAllTogether:
    def test_each_hears_each(
        self,
        make_paho: MakePeer,
        make_mqtt_js: MakePeer,
        broker: dict[str, Address],
        topic: str,
    ) -> None:
        with ExitStack() as stack:
            peers: list[Peer] = []
            for make, address, version in itertools.product(
                (make_paho, make_mqtt_js), broker.values(), (V3, V5)
            ):
                peer = make(address, version)
                stack.callback(peer.stop)
                peer.connect()
                peer.subscribe(topic, len(peers) % 3)
                peers.append(peer)
            sent = [b"%d" % number for number in range(len(peers))]
            for peer, payload in zip(peers, sent, strict=True):
                peer.publish(topic, payload, 2)
            for number, peer in enumerate(peers):
                came = [peer.message() for _ in peers]
                assert sorted(message.payload for message in came) == sent
                assert {message.qos for message in came} == {number % 3}


class TestSilence:
    """All ways at once, because each takes its time."""

    def test_who_is_silent_for_too_long_is_put_out(
        self, make_peer: MakePeer, broker: dict[str, Address], topic: str
    ) -> None:
        listener = PahoPeer(broker["tcp"], V5)
        with ExitStack() as stack:
            listener.connect()
            stack.callback(listener.stop)
            listener.subscribe(f"{topic}/+")
            silent: dict[str, Peer] = {}
            for transport, version in itertools.product(("tcp", "ws"), (V3, V5)):
                peer = make_peer(broker[transport], version)
                will = Will(f"{topic}/{transport}{version}", b"silent")
                peer.connect(keep_alive=1, will=will)
                silent[will.topic] = peer
            with ExitStack() as silence:
                for peer in silent.values():
                    silence.enter_context(peer.silent())
                assert {listener.message().topic for _ in silent} == set(silent)
            for peer in silent.values():
                assert peer.end() == (
                    ReasonCode.KEEP_ALIVE_TIMEOUT if peer.version == V5 else None
                )

    def test_must_speak_as_often_as_the_server_says(
        self, make_peer: MakePeer, broker: dict[str, Address], topic: str
    ) -> None:
        watched = [make_peer(address, V5) for address in broker.values()]
        for peer in watched:
            _, properties = peer.connect(user=SHORT_KEEP_ALIVE, keep_alive=600)
            assert properties["serverKeepAlive"] == SHORT_KEEP_ALIVE_SECONDS
            peer.subscribe(topic)
        # One that came later and says nothing is put out; these ping.
        with socket.create_connection(("127.0.0.1", broker["tcp"].port), WAIT_SECONDS) as silent:
            silent.sendall(
                encode(Connect(V5, "", keep_alive_seconds=SHORT_KEEP_ALIVE_SECONDS), V5)
            )
            last_words = b"".join(iter(lambda: silent.recv(1_000), b""))
        assert last_words.endswith(encode(Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT), V5))
        for peer in watched:
            assert peer.is_connected()
            peer.publish(topic, b"still here")
            for other in watched:
                assert other.message().payload == b"still here"
