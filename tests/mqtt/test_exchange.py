"""What all connections of a broker share."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

from porttunnel.errors import MqttError
from porttunnel.mqtt.exchange import FOR_EVER_SECONDS, Exchange, reason_of
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.packet import Version, Will
from porttunnel.mqtt.policy import Bounds, Client, Profile, SlowConsumer
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.route import Reach
from porttunnel.mqtt.session import HeldSubscription, PendingWill, Session
from porttunnel.mqtt.subscription import Interest
from tests.mqtt.broker_client import NotingPolicy


class Connection(PacedOutbox):
    ended: ReasonCode | None = None

    def cut(self, reason: ReasonCode, now: float, *, with_will: bool = True) -> None:
        self.ended = reason


class Ids(dict[int, None]):
    """That show whether the session is still held."""


class Fixture:
    def __init__(self, **bounds: Any) -> None:
        self.policy = NotingPolicy(None, Bounds(**bounds))
        self.exchange = Exchange(self.policy, 0.0)

    def session(self, name: str = "s", *, expiry: float = 0.0, **profile: Any) -> Session:
        """With a connection."""
        client = Client(name, name, None, Version.V5, "")
        session = Session(name, client, Profile(**profile), self.exchange.held)
        session.expiry_seconds = expiry
        self.exchange.add_session(session)
        session.attach(Connection(self.exchange.ready), 10, 0.0)
        return session

    def subscribe(self, session: Session, text: str, qos: int = 1) -> None:
        interest = Interest(session, qos)
        self.exchange.tree.add(None, text, interest)
        session.subscriptions[text] = HeldSubscription(None, text, interest)

    def leave_will(self, session: Session, delay: float = 0.0, **fields: Any) -> None:
        session.will = PendingWill("will", Will("will", b"gone", **fields))
        session.will_delay_seconds = delay

    def wills(self) -> int:
        """How many were published: nobody is subscribed to them."""
        return sum(note[0] == "nobody" for note in self.policy.told())


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


class TestPublishing:
    def test_who_gets_it_is_counted(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        session = fixture.session(max_queued_bytes=1_000)
        fixture.subscribe(session, "a")
        assert exchange.publish(Message("a", b"x", 1), session.client, session, 0.0) == Reach(1)
        assert exchange.publish(Message("a", b"x", 1), None, None, 0.0) == Reach(0, 1)
        counters = exchange.counters
        assert (counters.reach.taken, counters.reach.dropped) == (1, 1)
        assert fixture.policy.told() == []
        assert exchange.publish(Message("b", b"x"), session.client, session, 0.0) == Reach()
        assert fixture.policy.told() == [("nobody", "s", "b", b"x")]

    @pytest.mark.mqtt5("3.3.1-5", "3.3.1-8")
    @pytest.mark.mqtt3("3.3.1-5", "3.3.1-12")
    def test_what_is_to_be_kept_is(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        exchange.publish(Message("a", b"x", retain=True), None, None, 0.0)
        exchange.publish(Message("a", b"", retain=False), None, None, 0.0)
        assert exchange.retained.count == 1

    def test_what_can_not_be_kept_is_not_sent(self) -> None:
        fixture = Fixture(max_retained_bytes=10)
        session = fixture.session()
        fixture.subscribe(session, "a")
        with pytest.raises(MqttError):
            fixture.exchange.publish(Message("a", b"x", 1, retain=True), None, None, 0.0)
        assert session.held_bytes == 0

    def test_what_a_publisher_is_told(self) -> None:
        assert reason_of(Reach(1, 1)) is ReasonCode.SUCCESS
        assert reason_of(Reach(0, 1)) is ReasonCode.QUOTA_EXCEEDED
        assert reason_of(Reach()) is ReasonCode.NO_MATCHING_SUBSCRIBERS

    def test_who_can_not_keep_up_is_seen_to(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        cut = fixture.session("cut", slow_consumer=SlowConsumer.CUT, max_queued_bytes=0)
        gone = fixture.session("gone", slow_consumer=SlowConsumer.CUT, max_queued_bytes=0)
        for session in (cut, gone):
            fixture.subscribe(session, "a")
        exchange.publish(Message("a", b"x", 1), None, None, 0.0)
        gone.detach()
        exchange.mind_pressed(None, 0.0)
        assert isinstance(cut.outbox, Connection)
        assert cut.outbox.ended is ReasonCode.QUOTA_EXCEEDED
        assert exchange.routes.pressed == []


class TestConnecting:
    def test_as_many_as_there_may_be(self) -> None:
        assert all(Fixture().exchange.take_connect(0.0) for _ in range(10))
        exchange = Fixture(connects_per_second=1.0, connect_burst=2).exchange
        assert [exchange.take_connect(0.0) for _ in range(3)] == [True, True, False]
        assert exchange.take_connect(1.0)
        assert exchange.counters.connects == 4

    def test_as_many_sessions_as_there_may_be(self) -> None:
        fixture = Fixture(max_sessions=1)
        fixture.session("one")
        with pytest.raises(MqttError) as caught:
            fixture.session("two")
        assert caught.value.reason == ReasonCode.QUOTA_EXCEEDED


class TestParting:
    @pytest.mark.mqtt5("4.1.0-2")
    def test_a_session_without_expiry_ends(self, fixture: Fixture) -> None:
        session = fixture.session()
        fixture.subscribe(session, "a")
        session.note(1)
        fixture.exchange.part(session, 0.0, with_will=True)
        assert fixture.exchange.sessions == {}
        assert fixture.exchange.tree.count == 0
        assert session.incoming == {}
        assert fixture.wills() == 0

    @pytest.mark.mqtt5("3.1.2-23", "4.1.0-2")
    @pytest.mark.mqtt3("4.1.0-1")
    def test_another_one_ends_in_its_time(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        session = fixture.session(expiry=100.0)
        exchange.part(session, 10.0, with_will=True)
        assert exchange.next_deadline() == 110.0
        exchange.handle_timeout(109.0)
        assert exchange.sessions == {"s": session}
        exchange.handle_timeout(110.0)
        assert exchange.sessions == {}
        assert exchange.next_deadline() is None

    def test_one_that_is_kept_for_ever_never(self, fixture: Fixture) -> None:
        session = fixture.session(expiry=FOR_EVER_SECONDS)
        fixture.exchange.part(session, 0.0, with_will=True)
        assert session.expires_at is None
        assert fixture.exchange.next_deadline() is None

    def test_who_came_back_is_left_alone(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        session = fixture.session(expiry=100.0)
        exchange.part(session, 0.0, with_will=True)
        session.attach(Connection(exchange.ready), 10, 50.0)
        exchange.handle_timeout(100.0)
        assert exchange.sessions == {"s": session}
        session.expires_at = 200.0
        exchange.part(session, 150.0, with_will=True)
        exchange.handle_timeout(249.0)
        assert exchange.sessions == {"s": session}

    def test_an_older_timer_does_not_end_it(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        session = fixture.session(expiry=100.0)
        exchange.part(session, 0.0, with_will=True)
        session.attach(Connection(exchange.ready), 10, 50.0)
        exchange.part(session, 60.0, with_will=True)
        exchange.handle_timeout(100.0)
        assert exchange.sessions == {"s": session}

    def test_a_timer_moves(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        session = fixture.session(expiry=100.0)
        exchange.part(session, 0.0, with_will=True)
        session.attach(Connection(exchange.ready), 10, 10.0)
        exchange.part(session, 50.0, with_will=True)
        assert exchange.next_deadline() == 100.0  # not yet: it is put off then
        exchange.handle_timeout(100.0)
        assert exchange.next_deadline() == 150.0
        session.attach(Connection(exchange.ready), 10, 110.0)
        session.expiry_seconds = 10.0
        exchange.part(session, 120.0, with_will=True)
        assert exchange.next_deadline() == 130.0
        exchange.handle_timeout(130.0)
        assert exchange.sessions == {}
        exchange.handle_timeout(150.0)
        assert exchange.next_deadline() is None

    def test_one_that_comes_back_again_and_again_has_one_timer(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        session = fixture.session(expiry=1_000.0)
        for now in range(500):
            exchange.part(session, float(now), with_will=True)
            session.attach(Connection(exchange.ready), 10, 0.0)
        exchange.handle_timeout(999.0)
        assert exchange.next_deadline() == 1_000.0
        exchange.handle_timeout(1_000.0)
        assert exchange.next_deadline() is None

    def test_nothing_stays_of_those_that_ended(self, fixture: Fixture) -> None:
        exchange = fixture.exchange
        kept = fixture.session("kept", expiry=700.0)
        exchange.part(kept, 0.0, with_will=True)
        ended: list[weakref.ref[Ids]] = []
        for now in range(500):
            session = fixture.session(expiry=100.0)
            session.incoming = Ids()
            ended.append(weakref.ref(session.incoming))
            exchange.part(session, float(now), with_will=True)
            exchange.end_session(session, float(now))
        del session
        assert not any(each() for each in ended)
        exchange.handle_timeout(400.0)
        deadline = exchange.next_deadline()
        assert deadline is not None
        assert 500.0 < deadline < 600.0  # few are left
        exchange.handle_timeout(600.0)
        assert exchange.next_deadline() == 700.0

    def test_a_session_that_was_replaced_does_not_take_the_new_one_with_it(
        self, fixture: Fixture
    ) -> None:
        old = fixture.session()
        del fixture.exchange.sessions["s"]
        new = fixture.session()
        fixture.exchange.end_session(old, 0.0)
        assert fixture.exchange.sessions == {"s": new}


class TestWills:
    @pytest.mark.mqtt5("3.1.2-8", "3.1.2-10")
    @pytest.mark.mqtt3("3.1.2-8", "3.1.2-10")
    @pytest.mark.parametrize("expiry", [0.0, 100.0])
    def test_are_published_at_once(self, fixture: Fixture, expiry: float) -> None:
        session = fixture.session(expiry=expiry)
        fixture.leave_will(session)
        fixture.exchange.part(session, 0.0, with_will=True)
        assert fixture.wills() == 1
        fixture.exchange.handle_timeout(1_000.0)
        assert fixture.wills() == 0

    def test_or_not_after_a_goodbye(self, fixture: Fixture) -> None:
        session = fixture.session(expiry=10.0)
        fixture.leave_will(session)
        fixture.exchange.part(session, 0.0, with_will=False)
        fixture.exchange.handle_timeout(10.0)
        assert fixture.wills() == 0

    @pytest.mark.mqtt5("3.1.2-8")
    def test_or_after_a_delay(self, fixture: Fixture) -> None:
        session = fixture.session(expiry=100.0)
        fixture.leave_will(session, 30.0)
        fixture.exchange.part(session, 0.0, with_will=True)
        fixture.exchange.handle_timeout(29.0)
        assert fixture.wills() == 0
        fixture.exchange.handle_timeout(30.0)
        assert fixture.wills() == 1
        fixture.exchange.handle_timeout(100.0)
        assert fixture.wills() == 0

    @pytest.mark.mqtt5("3.1.2-8")
    def test_but_not_later_than_the_session_ends(self, fixture: Fixture) -> None:
        session = fixture.session(expiry=10.0)
        fixture.leave_will(session, 30.0)
        fixture.exchange.part(session, 0.0, with_will=True)
        fixture.exchange.handle_timeout(10.0)
        assert fixture.wills() == 1
        assert fixture.exchange.sessions == {}

    @pytest.mark.mqtt5("3.1.2-14", "3.1.2-15")
    @pytest.mark.mqtt3("3.1.2-16", "3.1.2-17")
    @pytest.mark.parametrize("retain", [False, True])
    def test_are_kept_if_they_say_so(self, fixture: Fixture, retain: bool) -> None:
        session = fixture.session()
        fixture.leave_will(session, retain=retain, properties=Properties(content_type="t"))
        fixture.exchange.part(session, 0.0, with_will=True)
        assert fixture.exchange.retained.count == retain

    def test_that_can_not_be_kept_are_counted(self) -> None:
        fixture = Fixture(max_retained_bytes=0)
        session = fixture.session()
        fixture.leave_will(session, retain=True)
        fixture.exchange.part(session, 0.0, with_will=True)
        assert fixture.exchange.counters.reach.dropped == 1
