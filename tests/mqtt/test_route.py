"""Where the messages of a topic go."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.mqtt import route as module
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.message import Delivery, Message
from porttunnel.mqtt.outgoing import HeldBytes
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.packet import Publish, Version
from porttunnel.mqtt.policy import Client, Profile, SlowConsumer
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.route import Reach, RouteBook
from porttunnel.mqtt.session import Session
from porttunnel.mqtt.subscription import Interest, SubscriptionTree

V3, V5 = Version.V3_1_1, Version.V5
COST = Message("a", b"x", 1).cost  # of most messages here, while they are held


class Connection(PacedOutbox):
    def cut(self, reason: ReasonCode, now: float, *, with_will: bool = True) -> None:
        raise AssertionError(reason)


class Desk:
    """A book of routes and sessions to go with it."""

    def __init__(self) -> None:
        self.tree: SubscriptionTree[Session] = SubscriptionTree(1 << 20)
        self.book = RouteBook(self.tree, lambda client, topic: client.context or topic)
        self.held = HeldBytes(1 << 30)

    def session(
        self, name: str, version: Version | None = V5, seen: str | None = None, **profile: Any
    ) -> Session:
        """With a connection of that version, or none."""
        client = Client(name, name, None, version or V5, "", seen)
        session = Session(name, client, Profile(**profile), self.held)
        if version is not None:
            connection = Connection([])
            connection.version = version
            connection.limit_bytes = 1_000
            connection.high_bytes = 500
            session.attach(connection, 10, 0.0)
        return session

    def subscribe(
        self, session: Session, text: str = "a", group: str | None = None, **options: Any
    ) -> Session:
        self.tree.add(group, text, Interest(session, **options))
        return session

    def deliver(self, message: Message, publisher: Session | None = None) -> Reach:
        reach = Reach()
        self.book.find(message.topic).deliver(message, publisher, reach, 0.0)
        return reach


def messages(session: Session) -> list[Publish]:
    connection = session.outbox
    assert connection is not None
    data = b"".join(connection.data_to_send())
    connection.data_sent(len(data))
    reader = FrameReader(MAX_PACKET_BYTES, connection.version)
    packets = [
        decode(first, memoryview(bytes(body)), connection.version)
        for first, body in reader.feed(memoryview(data))
    ]
    return [packet for packet in packets if isinstance(packet, Publish)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestDelivering:
    @pytest.mark.mqtt5("3.8.4-8", "4.5.0-1")
    @pytest.mark.mqtt3("3.8.4-6", "4.5.0-1")
    def test_each_gets_the_lower_qos(self, desk: Desk) -> None:
        sessions = [desk.subscribe(desk.session(str(qos)), qos=qos) for qos in range(3)]
        for qos in range(3):
            assert desk.deliver(Message("a", b"x", qos)) == Reach(3)
            assert [messages(each)[0].qos for each in sessions] == [0, min(qos, 1), qos]

    @pytest.mark.mqtt5("3.3.4-2", "3.3.4-3", "3.3.4-4")
    @pytest.mark.mqtt3("3.3.5-1")
    def test_overlapping_subscriptions_bring_one_message(self, desk: Desk) -> None:
        session = desk.session("s")
        desk.subscribe(session, "a", qos=1, identifier=7)
        desk.subscribe(session, "+", qos=2, identifier=3)
        desk.subscribe(session, "#")
        assert desk.deliver(Message("a", b"x", 2)) == Reach(1)
        (message,) = messages(session)
        assert message.qos == 2
        assert message.properties.subscription_identifiers == (3, 7)

    @pytest.mark.mqtt5("3.8.3-3")
    def test_no_local(self, desk: Desk) -> None:
        own = desk.subscribe(desk.session("own"), no_local=True, qos=2, identifier=1)
        other = desk.subscribe(desk.session("other"), no_local=True)
        assert desk.deliver(Message("a", b"x"), own) == Reach(1)
        assert (messages(own), len(messages(other))) == ([], 1)
        assert desk.deliver(Message("a", b"x"), other) == Reach(1)
        # Another subscription of the same client has not said so.
        desk.subscribe(own, "+", qos=1, identifier=2)
        desk.deliver(Message("a", b"x", 2), own)
        messages(other)
        found = messages(own)
        assert [each.properties.subscription_identifiers for each in found] == [(1,), (2,)]
        assert found[1].qos == 1

    @pytest.mark.mqtt5("3.3.1-12", "3.3.1-13")
    @pytest.mark.mqtt3("3.3.1-9")
    def test_retain_as_published(self, desk: Desk) -> None:
        plain = desk.subscribe(desk.session("plain"))
        kept = desk.subscribe(desk.session("kept"), retain_as_published=True)
        for retain in (False, True):
            desk.deliver(Message("a", b"x", retain=retain))
            assert [messages(each)[0].retain for each in (plain, kept)] == [False, retain]

    def test_a_client_sees_another_topic(self, desk: Desk) -> None:
        session = desk.subscribe(desk.session("s", seen="outside/a"))
        desk.deliver(Message("a", b"x"))
        assert messages(session)[0].topic == "outside/a"

    def test_nobody_sees_a_topic_that_no_packet_can_have(self, desk: Desk) -> None:
        fine = desk.subscribe(desk.session("fine"))
        for number in range(3):
            session = desk.session(str(number), seen="a" * 65_536)
            desk.subscribe(session, group="g" if number else None, qos=1)
        assert desk.deliver(Message("a", b"x", 1)) == Reach(1)
        assert len(messages(fine)) == 1
        desk.tree.remove(None, "a", fine)
        desk.subscribe(desk.session("other", seen="\0"), "c")
        assert desk.deliver(Message("c", b"x", 1)) == Reach()
        assert desk.deliver(Message("a", b"x", 1)) == Reach()

    @pytest.mark.mqtt3("3.1.2-5")
    def test_who_is_away(self, desk: Desk) -> None:
        session = desk.subscribe(desk.session("s", None), qos=1)
        assert desk.deliver(Message("a", b"x", 0)) == Reach()
        assert desk.deliver(Message("a", b"x", 1)) == Reach(1)
        assert session.held_bytes == COST

    def test_who_is_full_is_counted(self, desk: Desk) -> None:
        desk.subscribe(desk.session("s", None, max_queued_bytes=0), qos=1)
        assert desk.deliver(Message("a", b"x", 1)) == Reach(0, 1)
        assert desk.book.pressed == []


class TestPressed:
    def test_those_who_pause_are_named_before_they_are_full(self, desk: Desk) -> None:
        slow = desk.session("s", slow_consumer=SlowConsumer.PAUSE)
        desk.subscribe(slow)
        assert desk.deliver(Message("a", bytes(400))) == Reach(1)
        assert desk.book.pressed == []
        assert desk.deliver(Message("a", bytes(400))) == Reach(1)
        assert desk.book.pressed == [slow]

    def test_those_who_are_cut_only_when_they_are(self, desk: Desk) -> None:
        slow = desk.session("s", slow_consumer=SlowConsumer.CUT)
        desk.subscribe(slow)
        for _ in range(3):
            assert desk.deliver(Message("a", bytes(400))) == Reach(1)
        assert desk.book.pressed == []
        assert desk.deliver(Message("a", bytes(400))) == Reach(0, 1)
        assert desk.book.pressed == [slow]


class TestShared:
    @pytest.mark.mqtt5("4.8.2-3")
    def test_members_take_turns(self, desk: Desk) -> None:
        members = [
            desk.subscribe(desk.session(name), group="g", qos=1, identifier=index or None)
            for index, name in enumerate("xyz")
        ]
        for _ in range(6):
            assert desk.deliver(Message("a", b"x", 2)) == Reach(1)
        found = [messages(member) for member in members]
        assert [len(each) for each in found] == [2, 2, 2]
        assert {each.qos for each in found[0]} == {1}
        identifiers = [each[0].properties.subscription_identifiers for each in found]
        assert identifiers == [(), (1,), (2,)]

    def test_those_who_are_there_come_first(self, desk: Desk) -> None:
        away = desk.subscribe(desk.session("away", None), group="g", qos=1)
        behind = desk.subscribe(desk.session("behind", max_inflight=1), group="g", qos=1)
        there = desk.subscribe(desk.session("there"), group="g", qos=1)
        for _ in range(2):
            behind.deliver(module.deliver_as(Message("b", b"x", 1), 1, False, "b", ()), 0.0)
        assert behind.is_behind
        for _ in range(4):
            assert desk.deliver(Message("a", b"x", 1)) == Reach(1)
        held = (away.held_bytes, behind.held_bytes, there.held_bytes)
        assert (held, len(messages(there))) == ((0, 2 * COST, 4 * COST), 4)
        there.detach()
        for _ in range(3):
            assert desk.deliver(Message("a", b"x", 1)) == Reach(1)
        assert desk.held.held == (2 + 4 + 3) * COST

    def test_somebody_with_room_is_found(self, desk: Desk) -> None:
        full = desk.subscribe(desk.session("full", max_queued_bytes=0), group="g", qos=1)
        away = desk.subscribe(desk.session("away", None), group="g", qos=1)
        for _ in range(2):
            reach = desk.deliver(Message("a", b"x", 1))
            assert (reach.taken, reach.dropped > 0) == (1, True)
        assert (away.held_bytes, messages(full)) == (2 * COST, [])

    def test_who_comes_back_has_its_turn(self, desk: Desk) -> None:
        gone = desk.subscribe(desk.session("gone"), group="g")
        desk.subscribe(desk.session("there"), group="g")
        outbox = gone.outbox
        gone.detach()
        assert [desk.deliver(Message("a", b"x")).taken for _ in range(4)] == [1] * 4
        gone.outbox = outbox
        desk.tree.arrivals += 1
        assert [desk.deliver(Message("a", b"x")).taken for _ in range(4)] == [1] * 4
        assert len(messages(gone)) == 2

    def test_many_who_are_away_are_not_looked_at_each_time(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_TRIES", 3)
        asked: list[str] = []
        for number in range(10):
            session = desk.session(str(number), None, max_queued_bytes=0)
            desk.subscribe(session, group="g", qos=1)
        there = desk.subscribe(desk.session("there", max_inflight=1), group="g", qos=1)
        assert desk.deliver(Message("a", b"x", 1)) == Reach(1)
        assert len(messages(there)) == 1
        # One that is behind, then as many as may be asked, of which none has room.
        there.deliver(module.deliver_as(Message("b", b"x", 1), 1, False, "b", ()), 0.0)
        there.deliver(module.deliver_as(Message("b", b"x", 1), 1, False, "b", ()), 0.0)
        assert there.is_behind
        monkeypatch.setattr(Session, "deliver", lambda self, *_: asked.append(self.name))
        desk.deliver(Message("a", b"x", 1))
        assert len(asked) == 3
        desk.deliver(Message("a", b"x", 0))
        assert len(asked) < 3 + 3

    def test_the_last_member_may_leave_meanwhile(self, desk: Desk) -> None:
        session = desk.session("s", None)
        desk.subscribe(session, group="g", qos=1)
        desk.subscribe(desk.session("t", None), group="g", qos=1)

        def leave(client: Client, topic: str) -> str:
            desk.tree.remove("g", "a", session)
            for group in desk.tree.match("a")[1]:
                desk.tree.remove("g", "a", group.take_any_turn().subscriber)
            return "\0"

        desk.book._view = leave
        assert desk.deliver(Message("a", b"x", 1)) == Reach()
        assert desk.tree.count == 0

    def test_or_nobody(self, desk: Desk) -> None:
        desk.subscribe(desk.session("away", None), group="g", qos=1)
        assert desk.deliver(Message("a", b"x", 0)) == Reach()


class TestPassingOn:
    PACKET = b"\x30\x05\0\1a\0x"

    def test_packets_go_out_as_they_came(self, desk: Desk) -> None:
        one = desk.subscribe(desk.session("one"))
        two = desk.subscribe(desk.session("two"), "+", qos=2)
        away = desk.subscribe(desk.session("away", None))
        route = desk.book.find("a")
        assert route.is_plain
        assert len(route) == 3
        reach = Reach()
        assert route.pass_on(self.PACKET * 3, 7, V5, reach) is None
        assert route.pass_on(self.PACKET, 7, V5, reach) is None
        assert reach == Reach(8)
        assert [message.payload for message in messages(one)] == [b"x"] * 4
        assert len(messages(two)) == 4
        assert away.outbox is None

    def test_or_to_nobody(self, desk: Desk) -> None:
        desk.subscribe(desk.session("away", None))
        reach = Reach()
        assert desk.book.find("a").pass_on(self.PACKET, 7, V5, reach) == []
        assert reach == Reach()

    def test_one_of_qos_1_goes_out_as_it_came(self, desk: Desk) -> None:
        one = desk.subscribe(desk.session("one"), qos=1)
        two = desk.subscribe(desk.session("two"), qos=2)
        at_most_once = desk.subscribe(desk.session("at most once"))
        watched = desk.session("watched", slow_consumer=SlowConsumer.PAUSE)
        desk.subscribe(watched, qos=1)
        away = desk.subscribe(desk.session("away", None), qos=1)
        route = desk.book.find("a")
        message = Message("a", b"x", 1)
        head, tail = message.parts(V5, 1, retain=False)
        reach = Reach()
        others = route.pass_one_on(Delivery(message, 1, False, "a"), V5, head, tail, reach)
        assert [target.session for target in others] == [at_most_once, watched, away]
        assert reach == Reach(2)
        for session in (one, two):
            assert [(each.qos, each.packet_id) for each in messages(session)] == [(1, 1)]

    def test_but_not_to_those_who_need_others(self, desk: Desk) -> None:
        desk.subscribe(desk.session("older", V3))
        full = desk.subscribe(desk.session("full"))
        small = desk.subscribe(desk.session("small"))
        fine = desk.subscribe(desk.session("fine"))
        assert full.outbox is not None
        assert small.outbox is not None
        full.outbox.waiting_bytes = 490
        small.outbox.packet_limit = 6
        reach = Reach()
        route = desk.book.find("a")
        others = route.pass_on(self.PACKET * 2, 7, V5, reach)
        assert [target.session.name for target in others] == ["older", "full", "small"]
        assert reach == Reach(2)
        route.deliver_to(others, Message("a", b"x"), None, reach, 0.0)
        assert len(messages(fine)) == 2
        assert reach == Reach(5)

    def test_a_route_that_is_not_plain(self, desk: Desk) -> None:
        for number, options in enumerate(
            ({"identifier": 1}, {"no_local": True}, {"retain_as_published": True}, {"group": "g"})
        ):
            topic = str(number)
            desk.subscribe(desk.session(topic), topic, **options)
            assert not desk.book.find(topic).is_plain
        desk.subscribe(desk.session("s", seen="other"))
        assert not desk.book.find("a").is_plain


class TestBook:
    def test_routes_are_kept_until_something_changes(self, desk: Desk) -> None:
        route = desk.book.find("a")
        assert desk.book.find("a") is route
        assert route.generation == desk.tree.generation
        desk.subscribe(desk.session("s"))
        assert desk.book.find("a") is not route
        assert len(desk.book.find("a")) == 1
        route = desk.book.find("a")
        desk.book.forget()
        assert desk.book.find("a") is not route

    def test_only_so_many(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_ROUTES", 2)
        first = desk.book.find("1")
        desk.book.find("2")
        assert desk.book.find("1") is first
        desk.book.find("3")
        assert desk.book.find("1") is not first

    def test_and_only_so_large(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_KEPT_TARGETS", 1)
        monkeypatch.setattr(module, "MAX_KEPT_TOPIC", 3)
        assert desk.book.find("long") is not desk.book.find("long")
        desk.subscribe(desk.session("s"), "#")
        desk.subscribe(desk.session("t"), "#")
        first = desk.book.find("a")
        assert desk.book.find("a") is not first
